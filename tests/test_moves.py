"""Refunds, transfers, adjustments, disputes: once, never more than is there, and nothing is lost between the stores."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

import past
from farebox import returns, topups
from farebox.books import read_books
from farebox.config import Settings
from farebox.core.invariants import violations
from farebox.core.topup import State, Topup
from farebox.directory import Number
from farebox.gate import Gate, open_gate
from farebox.moves import Move, Moved, Short, Unfit
from farebox.payments import MethodUnavailableError, RefundError
from farebox.payments.sandbox import Sandbox

TEN = 10_000_000


@pytest.fixture
async def gate(settings: Settings) -> AsyncIterator[Gate]:
    async with open_gate(settings.model_copy(update={"sandbox_payments": True})) as opened:
        await past.add_number(opened)
        await past.add_number(opened, "2")
        yield opened


def number(gate: Gate, number_id: str = "1") -> Number:
    return gate.directory.numbers[number_id]


def provider(gate: Gate) -> Sandbox:
    method = gate.payments["sandbox"]
    assert isinstance(method, Sandbox)
    return method


async def paid(gate: Gate, key: str = "paid") -> Topup:
    topup = await topups.begin(gate, number(gate), amount_micros=TEN, method="sandbox", key=key)
    assert isinstance(topup, Topup)
    return topup


def moving(kind: str, micros: int, reference: str = "r", **more: Any) -> Move:
    return Move(kind=kind, micros=micros, reason="asked for", reference=reference, **more)


async def balances(gate: Gate) -> tuple[int, int]:
    """Both numbers', which both stores agree on and every invariant allows."""
    books = await read_books(gate.ledger, gate.wallet, ["1", "2"])
    assert violations(books) == []
    assert sum(of.transfers_micros for of in books.numbers) == 0
    first, second = books.numbers
    return first.balance_micros, second.balance_micros


async def test_a_transfer_leaves_one_number_and_arrives_at_the_other_once(gate: Gate) -> None:
    await paid(gate)
    moves, move = gate.funds.moves, moving("transfer", 4_000_000)
    found = await asyncio.gather(*(moves.out_of(number(gate), move, into=number(gate, "2")) for _ in range(6)))
    assert [moved.new for moved in found if isinstance(moved, Moved)].count(True) == 1
    assert len({moved.movement_id for moved in found if isinstance(moved, Moved)}) == 1
    assert await balances(gate) == (6_000_000, 4_000_000)


async def test_no_more_leaves_than_is_available(gate: Gate) -> None:
    await paid(gate)
    moves = gate.funds.moves
    found = await asyncio.gather(
        *(moves.out_of(number(gate), moving("adjustment", 3_000_000, f"r{n}")) for n in range(6))
    )
    assert sum(isinstance(moved, Moved) for moved in found) == 3
    assert sum(isinstance(moved, Short) for moved in found) == 3
    assert await balances(gate) == (1_000_000, 0)
    forced = await moves.out_of(number(gate), moving("adjustment", 3_000_000, "forced", below_zero=True))
    assert isinstance(forced, Moved)
    assert await balances(gate) == (-2_000_000, 0)


