"""Spend limits, decided in the same step as the balance. A marketing template to North America costs 0.025 USD."""

import asyncio
import random
from datetime import date, timedelta
from typing import Any

import pytest

from farebox.core.limits import Limit, Period, Reached
from farebox.core.reply import CODE_PAYMENT, OUT_OF_FUNDS
from farebox.simulator import Behaviour
from farebox.tariffs import local_day
from harness import GERMAN, NUMBER, USER, World, reaction, template, text

LIMITS = f"/v1/numbers/{NUMBER}/limits"
DAY_MS = 86_400_000


async def set_limits(world: World, **limits: dict[str, str]) -> Any:
    return await world.admin("PUT", LIMITS, limits)


def today(world: World) -> date:
    return local_day(world.gate.clock.now_ms(), world.gate.directory.numbers[NUMBER].zone)


async def counted(world: World) -> dict[str, int]:
    """What the wallet counts as spent today and this month and as set aside, without what is 0."""
    day = today(world).isoformat()
    state = await world.gate.wallet._redis.hgetall(f"farebox:{{{NUMBER}}}:wallet")
    return {
        name: int(value.split()[-1])
        for name, value in state.items()
        for period, of in (("held:", ""), ("day:", f"{day} "), ("month:", f"{day[:7]} "))
        if name.startswith(period) and value.startswith(of) and value.split()[-1] != "0"
    }


async def counts_agree(world: World) -> dict[str, int]:
    """Compare what the wallet counts with the ledger."""
    rows = await world.gate.ledger.fetch("spent", NUMBER, today(world))
    wanted: dict[str, int] = {}
    for row in rows:
        wanted[f"held:{row['category']}"] = row["held_micros"]
        for period in ("day", "month"):
            wanted[f"{period}:{row['category']}"] = row[f"{period}_micros"]
            wanted[f"{period}:"] = wanted.get(f"{period}:", 0) + row[f"{period}_micros"]
    found = await counted(world)
    assert found == {name: micros for name, micros in wanted.items() if micros}
    return found


async def marketing(world: World, **kwargs: Any) -> int:
    return (await world.send(template("summer_sale", **kwargs))).status


def advance(world: World, ms: int) -> None:
    world.gate.clock._ahead_ms += ms


async def test_a_send_above_the_limit_is_refused_with_a_sentence_of_its_own(world: World) -> None:
    await world.fund("10.00")
    await set_limits(world, day={"all": "0.05"})
    assert [await marketing(world) for _ in range(2)] == [200, 200]
    await world.books_kept()
    balance = await world.balance()
    refused = await world.send(template("summer_sale"))
    assert refused.status == 402
    error = refused.json["error"]
    assert error["code"] == CODE_PAYMENT
    assert error["message"] == error["error_data"]["details"]
    assert "daily spend limit of this number: 0.05 of 0.05 USD are spent or set aside" in error["message"]
    assert refused.headers["X-Farebox-Limit"] == "day"
    assert await world.balance() == balance
    assert (await counts_agree(world))["day:"] == 50_000


async def test_what_is_free_passes_a_limit_of_nothing(world: World) -> None:
    await world.fund("10.00")
    await set_limits(world, month={"all": "0.00"})
    assert await marketing(world) == 402
    assert [(await world.send(message)).status for message in (reaction(), text())] == [200, 200]


async def test_a_limit_on_one_category_leaves_the_others_alone(world: World) -> None:
    await world.fund("10.00")
    await set_limits(world, day={"marketing": "0.00"}, month={"all": "5.00"})
    refused = await world.send(template("summer_sale"))
    assert refused.status == 402
    assert "daily spend limit for marketing messages" in refused.json["error"]["message"]
    assert refused.headers["X-Farebox-Limit"] == "day marketing"
    assert (await world.send(template())).status == 200


async def test_without_funds_the_sentence_is_that_of_the_balance(world: World) -> None:
    await set_limits(world, day={"all": "0.00"})
    refused = await world.send(template("summer_sale"))
    assert refused.json["error"]["message"] == OUT_OF_FUNDS
    assert "X-Farebox-Limit" not in refused.headers


@pytest.mark.parametrize("misfortune", [Behaviour(http_status=400, times=1), Behaviour(statuses=("failed",), times=1)])
async def test_a_fare_that_is_given_back_gives_its_part_of_the_limit_back(world: World, misfortune: Behaviour) -> None:
    await world.fund("10.00")
    await set_limits(world, day={"all": "0.025"}, month={"marketing": "0.025"})
    world.whatsapp.behave(misfortune)
    await marketing(world)
    await world.books_kept()
    assert await counts_agree(world) == {}
    assert await marketing(world) == 200
    assert await marketing(world) == 402


