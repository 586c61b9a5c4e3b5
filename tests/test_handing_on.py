"""A conversation whose first message failed is handed to the next one, while that ends."""

from typing import Any

import pytest

from farebox.core.hold import Event
from farebox.rows import Resolution
from farebox.simulator import Behaviour
from harness import GERMAN, NUMBER, World, template
from test_conversations import MARKETING, say, send


@pytest.fixture
async def world(world: World) -> World:
    """A number pinned to the conversation world, whose WhatsApp says nothing by itself."""
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"regime": "cbp-2023-06"})
    await world.fund("1.00")
    world.whatsapp.behave(Behaviour(statuses=()))
    return world


async def hands_on(world: World, monkeypatch: pytest.MonkeyPatch, event: Event, *, ends_first: bool = False) -> str:
    """Three messages of which the first fails. Another worker has read the second already, and ends it meanwhile.

    It ends in the ledger just before it would be handed the conversation, or just after. Return the third.
    """
    first, second, third = [(await send(world, template("summer_sale", GERMAN)))[0] for _ in range(3)]
    (rider,) = await world.gate.ledger.find_holds([], [second])
    delivered = Resolution(rider, 136_500, conversation_id="c-1")
    carry = world.gate.ledger.carry

    async def ends() -> None:
        monkeypatch.setattr(world.gate.ledger, "carry", carry)
        await world.gate.funds.resolve(event, [delivered if event is Event.DELIVER else Resolution(rider, 0)])

    async def meanwhile(*asked: Any) -> int | None:
        if ends_first:
            await ends()
            return await carry(*asked)
        carried = await carry(*asked)
        await ends()
        return carried

    monkeypatch.setattr(world.gate.ledger, "carry", meanwhile)
    await say(world, first, "failed")
    return third


async def test_a_delivery_that_was_read_before_its_message_took_over_leaves_nothing_pending(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody noted until when it is open: better a fare too much set aside than none for what WhatsApp will bill."""
    await hands_on(world, monkeypatch, Event.DELIVER)
    assert await world.balance() == {"available": "0.8635", "held": "0.00"}
    await world.admin("PUT", "/v1/clock", {"advance_s": 48 * 3_600})
    assert (await send(world, template("summer_sale", GERMAN)))[2] == MARKETING
    assert await world.differences() == []


async def test_a_failure_that_was_read_before_its_message_took_over_hands_on_what_it_was_handed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = await hands_on(world, monkeypatch, Event.FAIL)
    assert await world.balance() == {"available": "0.8635", "held": MARKETING}
    assert (await world.message(third))["fare"] == MARKETING
    assert (await send(world, template("summer_sale", GERMAN)))[2] == "0.00", "it is pending"
    await say(world, third, "delivered")
    assert await world.balance() == {"available": "0.8635", "held": "0.00"}
    assert (await send(world, template("summer_sale", GERMAN)))[2] == "0.00", "it is open"
    assert await world.differences() == []


@pytest.mark.parametrize("event", [Event.DELIVER, Event.FAIL])
async def test_nothing_is_pending_for_a_message_that_ended_before_it_could_take_over(
    world: World, monkeypatch: pytest.MonkeyPatch, event: Event
) -> None:
    monkeypatch.setattr(world.gate.rebuild, "later", lambda *_: None)  # until then sends ask the wallet as it is
    await hands_on(world, monkeypatch, event, ends_first=True)
    assert (await send(world, template("summer_sale", GERMAN)))[2] == MARKETING
