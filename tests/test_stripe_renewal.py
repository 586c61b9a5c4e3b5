"""Cards that are entered at Stripe's page, and auto-renewal by them, against localstripe as a real process."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from farebox import cards, topups
from farebox.config import Settings
from farebox.core.renewal import CONFIRM_MS, Verdict
from farebox.core.topup import State, Topup, topup_of
from farebox.gate import Gate
from farebox.watch import carry_on, look
from stripe_front import ASKS, DECLINED, GOOD, Front, signed, stripe_in_front
from stripe_shop import TEN, balance, begun, number, save, status_of, stripe_gate


@pytest.fixture(scope="module")
async def front() -> AsyncIterator[Front]:
    async with stripe_in_front() as opened:
        yield opened


@pytest.fixture
async def gate(settings: Settings, front: Front) -> AsyncIterator[Gate]:
    async with stripe_gate(settings, front) as opened:
        yield opened


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
    known = await known_card(gate)
    assert known is not None
    entered, open_page = [await cards.make_link(gate, await account(gate), "stripe") for _ in range(2)]
    await front.enter_card(entered.link_id, GOOD)  # and nobody has told of it
    gate.clock._ahead_ms += 2_000
    assert [await cards.forget(gate, "a", "stripe") for _ in range(2)] == [True, False]
    assert (await known_card(gate), await attached(front, known[0])) == (None, False)
    await front.enter_card(open_page.link_id, GOOD)
    assert not await cards.hear(gate, "stripe", open_page.link_id)
    gate.clock._ahead_ms += 60_000
    await topups.look_at_all(gate)
    assert await known_card(gate) is None
    await gate.payments["stripe"].forget_card(known[0])  # Stripe has none to detach any more


async def set_rule(gate: Gate) -> None:
    rule = ("manual", "stripe", 5_000_000, TEN, 31_200_000, None)
    await gate.ledger.fetch("put_renewal_rule", "1", *rule, gate.clock.now_ms())


async def renewed(gate: Gate) -> tuple[Verdict, Topup]:
    verdict = await look(gate, number(gate))
    return verdict, topup_of((await gate.ledger.fetch("topups", ["1"], 1))[0])


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
    assert "was declined: Your card was declined. It is tried again after" in sentence
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
