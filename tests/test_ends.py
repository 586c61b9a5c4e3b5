"""Ends that are asked for at the same time are one statement, and each call learns what became of its own."""

import asyncio
from typing import Any

import asyncpg
import pytest

import past
from farebox.acting import Actor, acting
from farebox.core.hold import Event
from farebox.gate import Gate
from farebox.ledger import Ledger, LedgerUnavailableError
from farebox.rows import End

NOW = past.moment(2026, 11)
FARE = past.FARE


@pytest.fixture
async def ledger(gate: Gate) -> Ledger:
    await past.add_number(gate)
    await past.top_up(gate.ledger, 1_000_000, NOW)
    return gate.ledger


@pytest.fixture
def statements(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many holds each statement is to end."""
    told: list[int] = []
    fetch = ledger.fetch

    async def counted(query: str, *arguments: Any) -> list[asyncpg.Record]:
        if query == "end_holds":
            told.append(len(arguments[0]))
        return await fetch(query, *arguments)

    monkeypatch.setattr(ledger, "fetch", counted)
    return told


async def some(ledger: Ledger, count: int, billed_micros: int = FARE) -> list[End]:
    return [End(await past.record(ledger, NOW), past.NUMBER, billed_micros) for _ in range(count)]


async def together(ledger: Ledger, *calls: list[End]) -> list[Any]:
    """What each call is answered: the bills of the holds that it ended, by id, or why it failed."""
    answers = await asyncio.gather(*(ledger.end(Event.DELIVER, call, NOW) for call in calls), return_exceptions=True)
    return [
        answer if isinstance(answer, BaseException) else {end.hold_id: end.billed_micros for end in answer}
        for answer in answers
    ]


async def settled(ledger: Ledger) -> int:
    count: int = await ledger._pool.fetchval("SELECT count(*) FROM hold WHERE state = 'settled'")
    return count


async def test_calls_of_one_turn_share_a_statement_and_each_gets_its_own(ledger: Ledger, statements: list[int]) -> None:
    calls = [await some(ledger, count, FARE + count) for count in (3, 1, 2)]
    answers = await together(ledger, *calls)
    assert answers == [{end.hold_id: end.billed_micros for end in call} for call in calls]
    assert statements == [6]
    assert await ledger.fetch("usage_against_holds", None) == []


async def test_a_statement_ends_so_many_holds_and_the_next_ones_wait(
    ledger: Ledger, statements: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger._ends[Event.DELIVER]._calls, "_max_batch", 4)
    await together(ledger, *[await some(ledger, count) for count in (3, 1, 2, 9)])
    assert statements == [4, 2, 9]  # one call is never cut
    assert await settled(ledger) == 15


async def test_a_hold_that_two_calls_end_is_ended_by_the_first(ledger: Ledger, statements: list[int]) -> None:
    (hold, other) = await some(ledger, 2)
    answers = await together(ledger, [hold], [hold._replace(billed_micros=2 * FARE), other])
    assert answers == [{hold.hold_id: FARE}, {other.hold_id: FARE}]
    assert statements == [2]


async def test_a_call_that_can_not_be_done_fails_alone(ledger: Ledger) -> None:
    good, wrong, also_good = await some(ledger, 2), await some(ledger, 2, -1), await some(ledger, 1)
    first, error, last = await together(ledger, good, wrong, also_good)
    assert isinstance(error, asyncpg.CheckViolationError)
    assert (len(first), len(last), await settled(ledger)) == (2, 1, 3)


async def test_an_away_ledger_fails_all_of_them(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any) -> list[asyncpg.Record]:
        raise LedgerUnavailableError

    calls = [await some(ledger, 1) for _ in range(3)]
    monkeypatch.setattr(ledger, "fetch", away)
    answers = await together(ledger, *calls)
    assert all(isinstance(answer, LedgerUnavailableError) for answer in answers)


async def test_too_many_that_wait_are_an_away_ledger(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger._ends[Event.DELIVER]._calls, "_max_waiting", 1)
    answers = await together(ledger, *[await some(ledger, 1) for _ in range(2)])
    assert [isinstance(answer, LedgerUnavailableError) for answer in answers] == [False, True]


async def test_what_somebody_does_is_a_statement_of_its_own(ledger: Ledger, statements: list[int]) -> None:
    mine, others = await some(ledger, 1), await some(ledger, 1)
    with acting(Actor("user ann@example.com")):
        own = asyncio.ensure_future(ledger.end(Event.DELIVER, mine, NOW))
    await together(ledger, others)
    assert [end.hold_id for end in await own] == [mine[0].hold_id]
    assert statements == [1, 1]


async def test_a_ledger_is_closed_once_every_call_has_its_answer(ledger: Ledger) -> None:
    calls = [await some(ledger, 1) for _ in range(3)]
    waiting = [asyncio.ensure_future(ledger.end(Event.DELIVER, call, NOW)) for call in calls]
    await asyncio.sleep(0)
    await ledger.aclose()
    assert [len(task.result()) for task in waiting] == [1, 1, 1]
