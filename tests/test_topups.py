"""Top-ups through payment methods: exactly one payment, exactly one credit, whatever crashes, repeats or is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest

import past
from farebox import topups
from farebox.config import Settings
from farebox.core.topup import State, Topup
from farebox.directory import Number
from farebox.gate import Gate, open_gate
from farebox.payments.sandbox import CONFIRM, DECLINED, LATE, SILENT, Sandbox
from farebox.reconcile import compare
from farebox.wallet import Wallet, WalletUnavailableError

TEN = 10_000_000


@pytest.fixture
async def gate(settings: Settings) -> AsyncIterator[Gate]:
    async with open_gate(settings.model_copy(update={"sandbox_payments": True})) as opened:
        await past.add_number(opened)
        yield opened


def number(gate: Gate) -> Number:
    return gate.directory.numbers["1"]


def provider(gate: Gate) -> Sandbox:
    method = gate.payments["sandbox"]
    assert isinstance(method, Sandbox)
    return method


async def begun(gate: Gate, key: str = "k", amount_micros: int = TEN, method: str = "sandbox") -> Topup:
    topup = await topups.begin(gate, number(gate), amount_micros=amount_micros, method=method, key=key)
    assert isinstance(topup, Topup)
    return topup


async def available(gate: Gate) -> int:
    """What both stores say, which must be the same."""
    assert [text async for row in compare(gate.ledger, gate.wallet) for text in row.differences] == []
    row = await gate.ledger.fetch_one("ledger_money", ["1"])
    assert row is not None
    return int(row["balance_micros"])


async def test_a_payment_that_succeeds_at_once(gate: Gate) -> None:
    topup = await begun(gate)
    assert (topup.state, topup.fee_micros, topup.why) == (State.SUCCEEDED, 400_000, "one-time")
    assert (await available(gate), provider(gate).charges) == (TEN, 1)
    assert await begun(gate) == topup  # the key is the same crossing
    assert (await available(gate), provider(gate).charges) == (TEN, 1)


async def test_workers_at_once_make_one_payment_and_one_credit(gate: Gate) -> None:
    found = await asyncio.gather(*(begun(gate) for _ in range(8)))
    assert len({topup.topup_id for topup in found}) == 1
    assert (await available(gate), provider(gate).charges) == (TEN, 1)


async def test_a_decline_says_why_and_moves_nothing(gate: Gate) -> None:
    provider(gate).next.append(DECLINED)
    topup = await begun(gate)
    assert (topup.state, topup.reason) == (State.FAILED, "The card was declined: insufficient funds.")
    assert await available(gate) == 0


async def test_pending_is_not_spendable_until_somebody_looks(gate: Gate) -> None:
    provider(gate).next.extend([LATE, SILENT])
    first, second = await begun(gate, "late"), await begun(gate, "silent")
    assert (first.state, second.state, await available(gate)) == (State.PENDING, State.PENDING, 0)
    assert (await topups.look(gate, number(gate), first)).state is State.SUCCEEDED
    assert (await begun(gate, "silent")).state is State.SUCCEEDED
    assert (await available(gate), provider(gate).charges) == (2 * TEN, 2)


async def test_a_payment_that_needs_its_payer_has_a_link(gate: Gate) -> None:
    provider(gate).next.append(CONFIRM)
    topup = await begun(gate)
    assert topup.state is State.PENDING
    assert topup.action_url is not None
    provider(gate).confirm(topup.topup_id)
    topup = await topups.look(gate, number(gate), topup)
    assert (topup.state, topup.action_url, await available(gate)) == (State.SUCCEEDED, None, TEN)


async def test_a_bank_transfer_waits_for_an_admin(gate: Gate) -> None:
    topup = await begun(gate, method="manual")
    assert (topup.state, topup.fee_micros) == (State.PENDING, 0)
    assert (await topups.look(gate, number(gate), topup)).state is State.PENDING
    assert [await gate.funds.confirm(number(gate), topup.topup_id) for _ in range(2)] == [True, False]
    assert await available(gate) == TEN


async def test_what_can_not_be_topped_up(gate: Gate) -> None:
    for method, amount_micros, said in (
        ("stripe", TEN, "method: stripe is not switched on; take manual or sandbox, or set it up in the settings."),
        ("sandbox", 999_999, "amount: must be 1.00 USD or more."),
        ("sandbox", 10_000_010_000, "amount: must be 10000.00 USD or less; pay in several top-ups."),
        ("sandbox", 1_000_001, "amount: must be a multiple of 0.01 USD, the smallest sum that can be charged."),
    ):
        refused = await topups.begin(gate, number(gate), amount_micros=amount_micros, method=method, key="k")
        assert refused == topups.Refused(said)
    assert await available(gate) == 0


async def test_a_crash_between_ledger_and_wallet(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    await gate.funds.credit(number(gate), topup_id=uuid4(), amount_micros=1, reference="r", method="manual")

    async def dead(*_: Any) -> None:
        raise WalletUnavailableError("down")

    with monkeypatch.context() as patch:
        patch.setattr(Wallet, "credit", dead)
        assert (await begun(gate)).state is State.SUCCEEDED  # it is booked
    await gate.rebuild.settled()
    assert await available(gate) == TEN + 1


async def test_a_crash_at_every_step(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut after each statement of the ledger and each call of the provider; whoever comes next goes on."""
    for cut in range(1, 8):
        calls = 0

        def counted(function: Any, at: int = cut) -> Any:
            async def call(*arguments: Any, **named: Any) -> Any:
                nonlocal calls
                answer = await function(*arguments, **named)
                calls += 1
                if calls == at:
                    raise ConnectionError("cut")
                return answer

            return call

        with monkeypatch.context() as patch:
            for thing, name in ((gate.ledger, "fetch"), (provider(gate), "charge"), (gate.wallet, "credit")):
                patch.setattr(thing, name, counted(getattr(thing, name)))
            with suppress(ConnectionError):
                await begun(gate, f"cut {cut}")
        assert (await begun(gate, f"cut {cut}")).state is State.SUCCEEDED
        if (position := await gate.wallet.position("1")) is not None and position.available_micros < cut * TEN:
            await gate.rebuild(number(gate), stale_epoch=position.epoch)  # as the sweep does
        assert (await available(gate), provider(gate).charges) == (cut * TEN, cut)