async def test_a_day_ends_and_a_month_goes_on(world: World) -> None:
    await world.fund("10.00")
    await set_limits(world, day={"all": "0.03"}, month={"marketing": "0.05"})
    middle = (today(world).replace(day=1) + timedelta(days=40)).replace(day=10)
    advance(world, (middle - today(world)).days * DAY_MS)
    assert [await marketing(world) for _ in range(2)] == [200, 402]
    await world.books_kept()
    advance(world, DAY_MS)
    assert [await marketing(world) for _ in range(2)] == [200, 402]
    await world.books_kept()
    advance(world, DAY_MS)
    refused = await world.send(template("summer_sale"))
    assert refused.headers["X-Farebox-Limit"] == "month marketing"
    await counts_agree(world)


async def test_many_sends_at_once_never_exceed_a_limit(world: World) -> None:
    await world.fund("10.00")
    await set_limits(world, day={"marketing": "0.25"})
    statuses = await asyncio.gather(*(marketing(world) for _ in range(40)))
    assert sorted(statuses) == [200] * 10 + [402] * 30
    await world.books_kept()
    await counts_agree(world)


async def test_in_shadow_a_limit_refuses_nothing_and_is_said(world: World) -> None:
    await world.fund("10.00")
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"mode": "shadow"})
    await set_limits(world, day={"all": "0.01"})
    answer = await world.send(template("summer_sale"))
    assert (answer.status, answer.headers["X-Farebox-Shadow"]) == (200, "would-refuse")


async def test_a_quote_says_what_a_limit_would_say(world: World) -> None:
    await world.fund("10.00")
    await set_limits(world, month={"all": "0.01"})
    quote = await world.admin("POST", "/v1/quotes", {"number": NUMBER, "to": USER, "category": "marketing"})
    assert quote["would_be"] == "refused"
    assert "monthly spend limit of this number: 0.00 of 0.01 USD" in quote["sentence"]


async def test_a_rebuilt_wallet_counts_what_the_ledger_says(world: World) -> None:
    """Random lives of messages, cut by losses of the wallet: what it counts is what the ledger says, always."""
    await world.fund("100.00")
    await set_limits(world, day={"all": "90.00"})
    dice = random.Random(5)
    lives = [("delivered",), ("failed",), (), ("sent", "delivered", "failed"), ("delivered", "read")]
    for _ in range(12):
        world.whatsapp.behave(Behaviour(statuses=dice.choice(lives), duplicate=dice.random() < 0.3))
        await asyncio.gather(
            *(
                world.send(template(dice.choice(("summer_sale", "order_update")), dice.choice((USER, GERMAN))))
                for _ in range(3)
            )
        )
        await world.books_kept()
        if dice.random() < 0.5:
            await world.gate.wallet._redis.flushall()
            await world.send(reaction())
        if dice.random() < 0.3:
            advance(world, dice.choice((DAY_MS, 20 * DAY_MS, 40 * DAY_MS)))
            await world.sweep.run()
        await counts_agree(world)
    assert await world.differences() == []


async def test_limits_are_shown_with_what_counts_against_them(world: World) -> None:
    await world.fund("10.00")
    world.whatsapp.behave(Behaviour(statuses=()))
    await marketing(world)
    shown = await set_limits(world, day={"all": "1.00", "marketing": "0.02"}, month={"utility": "3.00"})
    rows = {(row["period"], row["category"]): (row["limit"], row["spent"], row["left"]) for row in shown["limits"]}
    assert rows == {
        ("day", "all"): ("1.00", "0.025", "0.975"),
        ("day", "marketing"): ("0.02", "0.025", "0.00"),
        ("month", "utility"): ("3.00", "0.00", "3.00"),
    }
    assert await world.admin("GET", LIMITS) == shown
    (logged, *_) = (await world.admin("GET", "/v1/audit?kind=spend%20limit"))["audit"]
    assert (logged["subject"], logged["what"], logged["who"]) == (NUMBER, "created", "admin token")
    assert (await set_limits(world))["limits"] == []
    assert await marketing(world) == 200


@pytest.mark.parametrize("body", [{"week": {}}, {"day": {"postcards": "1.00"}}, {"day": {"all": "-1.00"}}])
async def test_a_limit_that_is_none_is_refused(world: World, body: dict[str, Any]) -> None:
    await world.admin("PUT", LIMITS, body, expect=422)


def test_the_sentence_says_what_is_reached_and_what_to_do() -> None:
    reached = Reached(Limit(Period.MONTH, "authentication_international", 50_000_000), 49_990_000)
    assert reached.sentence("EUR") == (
        "The message could not be sent. It would exceed the monthly spend limit for authentication international "
        "messages of this number: 49.99 of 50.00 EUR are spent or set aside. Please wait for the next month, or "
        "proceed to -> “Insights & Billing” in order to raise the limit. Your balance is not the reason; adding funds "
        "does not help."
    )
