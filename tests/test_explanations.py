"""What farebox says about money: drift, shadow mode, price terms, and sentences for whoever pays."""

from typing import Any

import pytest

from farebox import metrics
from farebox.admin.messages import find_message
from farebox.commands.explain import sentences
from farebox.core.evidence import Evidence, read_evidence, say_evidence
from farebox.simulator import Behaviour
from harness import GERMAN, NUMBER, USER, World, reaction, template, text
from test_inbound import REGULAR, payload, post, status

FREE_SERVICE = {"billable": False, "pricing_model": "PMP", "type": "free_customer_service", "category": "service"}

FREE_ENTRY = {**FREE_SERVICE, "type": "free_entry_point", "category": "referral_conversion"}
FREE_TOMORROW = {**FREE_SERVICE, "type": "free_tomorrow", "category": "utility"}


async def delivered(world: World, message: dict[str, Any], pricing: dict[str, Any], **fields: Any) -> str:
    """Send a message and say what its delivery costs; return its hold id."""
    world.whatsapp.behave(Behaviour(statuses=()))
    answer = await world.send(message)
    assert answer.status == 200, answer.body
    hold: str = answer.headers["X-Farebox-Hold"]
    wamid = answer.json["messages"][0]["id"]
    fields = {"recipient_id": message["to"], **fields}
    await post(world, payload(statuses=[status(wamid, pricing=pricing, **fields)]))
    return hold


async def said(world: World, hold: str) -> str:
    """What the command line says."""
    message = await find_message(world.gate.ledger, hold)
    assert message is not None
    return " ".join(sentences(message))


def counted(metric: Any, *labels: str) -> float:
    value: float = (metric.labels(*labels) if labels else metric)._value.get()
    return value


# message, price of its delivery, further fields -> what differs, billed, counted as unknown
DRIFTS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], list[str] | None, str, bool]] = [
    (template(), REGULAR, {}, None, "0.0034", False),
    (template(), {**REGULAR, "category": "marketing"}, {}, ["category", "price"], "0.025", False),
    (template(), {**REGULAR, "category": "group_utility"}, {}, None, "0.0034", False),
    (template(), REGULAR, {"recipient_id": GERMAN}, ["market", "price"], "0.055", False),
    (template(), {**FREE_SERVICE, "category": "utility"}, {}, ["class", "price"], "0.00", False),
    (template(), FREE_ENTRY, {}, ["class", "price"], "0.00", False),
    (template(), {**REGULAR, "category": "of_tomorrow"}, {}, ["category"], "0.0034", True),
    (template(), {**REGULAR, "type": "of_tomorrow"}, {}, None, "0.0034", True),
    (template(), FREE_TOMORROW, {}, ["class", "price"], "0.00", True),
    (text(), FREE_SERVICE, {}, None, "0.00", False),
    (text(), {**REGULAR, "category": "service"}, {}, ["class", "price"], "0.0034", False),
    (reaction(), FREE_SERVICE, {}, None, "0.00", False),
]


@pytest.mark.parametrize(("message", "pricing", "fields", "differs", "billed", "unknown"), DRIFTS)
async def test_drift_is_a_record(
    world: World,
    message: dict[str, Any],
    pricing: dict[str, Any],
    fields: dict[str, Any],
    differs: list[str] | None,
    billed: str,
    unknown: bool,
) -> None:
    await world.fund("1.00")
    before = counted(metrics.UNKNOWN_PRICING)
    hold = await delivered(world, message, pricing, **fields)
    explained = await world.message(hold)
    assert explained["billed"] == billed
    assert counted(metrics.UNKNOWN_PRICING) - before == unknown
    listed = (await world.admin("GET", f"/v1/drift?number={NUMBER}"))["drifts"]
    if differs is None:
        assert (explained["drift"], listed) == (None, [])
        return
    assert explained["drift"]["differs"] == differs
    assert explained["drift"]["theirs"]["fare"] == billed
    (drift,) = listed
    assert {name: drift[name] for name in ("differs", "ours", "theirs")} == explained["drift"]
    assert (drift["hold_id"], drift["billed"]) == (hold, billed)
    assert "WhatsApp saw it otherwise" in await said(world, hold)