async def test_a_wallet_that_is_lost_meanwhile_takes_nothing_with_it(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await paid(gate)
    debit, cuts = gate.wallet.debit, 2

    async def taken_and_rebuilt(*arguments: Any) -> Any:
        nonlocal cuts
        taken = await debit(*arguments)
        if cuts:
            cuts -= 1
            await gate.rebuild(number(gate), stale_epoch=taken and taken.epoch)
        return taken

    monkeypatch.setattr(gate.wallet, "debit", taken_and_rebuilt)
    moved = await gate.funds.moves.out_of(number(gate), moving("transfer", TEN), into=number(gate, "2"))
    assert isinstance(moved, Moved)
    assert await balances(gate) == (0, TEN)


async def test_a_wallet_from_before_a_restore_is_rebuilt_before_anything_leaves(gate: Gate) -> None:
    await paid(gate)
    await gate.funds.moves.out_of(number(gate), moving("adjustment", 1, "before"))
    await gate.ledger._pool.execute("UPDATE number SET epoch = nextval('wallet_epoch')")  # as claim_history() does
    moved = await gate.funds.moves.out_of(number(gate), moving("transfer", TEN - 1), into=number(gate, "2"))
    assert isinstance(moved, Moved)
    assert await balances(gate) == (0, TEN - 1)


async def test_a_refund_goes_back_to_its_payment_once(gate: Gate) -> None:
    topup = await paid(gate)
    for reference in ("a", "a", "b"):
        moved = await returns.refund(
            gate, number(gate), topup, micros=4_000_000, reason="asked for", reference=reference
        )
        assert isinstance(moved, Moved)
    assert provider(gate).payments[topup.topup_id].standing.refunded_micros == 8_000_000
    much = await returns.refund(gate, number(gate), topup, micros=2_000_001, reason="x", reference="c")
    assert isinstance(much, Short)
    await paid(gate, "more")
    much = await returns.refund(gate, number(gate), topup, micros=2_000_001, reason="x", reference="c")
    assert much == Unfit()  # there is more, but not of this payment
    assert await balances(gate) == (2_000_000 + TEN, 0)
    await returns.refund(gate, number(gate), topup, micros=2_000_000, reason="x", reference="d")
    found = await topups.read(gate, topup.topup_id)
    assert (found.state, found.refunded_micros) == (State.REFUNDED, TEN)
    assert await topups.look(gate, number(gate), found) == found
    assert await balances(gate) == (TEN, 0)


async def test_refunds_at_once_do_not_give_more_back_than_was_paid(gate: Gate) -> None:
    topup = await paid(gate)
    await paid(gate, "more")
    await asyncio.gather(
        *(returns.refund(gate, number(gate), topup, micros=3_000_000, reason="x", reference=f"r{n}") for n in range(6))
    )
    assert (await topups.read(gate, topup.topup_id)).refunded_micros == 9_000_000
    assert provider(gate).payments[topup.topup_id].standing.refunded_micros == 9_000_000
    assert await balances(gate) == (2 * TEN - 9_000_000, 0)


async def test_a_refund_whose_provider_is_away_is_sent_later(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    topup = await paid(gate)

    async def away(*_: Any) -> None:
        raise MethodUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(Sandbox, "refund", away)
        await returns.refund(gate, number(gate), topup, micros=TEN, reason="x", reference="r")
    assert await balances(gate) == (0, 0)
    for _ in range(2):
        await topups.look_at_all(gate)
    assert provider(gate).payments[topup.topup_id].standing.refunded_micros == TEN


async def test_a_refund_that_the_provider_refuses_comes_back(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    topup = await paid(gate)

    async def refuse(*_: Any) -> None:
        raise RefundError("the card is closed")

    monkeypatch.setattr(Sandbox, "refund", refuse)
    await returns.refund(gate, number(gate), topup, micros=TEN, reason="x", reference="r")
    for _ in range(2):
        await topups.look_at_all(gate)
    found = await topups.read(gate, topup.topup_id)
    assert (found.state, found.refunded_micros, await balances(gate)) == (State.SUCCEEDED, 0, (TEN, 0))


async def test_what_a_provider_gives_back_by_itself_is_taken_once(gate: Gate) -> None:
    topup = await paid(gate)
    await provider(gate).refund(await returns.payment_of(gate, number(gate), topup), uuid4(), 6_000_000)
    for _ in range(3):
        topup = await topups.look(gate, number(gate), topup)
    assert (topup.state, topup.refunded_micros, await balances(gate)) == (State.SUCCEEDED, 6_000_000, (4_000_000, 0))
    await provider(gate).refund(await returns.payment_of(gate, number(gate), topup), uuid4(), 4_400_000)  # with the fee
    topup = await topups.look(gate, number(gate), topup)
    assert (topup.state, topup.refunded_micros, await balances(gate)) == (State.REFUNDED, TEN, (0, 0))


async def test_a_dispute_takes_the_money_and_winning_it_brings_it_back(gate: Gate) -> None:
    topup = await paid(gate)
    await gate.funds.moves.out_of(number(gate), moving("transfer", TEN), into=number(gate, "2"))
    provider(gate).dispute(topup.topup_id, "fraudulent")
    for _ in range(2):
        topup = await topups.look(gate, number(gate), topup)
    assert (topup.state, topup.reason) == (State.DISPUTED, "the payer's bank took it back: fraudulent")
    assert await balances(gate) == (-TEN, TEN)  # it was spent already
    provider(gate).dispute(topup.topup_id, None)
    for _ in range(2):
        topup = await topups.look(gate, number(gate), topup)
    assert (topup.state, await balances(gate)) == (State.SUCCEEDED, (0, TEN))


async def test_a_dispute_whose_event_is_lost_is_found_within_a_day(gate: Gate) -> None:
    topup = await paid(gate)
    provider(gate).dispute(topup.topup_id, "fraudulent")
    assert await topups.look_at_all(gate) == 0
    await gate.ledger.fetch("set_clock", topups.WATCH_MS + 1_000)
    await gate.clock.sync(gate.ledger)
    assert [await topups.look_at_all(gate) for _ in range(2)] == [1, 0]
    assert (await topups.read(gate, topup.topup_id)).state is State.DISPUTED
    assert await balances(gate) == (0, 0)


async def test_a_crash_at_every_step_of_a_transfer(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    for cut in range(1, 7):
        await paid(gate, f"paid {cut}")
        before, calls = await balances(gate), 0

        def counted(function: Any, at: int = cut) -> Any:
            async def call(*arguments: Any, **named: Any) -> Any:
                nonlocal calls
                answer = await function(*arguments, **named)
                calls += 1
                if calls == at:
                    raise ConnectionError("cut")
                return answer

            return call

        move = moving("transfer", TEN, f"r{cut}")
        with monkeypatch.context() as patch, suppress(ConnectionError):
            for thing, name in ((gate.ledger, "fetch"), (gate.wallet, "debit"), (gate.wallet, "credit")):
                patch.setattr(thing, name, counted(getattr(thing, name)))
            await gate.funds.moves.out_of(number(gate), move, into=number(gate, "2"))
        for number_id in ("1", "2"):  # as the sweep does where they differ
            position = await gate.wallet.position(number_id)
            await gate.rebuild(number(gate, number_id), stale_epoch=position and position.epoch)
        moved = await gate.funds.moves.out_of(number(gate), move, into=number(gate, "2"))
        assert isinstance(moved, Moved)
        assert await balances(gate) == (before[0] - TEN, before[1] + TEN)


async def test_the_ledger_itself_refuses_what_no_movement_says(gate: Gate) -> None:
    await paid(gate)
    moved = await gate.funds.moves.out_of(number(gate), moving("refund", 1_000_000))
    assert isinstance(moved, Moved)
    book = (
        "INSERT INTO entry (number_id, kind, from_book, into_book, amount_micros, movement_id, reason, at) "
        "SELECT $1, $2, $3, $4, $5, movement_id, 'x', at + $6::int * interval '1 ms' FROM movement"
    )
    pool = gate.ledger._pool
    with pytest.raises(asyncpg.UniqueViolationError):
        await pool.execute(book, "1", "refund", "number", "outside", 1_000_000, 0)
    for wrong in (
        ("1", "refund", "number", "outside", 1_000_000, 1),
        ("2", "refund", "number", "outside", 1_000_000, 0),
        ("1", "adjustment", "number", "outside", 1_000_000, 0),
        ("1", "transfer", "number", "outside", 1_000_000, 0),
    ):
        with pytest.raises((asyncpg.CheckViolationError, asyncpg.UniqueViolationError)):
            await pool.execute(book, *wrong)
    for change in ("UPDATE movement SET amount_micros = 5", "DELETE FROM movement", "TRUNCATE movement CASCADE"):
        with pytest.raises(asyncpg.RaiseError):
            await pool.execute(change)
    assert await balances(gate) == (9_000_000, 0)
