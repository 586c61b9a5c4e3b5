"""Conversation-based pricing: one charge for all messages of 24 hours, counted from delivery."""

from typing import Any
from uuid import UUID

import pytest

from farebox.core.hold import Event
from farebox.rows import KnownHold, Resolution
from farebox.simulator import Behaviour
from harness import GERMAN, NUMBER, World, template, text
from test_inbound import payload, post

MARKETING, UTILITY = "0.1365", "0.055"  # to Germany, on the card of 2024-11
HOUR_S = 3_600


@pytest.fixture
async def world(world: World) -> World:
    """A number pinned to the conversation world, whose WhatsApp says nothing by itself."""
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"regime": "cbp-2023-06"})
    world.whatsapp.behave(Behaviour(statuses=()))
    return world


async def send(world: World, message: dict[str, Any]) -> tuple[str, str, str]:
    """Wamid, class and fare of a message that was taken."""
    answer = await world.send(message)
    assert answer.status == 200, answer.body
    return answer.json["messages"][0]["id"], answer.headers["X-Farebox-Class"], answer.headers["X-Farebox-Fare"]


async def say(world: World, wamid: str, said: str, category: str = "marketing", conversation: str = "c-1") -> None:
    now_s = world.gate.clock.now_ms() // 1000
    pricing = {"billable": category != "free", "pricing_model": "CBP", "category": category}
    fields = {"pricing": pricing, "conversation": {"id": conversation, "origin": {"type": category}}}
    status = {
        "id": wamid,
        "status": said,
        "timestamp": str(now_s),
        "recipient_id": GERMAN,
        **(fields if said == "delivered" else {}),
    }
    assert (await post(world, payload(statuses=[status])))[0] == 200


async def pass_time(world: World, hours: float) -> None:
    await world.admin("PUT", "/v1/clock", {"advance_s": int(hours * HOUR_S)})


async def test_a_conversation_is_charged_once_for_all_its_messages(world: World) -> None:
    await world.fund("1.00")
    first, *opened = await send(world, template("summer_sale", GERMAN))
    assert opened == ["paid", MARKETING]
    second, *rode = await send(world, template("summer_sale", GERMAN))
    assert rode == ["paid", "0.00"]
    reply, *rode = await send(world, text(GERMAN))
    assert rode == ["paid", "0.00"], "a message that is no template rides whatever is open"
    for wamid in (second, first, reply):  # whichever comes first is charged, the others are not
        await say(world, wamid, "delivered")
    assert await world.balance() == {"available": "0.8635", "held": "0.00"}
    assert await world.differences() == []
    billed = [(await world.message(wamid))["billed"] for wamid in (first, second, reply)]
    assert sorted(billed) == ["0.00", "0.00", MARKETING]


async def test_each_category_has_its_own_conversation(world: World) -> None:
    await world.fund("1.00")
    assert (await send(world, template("summer_sale", GERMAN)))[2] == MARKETING
    assert (await send(world, template("order_update", GERMAN)))[2] == UTILITY
    assert (await send(world, template("order_update", GERMAN)))[2] == "0.00"


async def test_a_conversation_lasts_24_hours_from_its_delivery(world: World) -> None:
    await world.fund("1.00")
    first, *_ = await send(world, template("summer_sale", GERMAN))
    await pass_time(world, 30)  # pending all the while
    assert (await send(world, template("summer_sale", GERMAN)))[2] == "0.00"
    await say(world, first, "delivered")
    await pass_time(world, 23.9)
    assert (await send(world, template("summer_sale", GERMAN)))[2] == "0.00"
    await pass_time(world, 0.2)
    assert (await send(world, template("summer_sale", GERMAN)))[2] == MARKETING


