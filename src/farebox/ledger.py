"""The truth about money, in Postgres: holds, entries, balances, and the windows and pools a wallet is rebuilt from.

Each method is one named query of `sql/queries.sql`; what must happen together is one statement. Recording and accepting
holds are batched over all sends in flight (group commit).
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import date
from typing import Any
from uuid import UUID

import asyncpg

from farebox.acting import actor
from farebox.batch import Batcher, OverloadedError
from farebox.core.hold import OPEN, Event, sources, target
from farebox.database import KeptConnection, open_pool
from farebox.ends import Ends
from farebox.metrics import Queue
from farebox.rows import End, Ended, KnownHold, NewHold, Truth, known_hold
from farebox.sql import queries

log = logging.getLogger(__name__)

# A worker's share; Postgres allows 100 in all. For rebuilds, top-ups and the admin reads, beside those that six kinds
# of elected work (`elected`) hold for as long as they ask for others.
MAX_CONNECTIONS = 8
MAX_BY_KEY = 5  # more of them, for BY_KEY: new holds, accepts, ends, and two for the rest of what webhooks ask
OPEN_BY_KEY = 3  # of these from the start: the first sends need not wait for one to be opened
# Statements that find single holds by a key. They have connections of their own that keep one plan by index for a while
# and bear it when rows change under them (`ONLY_BY_INDEX`): whatever locks or changes rows and looks for holds is here.
BY_KEY = frozenset({
    "record_holds", "accept_holds", "end_holds", "carry_conversation", "adopt_hold", "holds_by_reference"
})  # fmt: skip
# The same for what wallets must hold: a few numbers of many, and until the transaction ends.
BY_INDEX = "SET LOCAL enable_seqscan = off"
MAX_BATCH = 1_000  # holds in one INSERT: past that the gain is gone and the wait grows
MAX_WAITING = 10_000  # holds waiting for the ledger, as for the wallet


class LedgerUnavailableError(Exception):
    """The database did not answer in time, or not at all: a write may or may not have been committed."""


class ClaimLostError(Exception):
    """The claim of an Idempotency-Key was taken over or released meanwhile: this attempt must not do anything."""


class Ledger:
    """The ledger's queries. Raises LedgerUnavailableError where the database is away."""

    def __init__(
        self, pool: "asyncpg.Pool[asyncpg.Record]", by_key: "asyncpg.Pool[asyncpg.Record]", *, timeout_s: float
    ) -> None:
        self._pool = pool
        self._by_key = by_key
        self._timeout_s = timeout_s
        self._kept = {query: KeptConnection(by_key) for query in ("record_holds", "accept_holds", "end_holds")}
        self._ends: dict[Event, Ends] = {event: Ends(event, self) for event in Event if event is not Event.ACCEPT}
        self._records: Batcher[NewHold, bool] = Batcher(
            self._record_batch, max_batch=MAX_BATCH, max_waiting=MAX_WAITING, observe=Queue("record")
        )
        self._accepts: Batcher[tuple[UUID, str | None, str | None, bool], None] = Batcher(
            self._accept_batch, max_batch=MAX_BATCH, max_waiting=MAX_WAITING, observe=Queue("accept")
        )

    @classmethod
    async def connect(cls, url: str, *, timeout_s: float) -> "Ledger":
        """Open the connections."""
        pool = await open_pool(url, timeout_s=timeout_s, max_size=MAX_CONNECTIONS)
        by_key = await open_pool(
            url, timeout_s=timeout_s, min_size=OPEN_BY_KEY, max_size=MAX_BY_KEY, only_by_index=True
        )
        return cls(pool, by_key, timeout_s=timeout_s)

    async def aclose(self) -> None:
        """Finish what was begun, and close the connections."""
        await self.noted()
        for queue in self._ends.values():
            await queue.idle()
        for kept in self._kept.values():
            await kept.give_back()
        await self._by_key.close()
        await self._pool.close()

    async def record(self, hold: NewHold) -> bool:
        """Record a hold; False where its wallet's epoch is no longer the number's: nothing may leave on it."""
        return await self._records.hand_over(hold)

    async def check_claim(self, claim_id: UUID | None) -> None:
        """Raise ClaimLostError where an attempt does not have the claim of its Idempotency-Key any more."""
        if claim_id is not None and await self.fetch_one("claim_stands", claim_id) is None:
            raise ClaimLostError

    def accept(
        self, hold_id: UUID, wamid: str | None, wa_id: str | None, *, may_gather: bool
    ) -> "asyncio.Future[None]":
        """Begin to note that the upstream took a message, under this wamid and for this user; done when it is noted.

        Where nobody waits for it, it may gather with other notes for a moment, and is not waited for on the disk.
        """
        return self._accepts.hand_over((hold_id, wamid, wa_id, not may_gather), may_gather=may_gather)

    async def noted(self) -> None:
        """Wait until every accept that was begun is noted, or has failed."""
        await self._accepts.idle()

    async def noted_so_far(self) -> None:
        """Wait until every accept that was begun before is noted, or has failed."""
        await self._accepts.caught_up()

    async def find_holds(self, hold_ids: Iterable[UUID], wamids: Iterable[str]) -> list[KnownHold]:
        """Find holds by their ids or by wamids."""
        rows = await self.fetch("holds_by_reference", list(hold_ids), list(wamids))
        return [known_hold(row) for row in rows]

    async def find_alone(self, hold_ids: Collection[UUID]) -> list[KnownHold]:
        """Find these holds without the others of a group, which `find_holds` returns with those that they left with."""
        return [hold for hold in await self.find_holds(hold_ids, []) if hold.hold_id in hold_ids]

    async def next_rider(self, opener: UUID) -> KnownHold | None:
        """Find the first message that rides a hold's conversation and may still arrive."""
        row = await self.fetch_one("next_rider", opener, [state.value for state in OPEN])
        return None if row is None else known_hold(row)

    async def carry(self, opener: KnownHold, rider: KnownHold, epoch: int | None) -> int | None:
        """Hand a conversation and its fare, which a wallet of this epoch set aside, to the message that rides it.

        Return the number's epoch at that moment, None where it is another one or the message has ended meanwhile.
        """
        row = await self.fetch_one(
            "carry_conversation",
            opener.hold_id,
            rider.hold_id,
            opener.fare_micros,
            rider.number_id,
            opener.message_class,
            opener.opens,
            [state.value for state in OPEN],
            epoch,
        )
        return None if row is None else int(row["epoch"])

    async def end(self, event: Event, ends: Sequence[End], now_ms: int) -> list[Ended]:
        """End holds by one event; return those that it changed. Entry, state and balance move in one statement."""
        if not ends:
            return []
        queue = self._ends[event]
        if actor() is not None:  # what somebody does is written down in that name, and so beside nothing else
            return await queue.apart(ends, now_ms)
        try:
            return await queue.together(ends, now_ms)
        except OverloadedError as error:
            raise _unavailable(error) from error

    @asynccontextmanager
    async def numbers_locked(self, number_ids: Sequence[str], *, wait: bool = True) -> AsyncIterator["LockedNumbers"]:
        """Hold the row locks of numbers in one transaction: no hold is recorded or ended, no top-up booked meanwhile.

        Without `wait` those that are locked already are left out.
        """
        try:
            async with asyncio.timeout(self._timeout_s), self._pool.acquire() as connection, connection.transaction():
                query = queries()["lock_numbers" if wait else "lock_idle_numbers"]
                rows = await connection.fetch(query, number_ids)
                yield LockedNumbers([row["number_id"] for row in rows], connection)
        except _AWAY as error:
            raise _unavailable(error) from error

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

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Transaction"]:
        """Run several named queries as one transaction; what is raised in the block takes it back."""
        try:
            async with asyncio.timeout(self._timeout_s), self._pool.acquire() as connection, connection.transaction():
                yield Transaction(connection)
        except _AWAY as error:
            raise _unavailable(error) from error

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a named query and return its rows; where somebody is acting (`farebox.acting`), in that name."""
        try:
            async with asyncio.timeout(self._timeout_s):  # the wait for a free connection included
                who = actor()
                pool = self._by_key if query in BY_KEY else self._pool
                if who is None:
                    return list(await self._kept.get(query, pool).fetch(queries()[query], *arguments))
                async with pool.acquire() as connection, connection.transaction():
                    await connection.fetch(queries()["act_as"], who.who, who.why, who.request_id)
                    return list(await connection.fetch(queries()[query], *arguments))
        except _AWAY as error:
            raise _unavailable(error) from error

    async def fetch_one(self, query: str, *arguments: Any) -> asyncpg.Record | None:
        """Run a named query and return its first row."""
        rows = await self.fetch(query, *arguments)
        return rows[0] if rows else None

    async def note(
        self, what: str, kind: str, subject: str, *, before: dict[str, Any] | None, after: dict[str, Any] | None
    ) -> None:
        """Write a deed into the audit log that changes no table which does so itself (`farebox.acting`)."""
        documents = (None if content is None else json.dumps(content) for content in (before, after))
        await self.fetch("note", what, kind, subject, *documents)

    async def _record_batch(self, holds: list[NewHold]) -> list[bool]:
        numbers = list({hold.number_id for hold in holds})
        recorded = {row["hold_id"] for row in await self.fetch("record_holds", holds, numbers)}
        return [hold.hold_id in recorded for hold in holds]

    async def _accept_batch(self, accepted: list[tuple[UUID, str | None, str | None, bool]]) -> list[None]:
        ids, wamids, users, awaited = zip(*accepted, strict=True)
        states = [state.value for state in sources(Event.ACCEPT)]
        await self.fetch("accept_holds", ids, wamids, states, target(Event.ACCEPT).value, users, any(awaited))
        return [None] * len(accepted)


class Transaction:
    """Named queries that are committed together."""

    def __init__(self, connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]") -> None:
        self._connection = connection

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a named query and return its rows."""
        return list(await self._connection.fetch(queries()[query], *arguments))

    async def fetch_one(self, query: str, *arguments: Any) -> asyncpg.Record | None:
        """Run a named query and return its first row."""
        rows = await self.fetch(query, *arguments)
        return rows[0] if rows else None