async def test_drifts_are_listed_in_pages_and_spans(world: World) -> None:
    await world.fund("1.00")
    wrong = {**REGULAR, "category": "marketing"}
    holds = [await delivered(world, template(), wrong) for _ in range(3)]
    page = await world.admin("GET", "/v1/drift?limit=2")
    assert [row["hold_id"] for row in page["drifts"]] == [holds[2], holds[1]]
    rest = await world.admin("GET", f"/v1/drift?limit=2&before={page['next']}")
    assert ([row["hold_id"] for row in rest["drifts"]], rest["next"]) == ([holds[0]], None)
    sent_at = page["drifts"][0]["sent_at"]
    assert (await world.admin("GET", f"/v1/drift?to={sent_at}&limit=9"))["drifts"] == [
        page["drifts"][1],
        rest["drifts"][0],
    ]
    assert (await world.admin("GET", f"/v1/drift?from={sent_at}"))["drifts"] == [page["drifts"][0]]
    assert (await world.admin("GET", "/v1/drift?number=1"))["drifts"] == []
    await world.admin("GET", "/v1/drift?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", expect=422)


async def test_shadow_mode_refuses_nothing_and_reports_what_it_would_have(world: World) -> None:
    await world.fund("0.004")
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"mode": "shadow"})
    before = counted(metrics.SHADOW_REFUSALS, "acme")
    answers = [await world.send(template()) for _ in range(4)]
    await world.books_kept()
    assert [answer.status for answer in answers] == [200] * 4
    shadows = [answer.headers.get("X-Farebox-Shadow") for answer in answers]
    assert shadows == [None, None, "would-refuse", "would-refuse"]
    assert counted(metrics.SHADOW_REFUSALS, "acme") - before == 2
    report = await world.admin("GET", f"/v1/numbers/{NUMBER}/shadow")
    first, last = report.pop("first_at"), report.pop("last_at")
    assert first < last
    assert report == {
        "phone_number_id": NUMBER,
        "mode": "shadow",
        "messages": 4,
        "paid_messages": 4,
        "spend": "0.0136",
        "open": "0.00",
        "would_refuse": 2,
        "would_not_spend": "0.0068",
        "currency": "USD",
    }
    assert (await world.admin("GET", f"/v1/numbers/{NUMBER}/shadow?from={last}"))["would_refuse"] == 1
    assert (await world.admin("GET", f"/v1/numbers/{NUMBER}/shadow?to={first}"))["messages"] == 2
    assert "enforcement would have refused" in await said(world, answers[3].headers["X-Farebox-Hold"])
    quoted = await world.admin("POST", "/v1/quotes", {"number": NUMBER, "message": template()})
    assert (quoted["would_be"], "shadow mode" in quoted["notes"][0]) == ("accepted", True)
    assert await world.differences() == []


async def test_price_terms_of_an_account(world: World) -> None:
    await world.fund("1.00")
    changed = await world.admin(
        "PATCH", "/v1/accounts/acme", {"markup_percent": "4.5", "markup_fixed": "0.001", "tax_percent": "19"}
    )
    assert [changed[name] for name in ("markup_percent", "markup_fixed", "tax_percent")] == ["4.5", "0.001", "19"]
    assert (await world.admin("PATCH", "/v1/accounts/acme", {"name": "B"}))["markup_percent"] == "4.5"
    hold = await delivered(world, template(), REGULAR)
    explained = await world.message(hold)
    # 3,400 + 4.5 % = 3,553 micro-units, + 1,000 = 4,553, + 19 % = 5,418.07
    assert explained["fare"] == explained["billed"] == "0.005418"
    assert explained["fare_parts"] == {"rate": "0.0034", "markup": "0.001153", "tax": "0.000865"}
    assert explained["drift"] is None
    quoted = await world.admin("POST", "/v1/quotes", {"number": NUMBER, "message": template()})
    term = quoted["term"]
    assert [term[name] for name in ("fare", "rate", "markup", "tax")] == ["0.005418", "0.0034", "0.001153", "0.000865"]
    assert "0.0034 USD is Meta's rate, 0.001153 USD the account's mark-up, 0.000865 USD tax" in await said(world, hold)


