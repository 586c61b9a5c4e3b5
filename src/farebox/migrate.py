"""Brings a database to the current schema.

Safe to run twice and by several processes at once: an advisory lock orders them. The gateway itself may use a role of
its own with fewer rights (`farebox migrate --grant-to`): to it the ledger is append-only, whatever the program does.
"""

import asyncpg

from farebox.assets import asset
from farebox.sql import migrations, queries

LOCK = 0x6661_7265_626F_78  # "farebox", so that no other program's advisory lock is ours
AHEAD = 3  # months with a partition before they begin: a sweep that fails for weeks is noticed before one is missing


async def migrate(database_url: str, *, grant_to: str | None = None) -> list[str]:
    """Apply what is missing, each migration in a transaction of its own; return the names of what was applied.

    Nothing is written to a database that is current, so a role without the right to change it may call this. `grant_to`
    names the role of the gateway, which then may do what a gateway does and no more.
    """
    connection = await asyncpg.connect(database_url)
    try:
        applied = []
        if await _missing(connection):
            await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS migration"
                " (number int PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL)"
            )
            for number, name, text in await _missing(connection):
                async with connection.transaction():
                    await connection.execute("INSERT INTO migration VALUES ($1, $2, now())", number, name)
                    await connection.execute(text)
                applied.append(f"{number:04d}_{name}")
        await _make_partitions(connection)
        if grant_to is not None:
            async with connection.transaction():
                await connection.execute("SELECT set_config('farebox.grant_to', $1, true)", grant_to)
                await connection.execute(asset("sql/grants.sql").read_text())
        return applied
    finally:
        await connection.close()  # ends the session, and the lock with it


async def _make_partitions(connection: asyncpg.Connection) -> None:
    now_ms = await connection.fetchval(queries()["now"])
    await connection.fetch(queries()["make_partitions"], now_ms, AHEAD)


async def _missing(connection: asyncpg.Connection) -> list[tuple[int, str, str]]:
    known: set[int] = set()
    if await connection.fetchval("SELECT to_regclass('migration')") is not None:
        known = {row["number"] for row in await connection.fetch("SELECT number FROM migration")}
    return [each for each in migrations() if each[0] not in known]
