"""The SQL files: named queries and numbered migrations. Python names them and never builds SQL from strings."""

import re
from functools import cache

from farebox.assets import asset

_NAME = re.compile(r"^-- ([a-z_]+) --$", re.MULTILINE)


@cache
def queries() -> dict[str, str]:
    """Return the queries of `sql/queries.sql` by name."""
    _, *pieces = _NAME.split(asset("sql/queries.sql").read_text())
    return {name: text.strip() for name, text in zip(pieces[::2], pieces[1::2], strict=True)}


def migrations() -> list[tuple[int, str, str]]:
    """Return the migrations in order: number, name, text."""
    files = sorted(asset("sql").glob("[0-9][0-9][0-9][0-9]_*.sql"))
    return [(int(file.name[:4]), file.stem[5:], file.read_text()) for file in files]