BAD_TERMS = [
    ({"markup_percent": 4}, "decimal string"),
    ({"markup_percent": "4.12345"}, "at most four decimals"),
    ({"markup_percent": "-1"}, "not a percentage"),
    ({"markup_percent": "10000.0001"}, "must be 10000 or less"),
    ({"tax_percent": "100.0001"}, "must be 100 or less"),
    ({"markup_fixed": "-0.01"}, "must be 0.00 or more"),
    ({"markup_fixed": "1000.01"}, "must be 1000.00 or less"),
]


@pytest.mark.parametrize(("fields", "sentence"), BAD_TERMS)
async def test_price_terms_that_are_refused(world: World, fields: dict[str, Any], sentence: str) -> None:
    assert sentence in (await world.admin("PATCH", "/v1/accounts/acme", fields, expect=422))["detail"]


async def test_a_country_that_no_market_names_is_counted(world: World) -> None:
    await world.fund("1.00")
    before = counted(metrics.UNKNOWN_MARKETS, "JM")
    answer = await world.send(template(to="18765550123"))
    assert answer.status == 200
    named = (await world.message(answer.headers["X-Farebox-Hold"]))["market"] != "Other"
    assert counted(metrics.UNKNOWN_MARKETS, "JM") - before == (not named)
    before = counted(metrics.UNKNOWN_MARKETS, "BS")
    await world.send(template(to="12425550123"))
    assert counted(metrics.UNKNOWN_MARKETS, "BS") - before == 1


FATES = [
    ([("failed", None)], "it failed"),
    ([("delivered", REGULAR)], "delivered as regular utility. So 0.0034 USD were charged."),
    ([("delivered", {**REGULAR, "category": "marketing"})], "0.0216 USD more than was set aside"),
    ([("failed", None), ("delivered", REGULAR)], "late charge"),
    ([], "its delivery is open; what is set aside comes back by"),
]


@pytest.mark.parametrize(("statuses", "sentence"), FATES)
async def test_the_fate_of_a_message_in_a_sentence(
    world: World, statuses: list[tuple[str, dict[str, Any] | None]], sentence: str
) -> None:
    await world.fund("1.00")
    world.whatsapp.behave(Behaviour(statuses=()))
    wamid = (await world.send(template())).json["messages"][0]["id"]
    for what, pricing in statuses:
        await post(world, payload(statuses=[status(wamid, what, **({"pricing": pricing} if pricing else {}))]))
    told = await said(world, wamid)
    assert sentence in told
    assert USER not in told
    assert "line " in told


EVIDENCE = [
    ("", Evidence(), ""),
    (
        "csw until 1795000000000",
        Evidence(windows=(("csw", 1_795_000_000_000),)),
        "customer service window open until 2026-11-18 11:06:40 UTC",
    ),
    (
        "unit 3 of 1000 in service:2026-11",
        Evidence(unit=3, pool="service:2026-11", pool_size=1000),
        "free unit 3 of 1,000 in service:2026-11",
    ),
    (
        "csw until 1 unit 1 of 2 in x:2026-11",
        Evidence(windows=(("csw", 1),), unit=1, pool="x:2026-11", pool_size=2),
        "customer service window open until 1970-01-01 00:00:00 UTC, free unit 1 of 2 in x:2026-11",
    ),
    ("marketing conversation pending", Evidence(conversation="marketing"), "marketing conversation not delivered yet"),
    (
        "service conversation until 1",
        Evidence(conversation="service", conversation_until_ms=1),
        "service conversation open until 1970-01-01 00:00:00 UTC",
    ),
]


@pytest.mark.parametrize(("written", "read", "spoken"), EVIDENCE)
def test_evidence_is_read_as_the_wallet_writes_it(written: str, read: Evidence, spoken: str) -> None:
    assert read_evidence(written) == read
    assert say_evidence(written) == spoken
