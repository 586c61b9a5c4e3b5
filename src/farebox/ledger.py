"""The truth about money, in Postgres: holds, entries, balances, and the windows and pools a wallet is rebuilt from.

Each method is one named query of `sql/queries.sql`; what must happen together is one statement. Recording and accepting
holds are batched over all sends in flight (group commit).
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from operator import attrgetter
from typing import Any
from uuid import UUID

import asyncpg

from farebox.batch import Batcher
from farebox.core.hold import OPEN, Event, sources, target
from farebox.core.tariff import Window
from farebox.rows import End, Ended, KnownHold, NewHold, Truth, conversation_state, known_hold
from farebox.sql import queries

MAX_CONNECTIONS = 8  # a worker's share: a few batches at once and the admin reads; Postgres allows 100 in all
MAX_BATCH = 1_000  # holds in one INSERT: past that the gain is gone and the wait grows
MAX_WAITING = 10_000  # holds waiting for the ledger, as for the wallet


class LedgerUnavailableError(Exception):
    """The database did not answer in time, or not at all: a write may or may not have been committed."""


class Ledger:
    """The ledger's queries. Raises LedgerUnavailableError where the database is away."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", *, timeout_s: float) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._records: Batcher[NewHold, bool] = Batcher(
            self._record_batch, max_batch=MAX_BATCH, max_waiting=MAX_WAITING
        )
        self._accepts: Batcher[tuple[UUID, str | None, str | None], None] = Batcher(
            self._accept_batch, max_batch=MAX_BATCH, max_waiting=MAX_WAITING
        )

    @classmethod
    async def connect(cls, url: str, *, timeout_s: float) -> "Ledger":
        """Open the connection pool."""
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=MAX_CONNECTIONS,
            command_timeout=timeout_s,
            timeout=timeout_s,
            server_settings={"application_name": "farebox", "timezone": "UTC"},
        )
        return cls(pool, timeout_s=timeout_s)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.close()

    async def record(self, hold: NewHold) -> bool:
        """Record a hold; False where its wallet's epoch is no longer the number's: nothing may leave on it."""
        return await self._records.submit(hold)

    async def accept(self, hold_id: UUID, wamid: str | None, wa_id: str | None) -> None:
        """Note that the upstream took a message, under this wamid and for this user."""
        await self._accepts.submit((hold_id, wamid, wa_id))

    async def find_holds(self, hold_ids: Iterable[UUID], wamids: Iterable[str]) -> list[KnownHold]:
        """Find holds by their ids or by wamids."""
        rows = await self.fetch("holds_by_reference", list(hold_ids), list(wamids))
        return [known_hold(row) for row in rows]

    async def next_rider(self, opener: UUID) -> KnownHold | None:
        """Find the first message that rides a hold's conversation and may still arrive."""
        row = await self.fetch_one("next_rider", opener, [state.value for state in OPEN])
        return None if row is None else known_hold(row)

    async def carry(self, opener: KnownHold, rider: KnownHold) -> bool:
        """Hand a conversation and its fare to the message that rides it; False where that one has ended meanwhile."""
        row = await self.fetch_one(
            "carry_conversation",
            opener.hold_id,
            rider.hold_id,
            opener.fare_micros,
            rider.number_id,
            opener.message_class,
            opener.opens,
            [state.value for state in OPEN],
        )
        return row is not None

    async def end(self, event: Event, ends: Sequence[End], now_ms: int) -> list[Ended]:
        """End holds by one event; return those that it changed. Entry, state and balance move in one statement."""
        if not ends:
            return []
        rows = await self.fetch(
            "end_holds",
            [end.hold_id for end in ends],
            [end.number_id for end in ends],
            [end.billed_micros for end in ends],
            [None if end.webhook is None else json.dumps(end.webhook) for end in ends],
            [end.wamid for end in ends],
            target(event).value,
            event.value,
            [state.value for state in sources(event)],
            now_ms,
            [end.conversation_id for end in ends],
            [end.conversation_until_ms for end in ends],
            [end.pool for end in ends],
        )
        return [
            Ended(row["hold_id"], row["number_id"], row["billed_micros"], row["epoch"], row["late"]) for row in rows
        ]

    @asynccontextmanager
    async def number_locked(self, number_id: str) -> AsyncIterator["LockedNumber"]:
        """Hold the number's row lock: no hold is recorded, none ended and no top-up booked meanwhile."""
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                epoch = await connection.fetchval(queries()["lock_number"], number_id)
                yield LockedNumber(number_id, int(epoch), connection)
        except _AWAY as error:
            raise _unavailable(error) from error

    async def next_epoch(self, number_id: str, epoch: int) -> int | None:
        """Raise a number's epoch: holds of older wallets are refused from now on. None where another was faster."""
        row = await self.fetch_one("next_epoch", number_id, epoch)
        return None if row is None else int(row["epoch"])

    @asynccontextmanager
    async def elected(self, lock: int) -> AsyncIterator[bool]:
        """Tell whether this worker may do what only one may do at a time; the lock ends with the block."""
        try:
            async with self._pool.acquire() as connection:
                won = await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock)
                try:
                    yield bool(won)
                finally:
                    if won:
                        await connection.execute("SELECT pg_advisory_unlock($1)", lock)
        except _AWAY as error:
            raise _unavailable(error) from error

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a named query and return its rows."""
        try:
            async with asyncio.timeout(self._timeout_s):  # the wait for a free connection included
                return list(await self._pool.fetch(queries()[query], *arguments))
        except _AWAY as error:
            raise _unavailable(error) from error

    async def fetch_one(self, query: str, *arguments: Any) -> asyncpg.Record | None:
        """Run a named query and return its first row."""
        rows = await self.fetch(query, *arguments)
        return rows[0] if rows else None

    async def _record_batch(self, holds: list[NewHold]) -> list[bool]:
        columns = zip(*map(_columns, holds), strict=True)
        recorded = {row["hold_id"] for row in await self.fetch("record_holds", *columns)}
        return [hold.hold_id in recorded for hold in holds]

    async def _accept_batch(self, accepted: list[tuple[UUID, str | None, str | None]]) -> list[None]:
        ids, wamids, users = zip(*accepted, strict=True)
        states = [state.value for state in sources(Event.ACCEPT)]
        await self.fetch("accept_holds", ids, wamids, states, target(Event.ACCEPT).value, users)
        return [None] * len(accepted)


class LockedNumber:
    """What may be asked and done while a number's row is locked."""

    def __init__(
        self, number_id: str, epoch: int, connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
    ) -> None:
        self._number_id = number_id
        self.epoch = epoch
        self._connection = connection

    async def truth(self, pools: Sequence[str]) -> Truth:
        """Return what the wallet must hold, in one snapshot."""
        row = await self._connection.fetchrow(queries()["wallet_truth"], self._number_id, pools)
        assert row is not None, "every number has a balance"
        holds = [(hold, fare, pool) for hold, fare, pool in json.loads(row["holds"])]
        return Truth(row["balance_micros"], row["held_micros"], holds, json.loads(row["pools"]))

    async def windows(self, now_ms: int) -> list[Window]:
        """Return the open windows."""
        rows = await self._connection.fetch(queries()["windows_of"], self._number_id, now_ms)
        return [(row["user_id"], row["kind"], row["ends_at_ms"], None) for row in rows]

    async def conversations(self, now_ms: int) -> list[tuple[str, str, str]]:
        """Return the open and pending conversations: (user, category, state as the wallet writes it)."""
        rows = await self._connection.fetch(queries()["conversations_of"], self._number_id, now_ms)
        return [
            (
                row["user_id"],
                row["category"],
                conversation_state(row["ends_at_ms"], row["hold_id"], paid=row["class"] == "paid"),
            )
            for row in rows
        ]


_columns = attrgetter(*(column.name for column in fields(NewHold)))  # in the order of record_holds' parameters

# Everything that means "the database is away": refused, cut off, shutting down, too many connections, too slow, rolled
# back for another's sake. An error of our own making (a constraint, a wrong type) is none of these.
_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
)


def _unavailable(error: BaseException) -> LedgerUnavailableError:
    return LedgerUnavailableError(f"the ledger's database does not answer: {type(error).__name__}")
