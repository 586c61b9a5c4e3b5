"""Usage and estimates: the roll-up says what the messages say, and so does the page."""

import random
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import product
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from factory import make_number
from farebox.assets import asset
from farebox.core.fare import price
from farebox.core.forecast import Pace, TooLittle, lasts, project, read_pace
from farebox.core.hold import Event
from farebox.core.message import Kind, Message
from farebox.core.plan import Planned, cost
from farebox.funds import Fare, Reserved
from farebox.rows import Resolution
from farebox.tariffs import Tariffs
from harness import NUMBER, World
from page.people import Reader

ZONES = {NUMBER: "UTC", "201": "Asia/Kolkata", "202": "America/Los_Angeles"}
REGIMES = {"202": "cbp-2023-06"}  # charged by the conversation
COUNTED = ("free", "paid", "free_conversations", "paid_conversations", "on_their_way", "charged", "held")
USERS = ("16505551234", "4915112345678", "5511987654321")


async def live(world: World, chance: random.Random, steps: int) -> None:
    """Let numbers send, deliver, fail and forget, while the clock moves through months."""
    gate = world.gate
    for number, zone in ZONES.items():
        await world.add_number(number, timezone=zone, regime=REGIMES.get(number, "auto"))
        await world.fund("100.00", number)
    open_: list[Reserved] = []
    for _ in range(steps):
        number = gate.directory.numbers[chance.choice(list(ZONES))]
        kind = chance.choice([Kind.TEMPLATE, Kind.TEMPLATE, Kind.SERVICE])
        category = chance.choice(["marketing", "utility", "authentication"])
        message = Message(kind, user=chance.choice(USERS), template_name="t" if kind is Kind.TEMPLATE else "")
        priced = price(message, template_category=category, tariff=gate.tariffs.at(number, gate.clock.now_ms()))
        reserved = await gate.funds.reserve(number, message, [Fare(message.user, priced, message.user)])
        assert isinstance(reserved, Reserved)
        open_.append(reserved)
        if chance.random() < 0.7:
            ended = open_.pop(chance.randrange(len(open_)))
            (hold,) = await gate.ledger.find_holds([ended.hold_id], [])
            event = chance.choice([Event.DELIVER, Event.DELIVER, Event.FAIL])
            billed = chance.choice([hold.fare_micros, hold.fare_micros, 0, 12_345]) if event is Event.DELIVER else 0
            until_ms = gate.clock.now_ms() + 86_400_000
            opened = (hold.opens, until_ms) if hold.opens and event is Event.DELIVER else None
            await gate.funds.resolve(event, [Resolution(hold, billed, conversation=opened)])
        if chance.random() < 0.2:
            row = await gate.ledger.fetch_one("now")
            assert row is not None
            await gate.ledger.fetch("set_clock", row["offset_ms"] + chance.randrange(3 * 86_400_000))
            await gate.clock.sync(gate.ledger)


def seen_in(holds: Sequence[asyncpg.Record], granularity: str, **only: str | None) -> Counter[tuple[date, str]]:
    """Count messages one by one, those that the filters leave."""
    seen: Counter[tuple[date, str]] = Counter()
    for hold in holds:
        settled = hold["state"] == "settled"
        if any(value not in (None, hold[name]) for name, value in only.items()):
            continue
        if not settled and hold["state"] not in ("reserved", "accepted"):
            continue
        at = hold["ended_at"] if settled else hold["created_at"]
        day = at.astimezone(ZoneInfo(hold["timezone"])).date()
        starts = day if granularity == "day" else day.replace(day=1)
        seen[starts, hold["class"] if settled else "on_their_way"] += 1
        seen[starts, "charged" if settled else "held"] += hold["billed_micros"] if settled else hold["fare_micros"]
        seen[starts, f"{hold['class']}_conversations"] += hold["conversation_until"] is not None
    return seen


def told_by(answer: Any) -> Counter[tuple[date, str]]:
    """Read the API's counts; its amounts in micro-units."""
    told: Counter[tuple[date, str]] = Counter()
    for period in answer["usage"]:
        for name in COUNTED:
            value = period[name]
            micros = value if isinstance(value, int) else int(Decimal(value) * 1_000_000)
            told[date.fromisoformat(period["from"]), name] += micros
    return told


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_roll_up_says_what_the_messages_say(world: World, seed: int) -> None:
    await live(world, random.Random(seed), steps=60)
    fetch = world.gate.ledger._pool.fetch
    holds = await fetch("SELECT h.*, n.timezone FROM hold h JOIN number n USING (number_id)")
    assert any(hold["conversation_until"] for hold in holds)
    first = datetime.now(UTC).date().replace(day=1)
    span = f"from={first}&to={date(first.year + 1, first.month, 1)}"
    filters = [(None, None), ("marketing", None), (None, "Germany"), ("utility", "North America")]
    for granularity, class_, number, (category, market) in product(
        ("month", "day"), (None, "free", "paid"), (None, *ZONES), filters
    ):
        only = {"class": class_, "category": category, "market": market}
        asked = {"granularity": granularity, "number": number, **only}
        query = urlencode({name: value for name, value in asked.items() if value})
        told = told_by(await world.admin("GET", f"/v1/usage?{span}&{query}"))
        assert +told == +seen_in(holds, granularity, number_id=number, **only)


