"""Alerts: once for a crossing, told until somebody takes them."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from aiohttp.test_utils import RawTestServer
from hypothesis import given
from hypothesis import strategies as st

import farebox.watch.telling
from farebox.core.alerts import HYSTERESIS_PERCENT, Level, Unit
from farebox.gate import open_gate
from farebox.wakes import AGAIN_MS
from farebox.watch import look, slow_pass, tell, watch_pass
from farebox.watch.telling import BACKOFF_S
from harness import NUMBER, App, World, template

LEVELS = f"/v1/numbers/{NUMBER}/alert-levels"
CHANNELS = "/v1/accounts/acme/channels"


@pytest.fixture
async def hook() -> AsyncIterator[tuple[App, str]]:
    app = App()
    async with RawTestServer(app.handle) as server:
        yield app, str(server.make_url("/alerts"))


async def looked(world: World) -> None:
    await look(world.gate, world.gate.directory.numbers[NUMBER])


async def alerts(world: World, query: str = "") -> list[Any]:
    page = await world.admin("GET", f"/v1/alerts{query}")
    rows: list[Any] = page["alerts"]
    return rows


async def add_spend(world: World, daily_micros: int) -> None:
    await world.gate.ledger._pool.execute(
        "INSERT INTO usage (number_id, day, category, market, class, messages, billed_micros) "
        "SELECT $1, (now() AT TIME ZONE 'UTC')::date - d, 'utility', 'x', 'paid', 1, $2 "
        "FROM generate_series(1, 7) AS d",
        NUMBER,
        daily_micros,
    )


async def test_each_level_is_told_once_for_each_crossing_whoever_looks(world: World) -> None:
    await world.fund("12.00")
    await world.admin("PUT", LEVELS, {"amounts": ["10.00", "5.00"]})
    await looked(world)
    assert await alerts(world) == []
    await take(world, "2.01")
    await asyncio.gather(*(looked(world) for _ in range(5)))
    (alert,) = await alerts(world)
    assert (alert["kind"], alert["available"], alert["missing"]) == ("low_balance", "9.99", "0.01")
    assert "below the level of 10.00 USD" in alert["sentence"]
    assert "Add 0.01 USD or more under “Insights & Billing”" in alert["sentence"]
    for amount in ("1.00", "-1.99", "1.90"):  # around the level, but never a tenth above it
        await take(world, amount)
        await looked(world)
    assert len(await alerts(world)) == 1
    await world.fund("20.00")
    await looked(world)
    await take(world, "25.00")
    await looked(world)
    assert sorted(alert["sentence"].partition("level of ")[2][:5] for alert in await alerts(world)) == [
        "10.00", "10.00", "5.00 "
    ]  # fmt: skip
    shown = await world.admin("GET", LEVELS)
    assert [(level["amount"], level["low"], level["crossings"]) for level in shown["levels"]] == [
        ("5.00", True, 1),
        ("10.00", True, 2),
    ]


async def test_low_balance_at_is_a_level_too(world: World) -> None:
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"low_balance_at": "10.00"})
    await world.admin("PUT", LEVELS, {"amounts": ["10.00", "5.00"]})
    await world.fund("12.00")
    await looked(world)
    await take(world, "2.01")
    await looked(world)
    (alert,) = await alerts(world)  # one, though the list has the same amount
    assert "below the level of 10.00 USD" in alert["sentence"]
    shown = (await world.admin("PUT", LEVELS, {"amounts": ["5.00"]}))["levels"]
    assert [(level["amount"], level["low"], level["of_number"]) for level in shown] == [
        ("5.00", False, False), ("10.00", True, True)
    ]  # fmt: skip
    for at, told in (("5.00", 1), ("10.00", 2), (None, 2)):  # a level that comes again is a new one
        await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"low_balance_at": at})
        await looked(world)
        assert len(await alerts(world)) == told
    assert len((await world.admin("GET", LEVELS))["levels"]) == 1


async def take(world: World, amount: str) -> None:
    """Correct the balance by hand."""
    body = {"amount": str(-Decimal(amount)), "reason": "a test", "below_zero": True}
    await world.admin("POST", f"/v1/numbers/{NUMBER}/adjustments", body)


async def test_a_level_in_days_moves_with_the_spend(world: World) -> None:
    await world.fund("10.00")
    await world.admin("PUT", LEVELS, {"days": [3]})
    await watch_pass(world.gate)
    assert await alerts(world) == []
    await add_spend(world, 4_000_000)
    world.gate.clock._ahead_ms += AGAIN_MS  # the balance has not moved
    await watch_pass(world.gate)
    (alert,) = await alerts(world)
    assert "below the level of 3 days of spend (12.00 USD)" in alert["sentence"]
    assert "it lasts 60 hours" in alert["sentence"]


async def test_what_was_told_is_not_told_again_after_a_restart_or_by_another_gateway(world: World) -> None:
    await world.admin("PUT", LEVELS, {"amounts": ["1.00"]})
    await watch_pass(world.gate)  # the number has no wallet yet: the ledger says what it has
    assert len(await alerts(world)) == 1
    async with open_gate(world.gate.settings) as other:
        other.clock._ahead_ms += AGAIN_MS
        assert await watch_pass(other) == 1
        await look(other, other.directory.numbers[NUMBER])
    assert len(await alerts(world)) == 1


async def test_a_send_that_crosses_a_level_asks_for_a_look(world: World) -> None:
    await world.fund("1.00")
    await world.admin("PUT", LEVELS, {"amounts": ["0.98"]})
    assert await world.gate.wakes.next() == {NUMBER}  # of the new level itself
    await world.send(template("summer_sale"))
    async with asyncio.timeout(5):
        assert await world.gate.wakes.next() == {NUMBER}
    await world.books_kept()
    await looked(world)
    assert len(await alerts(world)) == 1


async def test_a_webhook_is_signed_and_told_once(world: World, hook: tuple[App, str]) -> None:
    app, url = hook
    channel = await world.admin("POST", CHANNELS, {"kind": "webhook", "target": url, "name": "pager"})
    await world.admin("PUT", LEVELS, {"amounts": ["1.00"]})
    await looked(world)
    assert [await tell(world.gate) for _ in range(2)] == [1, 0]
    (seen,) = app.seen
    signed = f"{seen.headers['webhook-id']}.{seen.headers['webhook-timestamp']}.".encode() + seen.body
    key = base64.b64decode(channel["secret"].removeprefix("whsec_"))
    mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert seen.headers["webhook-signature"] == f"v1,{mac}"
    content = json.loads(seen.body)
    assert content["type"] == "farebox.low_balance"
    assert (content["data"]["phone_number_id"], content["data"]["missing"]) == (NUMBER, "1.00")
    (alert,) = await alerts(world)
    assert [(d["name"], d["state"], d["tries"]) for d in alert["deliveries"]] == [("pager", "sent", 1)]


async def test_a_webhook_that_fails_is_tried_again_and_ends_as_a_dead_letter(
    world: World, hook: tuple[App, str]
) -> None:
    app, url = hook
    app.status = 500
    await world.admin("POST", CHANNELS, {"kind": "webhook", "target": url})
    await world.admin("PUT", LEVELS, {"amounts": ["1.00"]})
    await looked(world)
    for wait_s in BACKOFF_S:
        assert [await tell(world.gate), await tell(world.gate)] == [1, 0]
        world.gate.clock._ahead_ms += wait_s * 1000
    assert await alerts(world, "?state=dead") == []
    await tell(world.gate)
    (dead,) = await alerts(world, "?state=dead")
    assert (dead["deliveries"][0]["tries"], dead["deliveries"][0]["error"]) == (len(BACKOFF_S) + 1, "HTTP 500")
    world.gate.clock._ahead_ms += 86_400_000
    assert await tell(world.gate) == 0
    app.status = 200
    assert await world.admin("POST", f"/v1/alerts/{dead['alert_id']}/tell", {}) == {"deliveries": 1}
    assert await tell(world.gate) == 1
    assert (await alerts(world))[0]["deliveries"][0]["state"] == "sent"
    assert len({seen.headers["webhook-id"] for seen in app.seen}) == 1


async def test_mail_and_chat_go_through_apprise(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    def notify(self: Any, body: str, title: str) -> bool:
        told.append((self.urls(), title, body))
        return True

    monkeypatch.setattr(farebox.watch.telling.apprise.Apprise, "notify", notify)
    target = "mailtos://user:secret@mail.example.com?to=me@example.com"
    made = await world.admin("POST", CHANNELS, {"kind": "apprise", "target": target})
    assert (made["target"], made["secret"]) == ("mailtos://...", None)
    assert "secret@" not in json.dumps(await world.admin("GET", CHANNELS))
    await world.admin("PUT", LEVELS, {"amounts": ["1.00"]})
    await looked(world)
    await tell(world.gate)
    ((urls, title, body),) = told
    assert urls[0].startswith("mailtos://")
    assert title == "Prepaid balance"
    assert "Add 1.00 USD or more" in body
    await world.admin("DELETE", f"{CHANNELS}/{made['channel_id']}")
    assert (await world.admin("GET", CHANNELS))["channels"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "apprise", "target": "dbus://"},
        {"kind": "apprise", "target": "nonsense"},
        {"kind": "webhook", "target": "ftp://example.com"},
        {"kind": "webhook", "target": "https://user:pass@example.com"},
        {"kind": "pigeon", "target": "https://example.com"},
    ],
)
async def test_a_channel_that_leads_nowhere_is_refused(world: World, body: dict[str, str]) -> None:
    await world.admin("POST", CHANNELS, body, expect=422)


async def test_an_hour_that_costs_far_more_than_usual_is_told_once(world: World) -> None:
    await world.fund("50.00")
    await add_spend(world, 24_000_000)  # 1.00 an hour
    for _ in range(37):
        await world.send(template("summer_sale", to="4915112345678"))  # 0.1365
    await slow_pass(world.gate)
    (alert,) = await alerts(world)
    assert alert["kind"] == "spend_spike"
    assert "The last hour cost 5.0505 USD; usual at this time of day are 1.00, by the last 7 days." in alert["sentence"]
    await slow_pass(world.gate)
    assert len(await alerts(world)) == 1
    for hours, told in ((24, 1), (30, 2)):  # the same hour of the day before cost as much; at another it is news
        world.gate.clock._ahead_ms += (hours - 24 or 24) * 3_600_000
        for _ in range(37):
            await world.send(template("summer_sale", to="4915112345678"))
        await slow_pass(world.gate)
        assert len(await alerts(world)) == told, hours


@given(at=st.integers(1, 10**6), path=st.lists(st.integers(80, 130), min_size=1, max_size=30))
def test_a_level_is_low_again_only_after_a_tenth_more(at: int, path: list[int]) -> None:
    """`path` is the balance in percent of the level."""
    low, ready = False, True
    for percent in path:
        move = Level(Unit.AMOUNT, at * 100, low).moves(at * percent, 0)
        ready = ready or percent >= 100 + HYSTERESIS_PERCENT
        if move:
            assert percent < 100
            assert ready
            ready = False
        low = low if move is None else move
        assert low or percent >= 100


async def test_a_card_that_ends_soon_is_told_once_and_only_where_a_rule_charges_it(world: World) -> None:
    await world.gate.ledger._pool.execute(
        "INSERT INTO payment_card VALUES ('acme', 'sandbox', 'c', 'k', 'Visa', '4242', now()::date + 20, now())"
    )
    await slow_pass(world.gate)
    assert await alerts(world) == []
    await world.gate.ledger.fetch("put_renewal_rule", NUMBER, "manual", None, 1, 1, 1, None, world.gate.clock.now_ms())
    await slow_pass(world.gate)
    await slow_pass(world.gate)
    (alert,) = await alerts(world)
    assert alert["kind"] == "card_expiring"
    assert "Visa ending in 4242" in alert["sentence"]
