"""Connections to the ledger's database."""

import asyncio
import logging
from typing import Any

import asyncpg

from farebox.sql import queries

log = logging.getLogger(__name__)

# For statements that find single rows by a key: one plan for good, by index. To plan such a statement anew each time
# takes longer than to run it. No partition is left out while it runs: PostgreSQL 18 (18.6 among them) keeps what it
# leaves out by in one place for the statement and for its second look at a row that somebody changed under it
# (EvalPlanQual). After such a look the statement misses rows of other partitions, or reads freed memory and crashes.
ONLY_BY_INDEX = {
    "enable_partition_pruning": "off",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
}
# How long such a plan is used. A month that was empty when the plan was made (to look it through from end to end was as
# good as its index) may have a hundred thousand holds a minute later. To plan anew takes some milliseconds.
PLANS_LAST_S = 2.0


class ByIndex(asyncpg.Connection):
    """A connection for statements that find single rows by a key (`ONLY_BY_INDEX`)."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._planned_at = asyncio.get_running_loop().time()

    async def fetch(  # type: ignore[override]  # of asyncpg's overloads the one for rows of its own kind
        self, query: str, *arguments: Any, **options: Any
    ) -> list[asyncpg.Record]:
        """Run a statement and return its rows; by a new plan where the last one may be out of date."""
        now = asyncio.get_running_loop().time()
        if now - self._planned_at > PLANS_LAST_S:
            await self.execute("DISCARD PLANS")
            self._planned_at = now
        return await super().fetch(query, *arguments, **options)


async def open_pool(
    url: str, *, timeout_s: float, min_size: int = 1, max_size: int, only_by_index: bool = False
) -> "asyncpg.Pool[asyncpg.Record]":
    """Open a pool, for any statements or for those that find single rows by a key."""
    settings = ONLY_BY_INDEX if only_by_index else {}
    return await asyncpg.create_pool(
        url,
        min_size=min_size,
        max_size=max_size,
        command_timeout=timeout_s,
        timeout=timeout_s,
        server_settings={"application_name": "farebox", "timezone": "UTC", **settings},
        connection_class=ByIndex if only_by_index else asyncpg.Connection,
        init=_claim_history,
        reset=_keep_as_it_is,
    )


class KeptConnection:
    """A connection of a pool that batch after batch uses: to take one and to give it back costs more than a statement.

    One that failed goes back to the pool, which knows what is left of it, and the next batch takes another.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool
        self._connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | None = None
        self._in_use = False

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement and return its rows; on another connection of the pool while this one is in use."""
        if self._in_use:
            return await self._pool.fetch(query, *arguments)
        self._in_use = True
        try:
            if self._connection is None or self._connection.is_closed():
                await self.give_back()
                self._connection = await self._pool.acquire()
            return await self._connection.fetch(query, *arguments)
        except BaseException:
            await self.give_back()
            raise
        finally:
            self._in_use = False

    async def give_back(self) -> None:
        """Give the connection back to the pool."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await self._pool.release(connection)


async def _claim_history(connection: asyncpg.Connection) -> None:
    """Before a new connection is used: a ledger that was restored or failed over fences every older wallet off."""
    if await connection.fetchval(queries()["claim_history"]):
        log.warning("the ledger's database was restored or failed over: every wallet will be rebuilt")


async def _keep_as_it_is(_: asyncpg.Connection) -> None:
    """Between two uses a connection needs no cleaning, which would be a round trip more for each statement.

    Nothing here leaves anything on one: settings are local to a transaction, the elected worker gives its lock back.
    """
