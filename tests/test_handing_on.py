"""A conversation whose first message failed is handed to the next one, while that ends or a store is away."""

from typing import Any

import pytest

from farebox.core.hold import Event
from farebox.ledger import LedgerUnavailableError
from farebox.rows import Resolution
from farebox.simulator import Behaviour
from farebox.simulator.config import Number
from harness import GERMAN, NUMBER, WABA, World, template
from test_conversations import MARKETING, say, send

ANOTHER = "106540352242933"


@pytest.fixture
async def world(world: World) -> World:
    """Two numbers pinned to the conversation world, whose WhatsApp says nothing by itself."""
    world.whatsapp.add_number(Number(phone_number_id=ANOTHER, waba_id=WABA))
    await world.add_number(ANOTHER)
    world.key = await world.make_key(NUMBER, ANOTHER)
    for number_id in (NUMBER, ANOTHER):
        await world.admin("PATCH", f"/v1/numbers/{number_id}", {"regime": "cbp-2023-06"})
        await world.fund("1.00", number_id)
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


async def test_a_fare_that_was_taken_from_a_wallet_of_before_is_not_carried(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger was asked, did not answer, and is told when the wallet was rebuilt without it: that shows too much."""
    first, _ = [(await send(world, template("summer_sale", GERMAN)))[0] for _ in range(2)]
    carry, number = world.gate.ledger.carry, world.gate.directory.numbers[NUMBER]

    async def comes_late(*asked: Any) -> int | None:
        (*_, epoch) = asked
        await world.gate.rebuild(number, stale_epoch=epoch)
        return await carry(*asked)

    monkeypatch.setattr(world.gate.ledger, "carry", comes_late)
    await say(world, first, "failed")
    assert await world.balance() == {"available": "1.00", "held": "0.00"}
    assert (await send(world, template("summer_sale", GERMAN)))[2] == MARKETING
    assert await world.differences() == []


@pytest.mark.parametrize("query", ["next_rider", "carry_conversation", "conversations_of"])
async def test_a_ledger_that_goes_away_after_holds_have_ended_keeps_back_nobodys_money(
    world: World, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    """The holds of two numbers end in one call; who carries the fares of their conversations, nobody can say."""
    wamids = []
    for number_id in (NUMBER, ANOTHER):
        opener, _ = [await world.send(template("summer_sale", GERMAN), number_id=number_id) for _ in range(2)]
        wamids.append(opener.json["messages"][0]["id"])
    await world.gate.ledger.noted()
    holds = await world.gate.ledger.find_holds([], wamids)
    fetch = world.gate.ledger.fetch

    async def goes_away(name: str, *arguments: Any) -> Any:
        if name == query:
            raise LedgerUnavailableError
        return await fetch(name, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(world.gate.ledger, "fetch", goes_away)
        patch.setattr(world.gate.rebuild, "_in_background", lambda _, work: work.close())
        ended = await world.gate.funds.resolve(Event.FAIL, [Resolution(hold, 0) for hold in holds])
    assert {end.number_id for end in ended} == {NUMBER, ANOTHER}
    await world.gate.rebuild._mend()
    for number_id in (NUMBER, ANOTHER):
        assert await world.balance(number_id) == {"available": "1.00", "held": "0.00"}
        answer = await world.send(template("summer_sale", GERMAN), number_id=number_id)
        assert answer.headers["X-Farebox-Fare"] == MARKETING, "nothing is pending"
    assert await world.differences() == []
