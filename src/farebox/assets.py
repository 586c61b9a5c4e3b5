"""Finds the files that are not Python: SQL, Lua, settings and tariffs.

A checkout has `sql/` and `config/` at its top level; a wheel carries them inside the package.
"""

from pathlib import Path

PACKAGE = Path(__file__).parent


def asset(name: str) -> Path:
    """Return the path of a top-level folder or file (`sql/queries.sql`, `config/farebox.toml`)."""
    packaged = PACKAGE / name
    return packaged if packaged.exists() else PACKAGE.parent.parent / name
