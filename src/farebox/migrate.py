"""Brings a database to the current schema.

Safe to run twice and by several processes at once: an advisory lock orders them.
"""

import asyncpg

from farebox.sql import migrations

LOCK = 0x6661_7265_626F_78  # "farebox", so that no other program's advisory lock is ours


async def migrate(database_url: str) -> list[str]:
    """Apply what is missing, each migration in a transaction of its own; return the names of what was applied."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migration"
            " (number int PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL)"
        )
        known = {row["number"] for row in await connection.fetch("SELECT number FROM migration")}
        applied = []
        for number, name, text in migrations():
            if number in known:
                continue
            async with connection.transaction():
                await connection.execute("INSERT INTO migration VALUES ($1, $2, now())", number, name)
                await connection.execute(text)
            applied.append(f"{number:04d}_{name}")
        return applied
    finally:
        await connection.close()  # ends the session, and the lock with it
