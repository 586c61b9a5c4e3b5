"""Auto-renewal: one payment for a crossing, never above the cap, none without a rule."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from farebox import topups
from farebox.config import Settings
from farebox.core.renewal import BACKOFF_MS, MAX_DECLINES, PENDING_MS, Verdict
from farebox.payments import MethodUnavailableError, Payment, Standing
from farebox.payments.sandbox import CONFIRM, DECLINED, LATE, SILENT, STUCK, Kept, Sandbox
from farebox.simulator import Behaviour
from farebox.watch import follow_wakes, look, slow_pass, watch_pass
from harness import NUMBER, World, template

RENEWAL = f"/v1/numbers/{NUMBER}/auto-renewal"
AT_ONCE = ""
RULE = {
    "mode": "manual",
    "threshold": "5.00",
    "amount": "10.00",
    "monthly_cap": "31.20",
}  # of 10.40 with the fee: three


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    async with World.open(settings.model_copy(update={"sandbox_payments": True})) as opened:
        opened.whatsapp.behave(Behaviour(statuses=()))
        yield opened


def provider(world: World) -> Sandbox:
    method = world.gate.payments["sandbox"]
    assert isinstance(method, Sandbox)
    return method


async def looked(world: World) -> Verdict:
    return await look(world.gate, world.gate.directory.numbers[NUMBER])


async def set_rule(world: World, **changes: Any) -> Any:
    return await world.admin("PUT", RENEWAL, {**RULE, **changes})


async def kinds(world: World) -> list[str]:
    return [alert["kind"] for alert in (await world.admin("GET", "/v1/alerts"))["alerts"]]


async def test_a_send_that_crosses_the_threshold_renews_within_a_second(world: World) -> None:
    await world.fund("5.01")
    await set_rule(world)
    following = asyncio.create_task(follow_wakes(world.gate))
    try:
        assert provider(world).charges == 0
        await world.send(template("summer_sale"))
        for _ in range(2_000):
            if (await world.balance())["available"] == "14.985":
                break
            await asyncio.sleep(0.01)
    finally:
        following.cancel()
    assert provider(world).charges == 1
    (renewed, *_) = (await world.admin("GET", f"/v1/numbers/{NUMBER}/topups"))["topups"]
    assert (renewed["amount"], renewed["state"], renewed["method"]) == ("10.00", "succeeded", "sandbox")
    assert await world.differences() == []


@pytest.mark.parametrize("available", ["0.00", "4.99"])
async def test_off_means_off(world: World, available: str) -> None:
    if available != "0.00":
        await world.fund(available)
    assert await looked(world) is Verdict.OFF
    await set_rule(world)
    await set_rule(world, mode="off")
    assert await looked(world) is Verdict.OFF
    await world.gate.wallet._redis.flushall()
    await watch_pass(world.gate)
    assert provider(world).charges == 0


async def test_off_below_zero_too(world: World) -> None:
    await world.fund("0.01")
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"mode": "shadow"})
    for _ in range(3):
        await world.send(template("summer_sale"))
    assert (await world.balance())["available"].startswith("-")
    await watch_pass(world.gate)
    assert (await looked(world), provider(world).charges) == (Verdict.OFF, 0)


async def test_many_looks_at_once_charge_once(world: World) -> None:
    await set_rule(world)
    verdicts = await asyncio.gather(*(looked(world) for _ in range(20)))
    assert verdicts.count(Verdict.PAY) == 1
    assert provider(world).charges == 1


async def test_the_cap_holds_to_the_cent_however_many_look(world: World) -> None:
    await set_rule(world, threshold="1000.00")
    for _ in range(5):
        await asyncio.gather(*(looked(world) for _ in range(5)))
    assert provider(world).charges == 3
    shown = await world.admin("GET", RENEWAL)
    assert (shown["charged_this_month"], shown["monthly_cap"]) == ("31.20", "31.20")
    assert await kinds(world) == ["cap_reached"]
    await set_rule(world, threshold="1000.00", monthly_cap="41.59")
    assert await looked(world) is Verdict.CAP
    await set_rule(world, threshold="1000.00", monthly_cap="41.60")
    assert await looked(world) is Verdict.PAY
    world.gate.clock._ahead_ms += 31 * 86_400_000  # another month
    assert await looked(world) is Verdict.PAY


async def test_what_is_on_its_way_counts(world: World) -> None:
    provider(world).next.extend([STUCK])
    await set_rule(world)
    assert await looked(world) is Verdict.PAY
    assert [await looked(world) for _ in range(2)] == [Verdict.ENOUGH] * 2
    await set_rule(world, threshold="20.00")
    assert await looked(world) is Verdict.IN_FLIGHT
    assert provider(world).charges == 1


@pytest.mark.parametrize("conduct", [LATE, SILENT])
async def test_an_event_that_is_lost_is_found_by_asking(world: World, conduct: str) -> None:
    provider(world).next.append(conduct)
    await set_rule(world)
    await looked(world)
    assert (await world.balance())["available"] == "0.00"
    for _ in range(2):
        world.gate.clock._ahead_ms += 60_000
        await watch_pass(world.gate)
    assert (await world.balance())["available"] == "10.00"
    assert provider(world).charges == 1


async def test_a_crash_between_writing_down_and_charging_is_carried_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: Any) -> None:
        raise RuntimeError("the process is gone")

    await set_rule(world)
    monkeypatch.setattr("farebox.watch.looks._charge", dies)
    with pytest.raises(RuntimeError):
        await looked(world)
    monkeypatch.undo()
    assert provider(world).charges == 0
    world.gate.clock._ahead_ms += 60_000
    await watch_pass(world.gate)
    assert provider(world).charges == 1
    assert (await world.balance())["available"] == "10.00"


async def test_after_declines_it_waits_longer_each_time_and_then_stops_and_says_so(world: World) -> None:
    provider(world).next.extend([DECLINED] * 10)
    await set_rule(world)
    for declines in range(1, MAX_DECLINES + 1):
        assert await looked(world) is Verdict.PAY
        again = [await looked(world) for _ in range(3)]
        assert provider(world).charges == declines
        if declines < MAX_DECLINES:
            assert again == [Verdict.WAITING] * 3
            shown = await world.admin("GET", RENEWAL)
            assert (shown["declines"], shown["stopped"], shown["in_effect"]) == (declines, False, True)
            world.gate.clock._ahead_ms += BACKOFF_MS[declines - 1] + 1_000
    world.gate.clock._ahead_ms += 365 * 86_400_000
    assert await looked(world) is Verdict.STOPPED
    shown = await world.admin("GET", RENEWAL)
    assert (shown["stopped"], shown["in_effect"], shown["next_try_at"]) == (True, False, None)
    assert sorted(await kinds(world)) == ["renewal_declined"] * MAX_DECLINES + ["renewal_stopped"]
    provider(world).next.clear()
    await set_rule(world)  # the owner sets it again
    assert await looked(world) is Verdict.PAY
    assert (await world.balance())["available"] == "10.00"


async def test_a_payment_that_nobody_knows_the_fate_of_counts_towards_the_cap(world: World) -> None:
    provider(world).next.append(SILENT)
    await set_rule(world, monthly_cap="10.40")
    await looked(world)
    await world.gate.ledger._pool.execute(
        "UPDATE topup SET state = 'failed', reason = 'not reached', changed_at = now() WHERE why = 'auto-renewal'"
    )
    world.gate.clock._ahead_ms += BACKOFF_MS[0] * 2
    assert await looked(world) is Verdict.CAP
    assert provider(world).charges == 1


async def test_a_payment_that_was_declined_and_is_paid_late_stays_under_the_cap(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its provider does not say that it is closed, so the cap is kept free for it until it does."""

    async def away(*_: Any) -> None:
        raise MethodUnavailableError("it does not answer")

    play = provider(world)
    play.next.extend([DECLINED, AT_ONCE])
    make = play._make
    monkeypatch.setattr(play, "_make", lambda payment: _still_open(make(payment)))
    monkeypatch.setattr(play, "cancel", away)
    await set_rule(world, monthly_cap="20.79")
    assert await looked(world) is Verdict.PAY
    (declined,) = (await world.admin("GET", f"/v1/numbers/{NUMBER}/topups"))["topups"]
    assert declined["state"] == "failed"
    world.gate.clock._ahead_ms += BACKOFF_MS[0] + 1_000
    assert await looked(world) is Verdict.CAP
    assert await topups.look_at_all(world.gate) == 0  # asks again to close it, in vain
    monkeypatch.undo()
    play.confirm(UUID(declined["topup_id"]))
    world.gate.clock._ahead_ms += 60_000
    assert await topups.look_at_all(world.gate) == 1
    shown = await world.admin("GET", RENEWAL)
    assert (shown["charged_this_month"], (await world.balance())["available"]) == ("10.40", "10.00")


