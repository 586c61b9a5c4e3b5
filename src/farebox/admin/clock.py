"""The sandbox's clock, which a test may move."""

from datetime import UTC, datetime

import asyncpg
from pydantic import AwareDatetime, Field, model_validator

from farebox.admin.fields import refuse
from farebox.admin.models import Given, Nothing, Taken
from farebox.admin.problems import ProblemError
from farebox.admin.routing import Answer, Ask, Get
from farebox.gate import Gate


class ClockPut(Taken):
    """Where the sandbox's clock goes: to a time, or by seconds."""

    now: AwareDatetime | None = None
    advance_s: float | None = Field(None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_of_them(self) -> "ClockPut":
        if (self.now is None) == (self.advance_s is None):
            raise refuse('must be either {"now": ISO 8601} or {"advance_s": seconds}')
        return self


class ClockTime(Given):
    """The sandbox's clock."""

    now: datetime
    offset_s: float = Field(description="How far it is ahead of the database's clock.")


# Within these a month after and before are dates too, whatever adds or subtracts a window or a hold's time to live.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)


async def show(ask: Get) -> Answer:
    """Show the clock."""
    return Answer(_shown(await _now(ask.gate)))


async def put(ask: Ask[ClockPut, Nothing]) -> Answer:
    """Move the clock and wait until everything that is due at the new time is done."""
    admin, gate = ask.admin, ask.gate
    assert admin.test_clock is not None, "the route exists with a test clock only"
    async with admin.clock_moves:  # one after the other, so that no advance is lost
        row = await _now(gate)
        offset_ms: int = row["offset_ms"]
        if ask.body.now is not None:
            wanted_ms = round(ask.body.now.timestamp() * 1000)
            where = "now"
        else:
            assert ask.body.advance_s is not None, "the model demands one of the two"
            wanted_ms = row["now_ms"] + round(ask.body.advance_s * 1000)
            where = "advance_s"
        if not EARLIEST.timestamp() * 1000 <= wanted_ms <= LATEST.timestamp() * 1000:
            raise ProblemError(422, f"{where}: the clock must stay between {EARLIEST:%Y} and {LATEST:%Y}.")
        await gate.ledger.fetch("set_clock", offset_ms + wanted_ms - row["now_ms"])
        await gate.clock.sync(gate.ledger)
        await admin.test_clock()
        return Answer(_shown(await _now(gate)))


async def _now(gate: Gate) -> asyncpg.Record:
    row = await gate.ledger.fetch_one("now")
    assert row is not None, "the clock table has its one row"
    return row


def _shown(row: asyncpg.Record) -> ClockTime:
    return ClockTime(now=datetime.fromtimestamp(row["now_ms"] / 1000, UTC), offset_s=row["offset_ms"] / 1000)