async def test_at_zero_a_message_in_a_paid_conversation_is_refused_and_in_a_free_one_it_passes(world: World) -> None:
    reply, *taken = await send(world, text(GERMAN))
    assert taken == ["free", "0.00"], "a unit of the free tier opened a service conversation"
    assert (await world.send(text(GERMAN))).status == 200
    await say(world, reply, "failed")
    await world.fund(MARKETING)
    first, *_ = await send(world, template("summer_sale", GERMAN))
    await say(world, first, "delivered")
    assert await world.balance() == {"available": "0.00", "held": "0.00"}
    assert (await world.send(template("summer_sale", GERMAN))).status == 402
    assert (await world.send(text("16505551234"))).status == 200, "another user's free conversation"


async def test_if_the_opener_fails_the_next_message_carries_the_fare(world: World) -> None:
    await world.fund("1.00")
    first, *_ = await send(world, template("summer_sale", GERMAN))
    second, *_ = await send(world, template("summer_sale", GERMAN))
    third, *_ = await send(world, template("summer_sale", GERMAN))
    await say(world, first, "failed")
    assert await world.balance() == {"available": "0.8635", "held": MARKETING}
    carried = await world.message(second)
    assert (carried["fare"], carried["class"]) == (MARKETING, "paid")
    await say(world, second, "failed")
    assert await world.balance() == {"available": "0.8635", "held": MARKETING}
    await say(world, third, "delivered")
    assert await world.balance() == {"available": "0.8635", "held": "0.00"}
    assert (await send(world, template("summer_sale", GERMAN)))[2] == "0.00"
    assert await world.differences() == []


async def test_if_the_message_that_took_over_fails_a_late_delivery_keeps_the_conversation_open(world: World) -> None:
    """WhatsApp says failed, and delivered after all: by then the next message has carried the conversation on."""
    await world.fund("1.00")
    first, second, third = [(await send(world, template("summer_sale", GERMAN)))[0] for _ in range(3)]
    await say(world, first, "failed")
    await say(world, first, "delivered")
    await say(world, second, "failed")
    assert (await world.message(third))["fare"] == "0.00", "nobody carries what is open"
    assert (await send(world, template("summer_sale", GERMAN)))[2] == "0.00"
    await world.gate.wallet._redis.flushall()
    assert (await send(world, template("summer_sale", GERMAN)))[2] == "0.00"
    assert await world.balance() == {"available": "0.8635", "held": "0.00"}
    assert await world.differences() == []


async def test_a_failure_that_reaches_the_wallet_after_the_delivery_closes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers hear of one message: by the ledger it failed and was then delivered, by the wallet the reverse."""
    await world.fund("1.00")
    first, *_ = await send(world, template("summer_sale", GERMAN))
    next_rider = world.gate.ledger.next_rider

    async def delivered_meanwhile(opener: UUID) -> KnownHold | None:
        rider = await next_rider(opener)
        (hold,) = await world.gate.ledger.find_holds([], [first])
        until_ms = world.gate.clock.now_ms() + 24 * HOUR_S * 1000
        delivery = Resolution(hold, 136_500, conversation_id="c-1", conversation=("marketing", until_ms))
        await world.gate.funds.resolve(Event.DELIVER, [delivery])
        return rider

    monkeypatch.setattr(world.gate.ledger, "next_rider", delivered_meanwhile)
    await say(world, first, "failed")
    assert (await send(world, template("summer_sale", GERMAN)))[2] == "0.00"
    assert await world.balance() == {"available": "0.8635", "held": "0.00"}


@pytest.mark.parametrize("lost", [False, True])
async def test_the_category_that_whatsapp_names_is_the_one_that_is_open(world: World, *, lost: bool) -> None:
    """A reply that took a template's conversation over opens one for replies; after a lost wallet too."""
    await world.fund("1.00")
    first, *_ = await send(world, template("summer_sale", GERMAN))
    reply, *_ = await send(world, text(GERMAN))
    await say(world, first, "failed")
    assert (await world.message(reply))["fare"] == MARKETING
    await say(world, reply, "delivered", category="service")
    if lost:
        await world.gate.wallet._redis.flushall()
    assert (await send(world, text(GERMAN)))[2] == "0.00"
    assert (await send(world, template("summer_sale", GERMAN)))[2] == MARKETING