def _still_open(kept: Kept) -> Kept:
    kept.standing = replace(kept.standing, closed=False)
    return kept


async def test_a_decline_that_is_closed_later_frees_the_cap(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    play = provider(world)
    play.next.append(DECLINED)
    make, cancel = play._make, play.cancel
    monkeypatch.setattr(play, "_make", lambda payment: _still_open(make(payment)))
    await set_rule(world, monthly_cap="10.40")
    await looked(world)
    world.gate.clock._ahead_ms += BACKOFF_MS[0] + 1_000
    assert await looked(world) is Verdict.CAP

    async def closes(payment: Payment) -> Standing:
        return replace(await cancel(payment), closed=True)

    monkeypatch.setattr(play, "cancel", closes)
    await topups.look_at_all(world.gate)
    assert await looked(world) is Verdict.PAY


async def test_a_bank_transfer_holds_a_payment_back_for_three_days(world: World) -> None:
    await world.admin("POST", f"/v1/numbers/{NUMBER}/topups", {"amount": "50.00", "awaited": True}, expect=201)
    await set_rule(world)
    assert await looked(world) is Verdict.ENOUGH
    world.gate.clock._ahead_ms += PENDING_MS - 60_000
    assert await looked(world) is Verdict.ENOUGH
    world.gate.clock._ahead_ms += 120_000
    assert await looked(world) is Verdict.PAY
    assert (await world.balance())["available"] == "10.00"


async def test_off_gives_up_a_payment_that_waits_for_its_payer(world: World) -> None:
    provider(world).next.append(CONFIRM)
    await set_rule(world)
    await looked(world)
    shown = await set_rule(world, mode="off")
    assert (shown["in_flight"], shown["mode"]) == (False, "off")
    (topup,) = (await world.admin("GET", f"/v1/numbers/{NUMBER}/topups"))["topups"]
    assert topup["state"] == "cancelled"


async def test_smart_charges_nothing_before_it_is_accepted(world: World) -> None:
    await world.admin("PUT", RENEWAL, {"mode": "smart", "monthly_cap": "500.00"}, expect=422)
    await spent(world, 28_000_000, days=7)  # 4.00 a day
    await spent(world, 42_000_000, days=21, before=7)  # 2.00 a day
    proposed = await world.admin("PUT", RENEWAL, {"mode": "smart", "monthly_cap": "500.00"})
    proposal = proposed["proposal"]
    assert (proposed["in_effect"], proposed["threshold"]) == (False, None)
    assert (proposal["trend_percent"], proposal["expected_per_day"]) == (200, "8.00")
    assert (proposal["threshold"], proposal["amount"]) == ("24.00", "112.00")
    assert await looked(world) is Verdict.OFF
    body = {"mode": "smart", "monthly_cap": "500.00", "accept": "another"}
    await world.admin("PUT", RENEWAL, body, expect=409)
    accepted = await world.admin("PUT", RENEWAL, {**body, "accept": proposal["proposal_id"]})
    assert (accepted["in_effect"], accepted["threshold"], accepted["charge"]) == (True, "24.00", "116.48")
    assert (await looked(world), provider(world).charges) == (Verdict.PAY, 1)
    await slow_pass(world.gate)
    assert (accepted["moved"], await kinds(world)) == (None, [])
    await spent(world, 5_600_000, days=7)  # a week that was a fifth of it
    for _ in range(2):
        await slow_pass(world.gate)
    assert await kinds(world) == ["renewal_moved"]
    shown = await world.admin("GET", RENEWAL)
    assert (shown["amount"], shown["proposal"], shown["moved"]["amount"]) == ("112.00", proposal, "12.00")
    taken = await world.admin("PUT", RENEWAL, {**body, "accept": shown["moved"]["proposal_id"]})
    assert (taken["amount"], taken["proposal"], taken["moved"]) == ("12.00", shown["moved"], None)


async def spent(world: World, micros: int, *, days: int, before: int = 0) -> None:
    """Write spend into the roll-up, as if it had been charged evenly."""
    await world.gate.ledger._pool.execute(
        "INSERT INTO usage (number_id, day, category, market, class, messages, billed_micros) "
        "SELECT $1, (now() AT TIME ZONE 'UTC')::date - d, 'marketing', 'Germany', 'paid', 1, $2 "
        "FROM generate_series($3::int + 1, $3::int + $4::int) AS d "
        "ON CONFLICT (number_id, day, category, market, class) "
        "DO UPDATE SET billed_micros = excluded.billed_micros",
        NUMBER, micros // days, before, days,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"mode": "manual", "threshold": "5.00", "amount": "10.00"}, "monthly_cap: must be given"),
        ({"mode": "manual", "monthly_cap": "50.00"}, "threshold and amount: both must be given"),
        ({**RULE, "mode": "smart"}, "smart proposes them"),
        ({**RULE, "monthly_cap": "10.39"}, "costs 10.40 USD with its fee"),
        ({**RULE, "method": "manual"}, "manual is no payment method that charges by itself; name sandbox, or null"),
        ({**RULE, "amount": "10.001"}, "must be a multiple of 0.01 USD"),
    ],
)
async def test_a_rule_that_could_not_be_kept_is_refused(world: World, body: dict[str, Any], says: str) -> None:
    refused = await world.admin("PUT", RENEWAL, body, expect=422)
    assert says in refused["detail"]
