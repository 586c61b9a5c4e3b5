"""Ends of holds: what several webhooks end at the same time is one statement and one commit (see batch.py).

Those of one number would wait for each other's commit anyway: each moves the number's balance.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Protocol
from uuid import UUID

import asyncpg

from farebox.batch import Batcher
from farebox.core.hold import OPEN, Event, sources, target
from farebox.rows import End, Ended, ended_hold

MAX_BATCH = 1_000  # holds in one statement: past that the gain is gone, and the loop should work beside the database
MAX_WAITING = 10_000  # calls that wait for the ledger, as sends do

Asked = tuple[Sequence[End], int]  # and when


class Fetches(Protocol):
    """What runs named queries: the ledger."""

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a named query and return its rows."""


class Ends:
    """Ends holds by one event, each call together with those that wait."""

    def __init__(self, event: Event, ledger: Fetches) -> None:
        self._event = event
        self._ledger = ledger
        self._calls: Batcher[Asked, list[Ended]] = Batcher(
            self._flush, max_batch=MAX_BATCH, max_waiting=MAX_WAITING, weigh=_holds
        )

    async def together(self, ends: Sequence[End], now_ms: int) -> list[Ended]:
        """End holds beside others; return those of these that it changed.

        A hold that two calls would end is ended by the first of them. Raises OverloadedError, and what `apart` raises.
        """
        return await self._calls.submit((ends, now_ms))

    async def apart(self, ends: Sequence[End], now_ms: int) -> list[Ended]:
        """End holds in a statement of their own; return those that it changed."""
        alike: dict[tuple[Any, ...], list[UUID]] = {}
        for end in ends:
            alike.setdefault(end[1:], []).append(end.hold_id)
        lasts = list(accumulate(map(len, alike.values())))
        rows = await self._ledger.fetch(
            "end_holds",
            [hold_id for holds in alike.values() for hold_id in holds],
            [1, *(last + 1 for last in lasts[:-1])],
            lasts,
            *zip(*alike, strict=True),
            target(self._event).value,
            self._event.value,
            [state.value for state in sources(self._event)],
            now_ms,
            [state.value for state in OPEN],
        )
        return [ended_hold(row) for row in rows]

    async def idle(self) -> None:
        """Wait until every call has its answer."""
        await self._calls.idle()

    async def _flush(self, calls: list[Asked]) -> Sequence[list[Ended] | Exception]:
        if len(calls) == 1:
            return [await self.apart(*calls[0])]
        first: dict[UUID, tuple[int, End]] = {}
        for place, (ends, _) in enumerate(calls):
            for end in ends:
                first.setdefault(end.hold_id, (place, end))
        try:
            ended = await self.apart([end for _, end in first.values()], max(now_ms for _, now_ms in calls))
        except asyncpg.PostgresError:
            return [await self._or_why(call) for call in calls]  # what one call asks can not be done, nothing was
        answers: list[list[Ended]] = [[] for _ in calls]
        for one in ended:
            answers[first[one.hold_id][0]].append(one)
        return answers

    async def _or_why(self, call: Asked) -> list[Ended] | Exception:
        try:
            return await self.apart(*call)
        except Exception as error:
            return error


def _holds(call: Asked) -> int:
    return len(call[0])
