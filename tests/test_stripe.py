"""Cards by Stripe, against localstripe as a real process: saved, charged, declined, asked, refunded, disputed."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

import past
from farebox import cards, returns, topups
from farebox.config import Settings
from farebox.core.charge import Terms, charge
from farebox.core.renewal import CONFIRM_MS, Verdict
from farebox.core.topup import State, Topup, topup_of
from farebox.directory import Number
from farebox.gate import Gate, open_gate
from farebox.moves import Moved
from farebox.payments import CardError, EventError
from farebox.payments.stripe_cards import micros_of, minor_units, step_micros
from farebox.reconcile import compare
from farebox.watch import carry_on, look
from stripe_front import ASKS, DECLINED, GOOD, SECRET_KEY, WEBHOOK_SECRET, Front, signed, stripe_in_front

TEN = 10_000_000


@pytest.fixture(scope="module")
async def front() -> AsyncIterator[Front]:
    async with stripe_in_front() as opened:
        yield opened


@pytest.fixture
async def gate(settings: Settings, front: Front) -> AsyncIterator[Gate]:
    front.charges = 0
    front.kept.clear()
    changed = {
        "stripe_api_key": SECRET_KEY,
        "stripe_webhook_secret": WEBHOOK_SECRET,
        "stripe_url": front.url,
        "stripe_return_url": "https://shop.example/billing",
    }
    async with open_gate(Settings(**{**settings.model_dump(), **changed})) as opened:
        await past.add_number(opened)
        yield opened


def number(gate: Gate) -> Number:
    return gate.directory.numbers["1"]


async def save(gate: Gate, front: Front, card: str = GOOD) -> None:
    way, known = gate.payments["stripe"], await gate.ledger.fetch_one("card", "a", "stripe")
    saved = await way.save_card("a", "a@a.example", await front.card(card), known and known["customer"])
    fields = (saved.customer, saved.card, saved.brand, saved.last4, saved.expires)
    assert (saved.brand, saved.last4, str(saved.expires)) == ("visa", card[-4:], "2032-02-29")
    await gate.ledger.fetch("put_card", "a", "stripe", *fields, gate.clock.now_ms())


async def status_of(front: Front, topup: Topup) -> str:
    """How a payment stands at Stripe."""
    status, answer = await front.ask("GET", f"/v1/payment_intents/{topup.provider_id}")
    assert status == 200
    return str(json.loads(answer)["status"])


async def begun(gate: Gate, key: str = "k", why: str = returns.AUTO_RENEWAL) -> Topup:
    topup = await topups.begin(gate, number(gate), amount_micros=TEN, method="stripe", key=key, why=why)
    assert isinstance(topup, Topup)
    return topup


async def balance(gate: Gate) -> int:
    assert [text async for row in compare(gate.ledger, gate.wallet) for text in row.differences] == []
    row = await gate.ledger.fetch_one("ledger_money", ["1"])
    assert row is not None
    return int(row["balance_micros"])


async def test_a_saved_card_is_charged_off_session_once(gate: Gate, front: Front) -> None:
    refused = await topups.begin(gate, number(gate), amount_micros=TEN, method="stripe", key="k")
    assert refused == topups.Refused(
        "method: account a has no saved card; save one with PUT /v1/accounts/a/cards/stripe."
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


async def account(gate: Gate) -> Any:
    return await gate.ledger.fetch_one("account", "a")


async def known_card(gate: Gate) -> tuple[str, str] | None:
    row = await gate.ledger.fetch_one("card", "a", "stripe")
    return None if row is None else (row["card"], row["last4"])


@pytest.mark.parametrize("told", [True, False])
async def test_a_card_is_entered_at_stripes_page(gate: Gate, front: Front, told: bool) -> None:
    """Told by the event or, where that is lost, found by the pass. The card before is detached."""
    await save(gate, front, ASKS)
    before = await known_card(gate)
    assert before is not None
    link = await cards.make_link(gate, await account(gate), "stripe")
    assert link.url.startswith(f"{front.url}/pay/cs_test_")
    event = {"object": "checkout.session", "id": link.link_id, "metadata": {"account_id": "a"}}
    named, topup_id = gate.payments["stripe"].read_event(*signed(event))
    assert (await cards.hear(gate, "stripe", named), await known_card(gate), topup_id) == (True, before, None)
    await front.enter_card(link.link_id, GOOD)
    if told:
        assert [await cards.hear(gate, "stripe", named) for _ in range(2)] == [True, False]
    else:
        gate.clock._ahead_ms += 60_000
        await topups.look_at_all(gate)
    after = await known_card(gate)
    assert after is not None
    assert after[1] == "4242"
    assert [await attached(front, card) for card, _ in (before, after)] == [False, True]
    assert (await begun(gate)).state is State.SUCCEEDED
    await save(gate, front, ASKS)  # a page that has ended changes nothing any more
    await topups.look_at_all(gate)
    assert ((await known_card(gate)) or ("", ""))[1] == "3155"


async def attached(front: Front, card: str) -> bool:
    _, answer = await front.ask("GET", f"/v1/payment_methods/{card}")
    return json.loads(answer)["customer"] is not None


async def test_a_page_that_expires_saves_nothing(gate: Gate, front: Front) -> None:
    link = await cards.make_link(gate, await account(gate), "stripe")
    front.pages[link.link_id]["status"] = "expired"
    assert await cards.hear(gate, "stripe", link.link_id)
    assert (await cards.hear(gate, "stripe", link.link_id), await known_card(gate)) == (False, None)


async def test_a_card_that_is_forgotten_is_detached(gate: Gate, front: Front) -> None:
    await save(gate, front)
    row = await gate.ledger.fetch_one("card", "a", "stripe")
    assert row is not None
    for _ in range(2):  # the second time Stripe has none to detach
        await cards.forget(gate, row)
    assert (await known_card(gate), await attached(front, row["card"])) == (None, False)


async def set_rule(gate: Gate) -> None:
    rule = ("manual", "stripe", 5_000_000, TEN, 31_200_000, None)
    await gate.ledger.fetch("put_renewal_rule", "1", *rule, gate.clock.now_ms())


async def renewed(gate: Gate) -> tuple[Verdict, Topup]:
    verdict = await look(gate, number(gate))
    return verdict, topup_of((await gate.ledger.fetch("topups", "1", 1))[0])


async def told(gate: Gate) -> list[tuple[str, str]]:
    rows = await gate.ledger.fetch("alerts", "1", None, 2**62, 10)
    return [(row["kind"], row["sentence"]) for row in rows]


async def test_auto_renewal_charges_the_card_off_session(gate: Gate, front: Front) -> None:
    await save(gate, front)
    await set_rule(gate)
    verdict, topup = await renewed(gate)
    assert (verdict, topup.state, topup.why) == (Verdict.PAY, State.SUCCEEDED, "auto-renewal")
    assert (await renewed(gate), await balance(gate), front.charges) == ((Verdict.ENOUGH, topup), TEN, 1)


async def test_auto_renewal_that_is_declined_waits_and_says_so(gate: Gate, front: Front) -> None:
    await save(gate, front, DECLINED)
    await set_rule(gate)
    verdict, topup = await renewed(gate)
    assert (verdict, topup.state, await status_of(front, topup)) == (Verdict.PAY, State.FAILED, "canceled")
    assert ((await renewed(gate))[0], front.charges, await balance(gate)) == (Verdict.WAITING, 1, 0)
    ((kind, sentence),) = await told(gate)
    assert kind == "renewal_declined"
    assert "was declined: The card was declined: Your card was declined. It is tried again after" in sentence
    facts = await gate.ledger.fetch_one("watched", "1", gate.clock.now_ms(), 0)
    assert facts is not None
    assert facts["month_micros"] == 0  # it is closed, so it can not count towards the cap any more


async def test_auto_renewal_whose_bank_asks_waits_for_the_payer_and_tells_the_link(gate: Gate, front: Front) -> None:
    await save(gate, front, ASKS)
    await set_rule(gate)
    front.faults.extend(["lost", "lost"])  # the first answer, too
    verdict, topup = await renewed(gate)
    assert (verdict, topup.state, topup.action_url) == (Verdict.PAY, State.PENDING, None)
    gate.clock._ahead_ms += 60_000
    await carry_on(gate, number(gate))
    topup = await topups.read(gate, topup.topup_id)
    assert (topup.state, (await renewed(gate))[0], front.charges) == (State.PENDING, Verdict.ENOUGH, 1)
    ((kind, sentence),) = await told(gate)
    assert kind == "renewal_confirm"
    assert sentence.startswith("The bank wants the auto-renewal of 10.40 USD to be confirmed by its customer; nothing ")
    assert sentence.endswith(f": {topup.action_url}")
    await front.authenticate(topup.action_url, success=True)
    gate.clock._ahead_ms += 60_000
    await carry_on(gate, number(gate))
    assert ((await topups.read(gate, topup.topup_id)).state, await balance(gate)) == (State.SUCCEEDED, TEN)
    assert len(await told(gate)) == 1


@pytest.mark.parametrize("refused", [True, False])
async def test_auto_renewal_that_nobody_confirms_counts_as_declined(gate: Gate, front: Front, refused: bool) -> None:
    await save(gate, front, ASKS)
    await set_rule(gate)
    _, topup = await renewed(gate)
    if refused:
        await front.authenticate(topup.action_url, success=False)
    else:
        gate.clock._ahead_ms += CONFIRM_MS - 60_000
        await carry_on(gate, number(gate))
        assert (await topups.read(gate, topup.topup_id)).state is State.PENDING
    gate.clock._ahead_ms += CONFIRM_MS // 5
    await carry_on(gate, number(gate))
    topup = await topups.read(gate, topup.topup_id)
    assert (topup.state, await status_of(front, topup)) == (State.FAILED, "canceled")
    assert topup.reason == (
        "The card was declined: The provided PaymentMethod has failed authentication."
        if refused
        else "Nobody confirmed it at the bank for 24 hours."
    )
    assert sorted(kind for kind, _ in await told(gate)) == ["renewal_confirm", "renewal_declined"]
    assert (await look(gate, number(gate)), await balance(gate)) == (Verdict.WAITING, 0)


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