async def test_the_totals_of_days_follow_every_change_of_the_roll_up(world: World) -> None:
    await live(world, random.Random(5), steps=30)
    pool = world.gate.ledger._pool
    sums = "number_id, day, class, sum(messages), sum(conversations), sum(billed_micros)"
    for change in (
        "SELECT 1",
        "UPDATE usage SET billed_micros = billed_micros + 7, conversations = 1 WHERE class = 'paid'",
        "UPDATE usage SET dropped_messages = messages",
        "DELETE FROM usage WHERE class = 'free'",
    ):
        await pool.execute(change)
        rows = await pool.fetch(f"SELECT {sums} FROM usage GROUP BY 1, 2, 3 ORDER BY 1, 2, 3")
        totals = await pool.fetch(f"SELECT {sums} FROM usage_total GROUP BY 1, 2, 3 ORDER BY 1, 2, 3")
        assert [row for row in totals if row[3]] == rows


async def test_conversations_stand_beside_messages_where_there_are_any(world: World, reader: Reader) -> None:
    await live(world, random.Random(6), steps=30)
    assert "Conversations" in (await reader.get("/usage?number=202")).text
    assert "Conversations" not in (await reader.get(f"/usage?number={NUMBER}")).text


async def test_months_stand_side_by_side_and_lead_to_their_days(world: World, reader: Reader) -> None:
    await live(world, random.Random(3), steps=20)
    page = (await reader.get("/usage")).text
    assert len(re.findall(r'<a href="\?month=', page)) == 12
    month = re.findall(r"\?month=([0-9-]+)", page)[0]
    days = (await reader.get(f"/usage?month={month}&class=paid&number={NUMBER}")).text
    assert "Back to the twelve months" in days
    assert "422" not in (await reader.get("/usage?month=nonsense&market=nowhere")).text


async def test_what_can_not_be_asked(world: World) -> None:
    for query in ("granularity=week", "from=2026-02-02&to=2026-02-02", "class=some", "from=1999-01-01&granularity=day"):
        await world.admin("GET", f"/v1/usage?{query}", expect=422)
    await world.admin("GET", "/v1/usage?number=77", expect=404)
    for query in (
        "",
        f"number={NUMBER}&planned=Germany",
        f"number={NUMBER}&planned=DE:fish:1",
        "number=77&on=2026-01-01",
    ):
        await world.admin("GET", f"/v1/estimates?{query}", expect=404 if "77" in query else 422)


async def test_an_estimate_has_no_projection_before_there_is_a_pace(world: World) -> None:
    answer = await world.admin(
        "GET", f"/v1/estimates?number={NUMBER}&planned=DE:marketing:1000,de:service:1500&on=2026-11-25"
    )
    assert answer["projection"] is None
    marketing, service = answer["plan"]["lines"]
    assert (marketing["market"], marketing["free"], marketing["cost"]) == ("Germany", 0, "136.50")
    assert service["free"] == 1_000


def test_a_plan_meets_the_tiers_of_its_market_together() -> None:
    tariffs = Tariffs(asset("config/tariffs"))
    number = make_number()
    tariff = tariffs.at(number, round(datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp() * 1000))
    tiers = tariff.card.tiers["Argentina", "utility"]
    list_rate, second = tiers[0].rate.micros, tiers[1]
    plan = [Planned("AR", "utility", second.lower - 1 - 10), Planned("AR", "utility", 30)]
    first, then = cost(plan, tariff)
    assert first.cost_micros == (second.lower - 11) * list_rate
    assert then.cost_micros == 10 * list_rate + 20 * second.rate.micros
    assert [rate.micros for rate in then.rates] == [list_rate, second.rate.micros]


def test_a_steady_pace_lasts_exactly_so_long() -> None:
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    days = [(date(2026, 10, 28 + index) if index < 4 else date(2026, 11, index - 3), 24_000) for index in range(28)]
    pace = read_pace(days)
    assert isinstance(pace, Pace)
    found = lasts(pace, 36_000, now)
    assert found.expected == found.earliest == found.latest == datetime(2026, 11, 27, tzinfo=UTC)
    assert lasts(pace, 0, now).expected == now
    assert lasts(pace, 10**12, now).expected is None
    end = project(pace, 100, now, datetime(2026, 12, 1, tzinfo=UTC))
    assert (end.low_micros, end.expected_micros, end.high_micros) == (132_100,) * 3


def test_a_pace_that_strays_has_a_range_and_few_days_have_none() -> None:
    chance = random.Random(4)
    days = [(date(2026, 11, 1 + index), chance.randrange(1_000_000)) for index in range(24)]
    pace = read_pace(days)
    assert isinstance(pace, Pace)
    found = lasts(pace, 5_000_000, datetime(2026, 11, 25, 9, tzinfo=UTC))
    assert found.earliest < found.expected < found.latest  # type: ignore[operator]
    assert read_pace([(day, 0) for day, _ in days]) == TooLittle(0)
    assert read_pace(days[:6]) == TooLittle(6)
