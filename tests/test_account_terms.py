"""What a business account's own terms do to prices: authentication abroad, maximum prices, volume tiers."""

from typing import Any

import pytest

from farebox.simulator import Behaviour
from farebox.simulator.templates import Template
from harness import NUMBER, USER, WABA, World, template
from test_inbound import payload, post, status

INDIAN = "919812345678"  # India 2026-10: authentication 0.0014, authentication_international 0.0280 USD
NOW = 1795000000  # the timestamp of statuses: 2026-11-18 in UTC
REGULAR = {"billable": True, "pricing_model": "PMP", "type": "regular"}


def account_update(event: str, *, waba: str = WABA, **value: Any) -> dict[str, Any]:
    change = {"field": "account_update", "value": {"event": event, **value}}
    return {"object": "whatsapp_business_account", "entry": [{"id": waba, "changes": [change]}]}


def eligible(start_time: int, waba: str = WABA) -> dict[str, Any]:
    rates = {"start_time": start_time, "exception_countries": []}
    return account_update("AUTH_INTL_PRICE_ELIGIBILITY_UPDATE", waba=waba, auth_international_rate_eligibility=rates)


async def rates(world: World, market: str) -> dict[str, int]:
    number = world.gate.directory.numbers[NUMBER]
    card = world.gate.tariffs.at(number, world.gate.clock.now_ms()).card
    return {category: rate.micros for (of, category), rate in card.rates.items() if of == market}


async def held(world: World, message: Any, path: str = "messages") -> tuple[str, str, str]:
    """Send without a status coming back; return the wamid, the fare and the category held."""
    world.whatsapp.behave(Behaviour(statuses=()))
    answer = await world.call("POST", f"/v23.0/{NUMBER}/{path}", json=message)
    assert answer.status == 200, answer.body
    wamid = answer.json["messages"][0]["id"]
    return wamid, answer.headers["X-Farebox-Fare"], (await world.message(wamid))["category"]


async def settle(world: World, wamid: str, category: str, user: str = USER, at: int = NOW, **pricing: Any) -> Any:
    said = status(wamid, pricing={**REGULAR, "category": category, **pricing}) | {"recipient_id": user}
    await post(world, payload(statuses=[said | {"timestamp": str(at)}]))
    assert await world.differences() == []
    return await world.message(wamid)


LONG_AGO, FAR_AWAY = 1, 4_000_000_000
# the operator's word, the account's start by webhook, the business's number, recipient -> category held
ABROAD = [
    (None, None, "+1 650-555-0000", INDIAN, "authentication"),
    (True, None, "+1 650-555-0000", INDIAN, "authentication_international"),
    (None, LONG_AGO, "+1 650-555-0000", INDIAN, "authentication_international"),
    (None, FAR_AWAY, "+1 650-555-0000", INDIAN, "authentication"),
    (False, LONG_AGO, "+1 650-555-0000", INDIAN, "authentication"),
    (True, LONG_AGO, "+91 98123 00000", INDIAN, "authentication"),
    (True, LONG_AGO, "+1 650-555-0000", USER, "authentication"),
    (True, LONG_AGO, "+91 98123 00000", USER, "authentication"),  # the card has no such rate for North America
]


@pytest.mark.parametrize(("ruled", "start", "business", "user", "category"), ABROAD)
async def test_authentication_abroad(
    world: World, ruled: bool | None, start: int | None, business: str, user: str, category: str
) -> None:
    await world.fund("1.00")
    fields = {"display_phone_number": business, "auth_international": ruled}
    assert (await world.admin("PATCH", f"/v1/numbers/{NUMBER}", fields))["auth_international"] is ruled
    if start is not None:
        await post(world, eligible(start))
        await post(world, eligible(start))
    wamid, fare, reserved = await held(world, template("login_code", to=user))
    priced = await rates(world, "India" if user == INDIAN else "North America")
    assert (reserved, fare) == (category, f"{priced[category] / 1_000_000:.4f}".rstrip("0"))
    # The webhook has the last word, in either spelling.
    for written in ("authentication-international", "authentication"):
        settled = await settle(world, wamid, written, user)
    billed = priced.get("authentication_international", priced["authentication"])
    assert settled["billed"] == f"{billed / 1_000_000:.4f}".rstrip("0")