class LockedNumbers:
    """What may be asked and done while the rows of numbers are locked."""

    def __init__(
        self, number_ids: Sequence[str], connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
    ) -> None:
        self.number_ids = number_ids
        self._connection = connection

    async def epoch(self, number_id: str) -> int:
        """Return a number's epoch."""
        return int(await self._connection.fetchval(queries()["number_epoch"], number_id))

    async def next_epochs(self) -> dict[str, int]:
        """Give every number an epoch that none ever had: holds of older wallets are refused from the commit on."""
        rows = await self._connection.fetch(queries()["next_epochs"], self.number_ids)
        return {row["number_id"]: row["epoch"] for row in rows}

    async def truths(self, pools: Sequence[str], days: Sequence[date], now_ms: int) -> list[Truth]:
        """Return what the wallets must hold, in one snapshot.

        `pools` names the pool of each number's month, `days` what day it is in its time zone.
        """
        await self._connection.execute(BY_INDEX)
        rows = await self._connection.fetch(queries()["wallet_truths"], self.number_ids, pools, now_ms, days)
        sums = ("held_by", "day_by", "month_by")
        return [Truth(**{**row, **{name: _sums(row[name]) for name in sums}}) for row in rows]


def _sums(text: str) -> dict[str, int]:
    """Read sums by category; most numbers have none."""
    return {} if text == "{}" else json.loads(text)


# Everything that means "the database is away": refused, cut off, shutting down, too many connections, too slow, rolled
# back for another's sake, unable to write its files. An error of our own making (a constraint, a wrong type) is none of
# these. A connection that is cut off while asyncpg prepares its next statement makes it complain about its own state.
_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
    asyncpg.TransactionRollbackError,
    asyncpg.InternalClientError,
)


def _unavailable(error: BaseException) -> LedgerUnavailableError:
    return LedgerUnavailableError(f"the ledger's database does not answer: {type(error).__name__}")
