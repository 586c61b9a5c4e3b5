"""Migrations: several at once, and a schema that code of before still runs on while workers are replaced."""

import asyncio
import re

import asyncpg
import pytest

from farebox.migrate import migrate
from farebox.sql import migrations

# From here on nothing is taken away from under a worker of the version before. Before it there were no such workers.
ADDITIVE_FROM = 26
# A trigger or a constraint may be made anew in the same file, and a column may come with a default.
TAKES_AWAY = re.compile(
    r"\b(DROP\s+(TABLE|COLUMN|VIEW)|RENAME\s+(TO|COLUMN)|ALTER\s+COLUMN\s+\w+\s+(TYPE|SET\s+NOT\s+NULL))\b",
    re.IGNORECASE,
)
NEW_COLUMN = re.compile(r"ADD\s+COLUMN\s+([^,;]*)", re.IGNORECASE)


@pytest.fixture
async def empty_url(database_url: str) -> str:
    """A database in which nothing was done yet."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("DROP SCHEMA public CASCADE")
    await connection.execute("CREATE SCHEMA public")
    await connection.close()
    return database_url


async def test_several_at_once_apply_each_migration_once(empty_url: str) -> None:
    applied = await asyncio.gather(*(migrate(empty_url) for _ in range(4)))
    names = [f"{number:04d}_{name}" for number, name, _ in migrations()]
    assert sorted(name for each in applied for name in each) == names
    assert await migrate(empty_url) == []


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for number, name, text in migrations() if number >= ADDITIVE_FROM]
)
def test_a_migration_takes_nothing_from_code_of_before(name: str, text: str) -> None:
    """Such code names its columns, so what is added does not disturb it, as long as it need not be given."""
    commands = re.sub(r"--.*", "", text)
    assert TAKES_AWAY.findall(commands) == [], (
        "do it in two releases: first add, then, when no worker uses it, take away"
    )
    for column in NEW_COLUMN.findall(commands):
        assert "NOT NULL" not in column.upper() or "DEFAULT" in column.upper(), column
    for made_anew in re.findall(r"DROP\s+(?:TRIGGER|FUNCTION|CONSTRAINT)\s+(?:IF\s+EXISTS\s+)?(\w+)", commands):
        assert re.search(rf"(CREATE (CONSTRAINT )?TRIGGER|FUNCTION|ADD CONSTRAINT) {made_anew}\b", commands), made_anew