async def test_eligibility_is_read_with_the_templates(world: World) -> None:
    await world.fund("1.00")
    world.whatsapp.config.account_fields = {"auth_international_rate_eligibility": {"start_time": LONG_AGO}}
    await world.gate.templates.sync()
    assert (await held(world, template("login_code", to=INDIAN)))[2] == "authentication_international"


async def test_another_accounts_eligibility_changes_nothing(world: World) -> None:
    await world.fund("1.00")
    await post(world, eligible(LONG_AGO, waba="999"))
    assert (await held(world, template("login_code", to=INDIAN)))[2] == "authentication"


async def test_an_authentication_template_abroad_lives_ten_minutes(world: World) -> None:
    await world.fund("1.00")
    await world.admin(
        "PATCH", f"/v1/numbers/{NUMBER}", {"auth_international": True, "display_phone_number": "+1650555"}
    )
    wamid, _, _ = await held(world, template("login_code", to=INDIAN))
    await world.admin("PUT", "/v1/clock", {"advance_s": 600 + 3600 + 60})
    assert (await world.message(wamid))["state"] == "expired"


def usd(amount: Any) -> dict[str, Any]:
    return {"cost": {"amount": amount, "currency": "USD"}}


BID = {"bid_strategy": "LOWEST_COST_WITH_BID_CAP", "bid_amount": 5000}  # 0.05 USD; the card says 0.025
LOW_BID = {**BID, "bid_amount": "2000"}
# bid of the template, multiplier, what the webhook adds to its pricing -> held, billed, what set the price
BIDS: list[tuple[Any, Any, dict[str, Any], str, str, str | None]] = [
    (BID, None, usd(0.0312), "0.05", "0.0312", "cost of the webhook: 0.0312 USD"),
    (BID, 1.5, usd("0.07"), "0.075", "0.07", "cost of the webhook: 0.07 USD"),
    (BID, 0.1, usd(0.004), "0.005", "0.004", "cost of the webhook: 0.004 USD"),
    (BID, None, usd(1e-05), "0.05", "0.00001", "cost of the webhook: 1e-05 USD"),
    (BID, None, {}, "0.05", "0.025", None),  # the card's rate
    (LOW_BID, None, {}, "0.02", "0.02", None),  # never more than was bid
    (LOW_BID, None, usd(0.03), "0.02", "0.03", "cost of the webhook: 0.03 USD"),  # the bid was raised since
    (BID, None, {"cost": {"amount": 0.03, "currency": "EUR"}}, "0.05", "0.05", None),
    (BID, None, usd(-1), "0.05", "0.05", None),
    (BID, None, usd(True), "0.05", "0.025", None),
    (BID, None, usd("much"), "0.05", "0.05", None),
    (BID, None, usd(31), "0.05", "0.05", None),  # of another unit
    (BID, None, {"cost": 7}, "0.05", "0.025", None),
    (None, None, usd(0.02), "0.025", "0.02", "cost of the webhook: 0.02 USD"),
    (None, 2, {}, "0.025", "0.025", None),  # nothing to multiply
    ({"bid_amount": 0}, None, {}, "0.025", "0.025", None),
    ({"bid_amount": "x"}, None, {}, "0.025", "0.025", None),
]


