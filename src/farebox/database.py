"""Connections to the ledger's database."""

import logging

import asyncpg

from farebox.sql import queries

log = logging.getLogger(__name__)

ONLY_BY_INDEX = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}


async def open_pool(
    url: str, *, timeout_s: float, max_size: int, settings: dict[str, str]
) -> "asyncpg.Pool[asyncpg.Record]":
    """Open a pool; `settings` are PostgreSQL's own, for its connections."""
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=max_size,
        command_timeout=timeout_s,
        timeout=timeout_s,
        server_settings={"application_name": "farebox", "timezone": "UTC", **settings},
        init=_claim_history,
        reset=_keep_as_it_is,
    )


async def _claim_history(connection: asyncpg.Connection) -> None:
    """Before a new connection is used: a ledger that was restored or failed over fences every older wallet off."""
    if await connection.fetchval(queries()["claim_history"]):
        log.warning("the ledger's database was restored or failed over: every wallet will be rebuilt")


async def _keep_as_it_is(_: asyncpg.Connection) -> None:
    """Between two uses a connection needs no cleaning, which would be a round trip more for each statement.

    Nothing here leaves anything on one: settings are local to a transaction, the elected worker gives its lock back.
    """
