"""Statements that wait for a row and go on with what it has become, over the months that the ledger keeps holds in."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

import past
from farebox.core.hold import Event
from farebox.gate import Gate
from farebox.ledger import BY_KEY, Ledger
from farebox.rows import End
from farebox.sql import queries
from past import FARE, NUMBER, moment
from stores.servers import until

MARCH, APRIL = moment(2026, 3), moment(2026, 4)
A_LOCK = re.compile(r"\bFOR (NO KEY )?UPDATE\b|\bFOR (KEY )?SHARE\b|\bUPDATE (?!SET\b)\w+")
HOLDS_BY_ID = re.compile(r"\b(FROM|JOIN|UPDATE) (hold|entry)\b")

Deed = Callable[[Ledger, list[UUID]], Coroutine[Any, Any, object]]


async def accept(ledger: Ledger, holds: list[UUID]) -> None:
    await asyncio.gather(*(ledger.accept(hold, f"wamid.{hold}", None, may_gather=False) for hold in holds))


async def deliver(ledger: Ledger, holds: list[UUID]) -> None:
    await ledger.end(Event.DELIVER, [End(hold, NUMBER, FARE) for hold in holds], APRIL)


@asynccontextmanager
async def changed_meanwhile(ledger: Ledger, change: str) -> AsyncIterator[None]:
    """Change rows and let go of them when somebody waits for them."""
    async with ledger._pool.acquire() as connection, connection.transaction():
        await connection.execute(change)
        yield
        await until(lambda: somebody_waits(ledger))


async def somebody_waits(ledger: Ledger) -> bool:
    return bool(await ledger._pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))


CHANGES = {
    "a note": "UPDATE hold SET note = 'x' WHERE hold_id = (SELECT min(hold_id::text)::uuid FROM hold)",
    "a rebuild": "SELECT FROM number FOR UPDATE; UPDATE number SET epoch = epoch + 1",
    "a charge": "UPDATE balance SET balance_micros = balance_micros",
}


@pytest.mark.parametrize(
    ("deed", "column", "change"),
    [
        (accept, "wamid", "a note"),
        (deliver, "billed_micros", "a note"),
        (deliver, "billed_micros", "a rebuild"),
        (deliver, "billed_micros", "a charge"),
    ],
)
async def test_no_hold_is_missed_because_a_row_changed(gate: Gate, deed: Deed, column: str, change: str) -> None:
    """Neither in the month of the hold that changed nor in the next; PostgreSQL 18 forgot the latter, or fell over."""
    await past.add_number(gate)
    for at_ms in (MARCH, APRIL):
        await gate.ledger.fetch("make_partitions", at_ms, 0)
    await past.top_up(gate.ledger, 100 * FARE, MARCH)
    holds = [await past.record(gate.ledger, at_ms) for at_ms in (MARCH, APRIL) * 3]
    async with changed_meanwhile(gate.ledger, CHANGES[change]):
        doing = asyncio.create_task(deed(gate.ledger, holds))
    await doing
    assert await gate.ledger._pool.fetchval(f"SELECT count({column}) FROM hold") == len(holds)


def test_whatever_locks_rows_and_looks_for_holds_has_plans_that_bear_it() -> None:
    """Those that are given an array of ids have no partition to leave out."""
    text = {name: re.sub(r"--.*", "", query) for name, query in queries().items()}
    both = {name for name, query in text.items() if A_LOCK.search(query) and HOLDS_BY_ID.search(query)}
    assert both - BY_KEY == {"note_delivery"}