@pytest.mark.parametrize(("spec", "multiplier", "pricing", "fare", "billed", "priced_by"), BIDS)
async def test_maximum_prices(
    world: World, spec: Any, multiplier: Any, pricing: dict[str, Any], fare: str, billed: str, priced_by: str | None
) -> None:
    await world.fund("1.00")
    more = {} if spec is None else {"optimization_spec": spec}
    world.whatsapp.templates.add(WABA, Template("summer_sale", "MARKETING", more=more))
    await world.gate.templates.sync()
    message = template("summer_sale")
    if multiplier is not None:
        message["bid_spec"] = {"per_message_bid_multiplier": multiplier}
    wamid, held_fare, _ = await held(world, message, "marketing_messages")
    assert held_fare == fare
    settled = await settle(world, wamid, "marketing_lite", **pricing)
    assert (settled["billed"], settled["webhook"]["priced_by"]) == (billed, priced_by)


async def test_a_cost_survives_the_wait_for_its_message(world: World) -> None:
    """A status may overtake the answer to its send; it is kept as text in the meantime."""
    await world.fund("1.00")
    said = status("wamid.early", pricing={**REGULAR, "category": "marketing_lite", **usd(0.1)})
    await post(world, payload(statuses=[said]))
    wamid, _, _ = await held(world, template("summer_sale"), "marketing_messages")
    await world.gate.ledger._pool.execute("UPDATE hold SET wamid = 'wamid.early' WHERE wamid = $1", wamid)
    await world.sweep.run()
    assert (await world.message("wamid.early"))["billed"] == "0.10"


async def test_without_the_marketing_path_a_bid_is_not_held(world: World) -> None:
    await world.fund("1.00")
    world.whatsapp.templates.add(WABA, Template("summer_sale", "MARKETING", more={"optimization_spec": BID}))
    await world.gate.templates.sync()
    assert (await held(world, template("summer_sale")))[1] == "0.025"


def tier(lower: int, at: int, **changes: Any) -> dict[str, Any]:
    info = {
        "tier_update_time": at,
        "pricing_category": "UTILITY",
        "tier": f"{lower}:MAX",
        "effective_month": "2026-11",
        "region": "India",
        **changes,
    }
    return account_update("VOLUME_BASED_PRICING_TIER_UPDATE", volume_tier_info=info)


# webhooks before the delivery -> the line of the table that sets the price, None: the card's list rate
TIERS: list[tuple[list[dict[str, Any]], int | None]] = [
    ([], None),
    ([tier(25_000_001, NOW)], 25_000_001),
    ([tier(25_000_001, NOW + 1)], None),  # reached after this delivery
    ([tier(25_000_001, NOW + 1), tier(25_000_001, NOW - 1)], 25_000_001),  # the earliest time is the official one
    ([tier(25_000_001, NOW - 1), tier(25_000_001, NOW + 1)], 25_000_001),
    ([tier(25_000_001, NOW), tier(0, NOW)], 25_000_001),
    ([tier(25_000_001, NOW, effective_month="2026-10")], None),
    ([tier(25_000_001, NOW, pricing_category="AUTHENTICATION")], None),
    ([tier(25_000_001, NOW, region="Germany")], None),
    ([tier(25_000_001, NOW, region="Atlantis")], None),
]


@pytest.mark.parametrize(("webhooks", "lower"), TIERS)
async def test_volume_tiers(world: World, webhooks: list[dict[str, Any]], lower: int | None) -> None:
    await world.fund("1.00")
    listed = (await rates(world, "India"))["utility"]
    for webhook in webhooks:
        assert (await post(world, webhook))[0] == 200
    wamid, fare, _ = await held(world, template(to=INDIAN))
    assert fare == f"{listed / 1_000_000:.4f}".rstrip("0")  # the hold is at list price
    settled = await settle(world, wamid, "utility", INDIAN)
    number = world.gate.directory.numbers[NUMBER]
    tiers = world.gate.tariffs.at(number, NOW * 1000).card.tiers["India", "utility"]
    expected = next((one.rate for one in reversed(tiers) if lower is not None and one.lower <= lower), None)
    assert settled["webhook"]["priced_by"] == (expected and f"volume tier: {expected.source}")
    billed = expected.micros if expected else listed
    assert settled["billed"] == f"{billed / 1_000_000:.4f}".rstrip("0")
    if expected:
        assert expected.micros < listed
