"""Cards by Stripe, against localstripe as a real process: saved, charged, declined, asked, refunded, disputed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from farebox import returns, topups
from farebox.config import Settings
from farebox.core.charge import Terms, charge
from farebox.core.topup import State
from farebox.gate import Gate
from farebox.moves import Moved
from farebox.payments import CardError, EventError
from farebox.payments.stripe_cards import micros_of, minor_units, step_micros
from stripe_front import ASKS, DECLINED, Front, signed, stripe_in_front
from stripe_shop import TEN, balance, begun, number, save, status_of, stripe_gate


@pytest.fixture(scope="module")
async def front() -> AsyncIterator[Front]:
    async with stripe_in_front() as opened:
        yield opened


@pytest.fixture
async def gate(settings: Settings, front: Front) -> AsyncIterator[Gate]:
    async with stripe_gate(settings, front) as opened:
        yield opened


async def test_a_saved_card_is_charged_off_session_once(gate: Gate, front: Front) -> None:
    refused = await topups.begin(gate, number(gate), amount_micros=TEN, method="stripe", key="k")
    assert refused == topups.Refused(
        "method: account a has no saved card; save one with POST /v1/accounts/a/cards/stripe/link."
    )
    await save(gate, front)
    found = await asyncio.gather(*(begun(gate) for _ in range(4)))
    topup = await begun(gate)
    assert (topup.state, topup.total_micros) == (State.SUCCEEDED, 10_400_000)
    assert {each.topup_id for each in found} == {topup.topup_id}
    assert (await balance(gate), front.charges) == (TEN, 1)
    status, answer = await front.ask("GET", f"/v1/payment_intents/{topup.provider_id}")
    assert (status, b'"amount": 1040,' in answer, str(topup.topup_id).encode() in answer) == (200, True, True)


async def test_a_card_that_the_bank_does_not_take(gate: Gate, front: Front) -> None:
    await save(gate, front)
    with pytest.raises(CardError, match="Stripe does not take it: "):
        await gate.payments["stripe"].save_card("a", None, "pm_unknown", None)
    await save(gate, front, DECLINED)  # attached, and declined when it is charged
    topup = await begun(gate)
    assert (topup.state, topup.reason) == (State.FAILED, "The card was declined: Your card was declined.")
    assert await status_of(front, topup) == "canceled"  # it is final: nobody can pay it late
    assert await balance(gate) == 0


async def test_an_answer_that_is_lost_charges_once(gate: Gate, front: Front) -> None:
    await save(gate, front)
    front.faults.extend(["away", "away", "lost", "lost"])  # the library asks twice
    assert (await begun(gate)).state is State.PENDING
    assert (await begun(gate)).state is State.PENDING
    assert (await begun(gate)).state is State.SUCCEEDED
    assert (await balance(gate), front.charges) == (TEN, 1)


@pytest.mark.parametrize("success", [True, False])
async def test_three_d_secure_gives_a_link(gate: Gate, front: Front, success: bool) -> None:
    await save(gate, front, ASKS)
    topup = await begun(gate, why=topups.ONE_TIME)
    assert topup.state is State.PENDING
    await front.authenticate(topup.action_url, success=success)
    topup = await topups.look(gate, number(gate), topup)
    assert (topup.state, topup.action_url) == (State.SUCCEEDED if success else State.FAILED, None)
    assert await balance(gate) == (TEN if success else 0)


async def test_events_only_make_us_look(gate: Gate, front: Front) -> None:
    """Duplicated, reordered, before the answer, of others: nothing happens twice, and nothing by their word alone."""
    way = gate.payments["stripe"]
    await save(gate, front, ASKS)
    topup = await begun(gate, why=topups.ONE_TIME)
    told = {"object": "payment_intent", "id": topup.provider_id, "status": "succeeded"}
    assert await topups.hear(gate, "stripe", *way.read_event(*signed(told)))
    assert await balance(gate) == 0  # it says so, and Stripe does not
    await front.authenticate(topup.action_url, success=True)
    by_charge = {"object": "charge", "id": "ch_1", "payment_intent": topup.provider_id}
    by_metadata = {"object": "payment_intent", "id": "pi_unknown", "metadata": {"topup_id": str(topup.topup_id)}}
    for about in (by_metadata, told, by_charge, told):
        assert await topups.hear(gate, "stripe", *way.read_event(*signed(about)))
    assert await balance(gate) == TEN
    assert not await topups.hear(gate, "stripe", *way.read_event(*signed({"object": "customer", "id": "cus_1"})))
    for body, signature in (
        signed(told, secret="another"),
        signed(told, age_s=3600),
        (signed(told)[0] + b" ", signed(told)[1]),
        (b"{}", ""),
        (b"\xff", "t=1,v1=x"),
    ):
        with pytest.raises(EventError, match="is not signed by Stripe"):
            way.read_event(body, signature)


async def test_refunds_and_cancels(gate: Gate, front: Front) -> None:
    await save(gate, front)
    topup = await begun(gate)
    front.faults.extend(["lost", "lost"])
    refund: dict[str, Any] = {"micros": 4_000_000, "reason": "asked for", "reference": "r"}
    assert isinstance(await returns.refund(gate, number(gate), topup, **refund), Moved)
    front.kept.clear()  # a day later: Stripe has forgotten the key
    for _ in range(2):
        await topups.look_at_all(gate)
    topup = await topups.look(gate, number(gate), topup)
    assert (topup.state, topup.refunded_micros, await balance(gate)) == (State.SUCCEEDED, 4_000_000, 6_000_000)
    standing = await gate.payments["stripe"].look(await returns.payment_of(gate, number(gate), topup))
    assert standing.refunded_micros == 4_000_000
    await save(gate, front, ASKS)
    waiting = await begun(gate, "waiting", topups.ONE_TIME)
    assert (await topups.cancel(gate, number(gate), waiting)).state is State.CANCELLED
    assert (await topups.cancel(gate, number(gate), topup)).state is State.SUCCEEDED


async def test_a_dispute_that_is_lost_and_one_that_is_won(gate: Gate, front: Front) -> None:
    await save(gate, front)
    topup = await begun(gate)
    assert topup.provider_id is not None
    told = {"object": "dispute", "id": "dp_1", "payment_intent": topup.provider_id}
    for state, stands, left in (("needs_response", "disputed", 0), ("lost", "disputed", 0), ("won", "succeeded", TEN)):
        front.disputes[topup.provider_id] = state
        for _ in range(2):
            await topups.hear(gate, "stripe", *gate.payments["stripe"].read_event(*signed(told)))
        assert ((await topups.read(gate, topup.topup_id)).state, await balance(gate)) == (stands, left)


CURRENCIES = ("USD", "JPY", "KWD", "ISK", "UGX", "MGA", "HUF", "CLP")


@pytest.mark.parametrize("currency", CURRENCIES)
def test_every_charge_is_whole_in_minor_units(currency: str) -> None:
    terms = Terms(percent_ppm=40_000, fixed_micros=300_000, step_micros=step_micros(currency))
    for units in (1_000_000, 7_000_000, 123_000_000, 9_999_000_000):
        price = charge(units, terms, tax_ppm=190_000, currency=currency)
        assert not hasattr(price, "sentence")
        total = price.total_micros  # type: ignore[union-attr]
        assert micros_of(minor_units(total, currency), currency) == total
        assert total % step_micros(currency) == 0