async def test_if_the_only_message_fails_the_conversation_never_was(world: World) -> None:
    await world.fund("1.00")
    first, *_ = await send(world, template("summer_sale", GERMAN))
    await say(world, first, "failed")
    assert await world.balance() == {"available": "1.00", "held": "0.00"}
    assert (await send(world, template("summer_sale", GERMAN)))[2] == MARKETING


async def test_a_rejected_opener_never_was_either(world: World) -> None:
    await world.fund("1.00")
    world.whatsapp.behave(Behaviour(times=1, http_status=400, code=131009), Behaviour(statuses=()))
    assert (await world.send(template("summer_sale", GERMAN))).status == 400
    assert (await send(world, template("summer_sale", GERMAN)))[2] == MARKETING


@pytest.mark.parametrize("delivered", [False, True])
async def test_conversations_survive_a_lost_wallet(world: World, delivered: bool) -> None:
    await world.fund("1.00")
    first, *_ = await send(world, template("summer_sale", GERMAN))
    if delivered:
        await say(world, first, "delivered")
    await world.gate.wallet._redis.flushall()
    assert (await send(world, template("summer_sale", GERMAN)))[1:] == ("paid", "0.00")
    assert await world.differences() == []


async def test_whatsapp_may_see_two_conversations_where_we_saw_one(world: World) -> None:
    await world.fund("1.00")
    first, *_ = await send(world, template("summer_sale", GERMAN))
    second, *_ = await send(world, template("summer_sale", GERMAN))
    await say(world, first, "delivered", conversation="c-1")
    await say(world, second, "delivered", conversation="c-2")
    assert await world.balance() == {"available": "0.727", "held": "0.00"}
    assert await world.differences() == []


async def test_a_free_service_conversation_takes_one_unit(world: World) -> None:
    for _ in range(3):
        await send(world, text(GERMAN))
    wallet = await world.gate.wallet._redis.hgetall(f"farebox:{{{NUMBER}}}:wallet")
    assert [value for name, value in wallet.items() if name.startswith("pool:")] == ["1"]


async def units(world: World) -> list[str]:
    wallet = await world.gate.wallet._redis.hgetall(f"farebox:{{{NUMBER}}}:wallet")
    return [value for name, value in wallet.items() if name.startswith("pool:")]


async def test_a_rider_that_ends_while_it_takes_over_the_unit_keeps_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wallet takes first: a rider that has ended by the time the ledger is asked must not leave a unit taken."""
    first, *_ = await send(world, text(GERMAN))
    second, *_ = await send(world, text(GERMAN))
    assert await units(world) == ["1"]
    carry = world.gate.ledger.carry

    async def rider_ends_first(*asked: Any) -> int | None:
        monkeypatch.setattr(world.gate.ledger, "carry", carry)
        (rider,) = await world.gate.ledger.find_holds([], [second])
        await world.gate.funds.resolve(Event.DELIVER, [Resolution(rider, 0)])
        return await carry(*asked)

    monkeypatch.setattr(world.gate.ledger, "carry", rider_ends_first)
    await say(world, first, "failed")
    await world.gate.rebuild.settled()
    assert await units(world) == []  # a rebuilt wallet does not count what is not used
    assert await world.differences() == []


async def test_user_and_business_initiated_conversations(world: World) -> None:
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"regime": "cbp-2022-02"})
    answer = await world.send(template("order_update", GERMAN))
    assert answer.headers["X-Farebox-Class"] == "free", "the free tier covers both kinds"
    opened = await world.message(answer.headers["X-Farebox-Hold"])
    assert "free conversations" in opened["why"]
    await world.whatsapp.write_in("16505551234")
    await world.books_kept()
    answer = await world.send(text("16505551234"))
    assert (await world.message(answer.headers["X-Farebox-Hold"]))["evidence"].startswith("csw until")
