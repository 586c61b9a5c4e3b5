"""A number that is closed: nothing is sent, nothing is added, and its funds are where they were said to go."""

from collections.abc import AsyncIterator

import pytest

from farebox.config import Settings
from farebox.payments.sandbox import LATE, Sandbox
from harness import NUMBER, World, template, text

PATH = f"/v1/numbers/{NUMBER}"
WHY = {"reason": "the shop has closed"}


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    async with World.open(settings.model_copy(update={"sandbox_payments": True})) as opened:
        yield opened


def provider(world: World) -> Sandbox:
    method = world.gate.payments["sandbox"]
    assert isinstance(method, Sandbox)
    return method


async def test_closing_gives_back_what_is_not_held_and_the_rest_later(world: World) -> None:
    await world.fund("1.005")
    for amount in ("2.00", "3.00"):
        await world.admin("POST", f"{PATH}/topups", {"amount": amount, "method": "sandbox"})
    held = await world.send(template())
    assert held.status == 200
    await world.books_kept()
    closed = await world.admin("POST", f"{PATH}/close", {"funds": "return", **WHY})
    assert closed["balance"]["available"] == "0.00"
    given_back = sorted(kept.standing.refunded_micros for kept in provider(world).payments.values())
    assert given_back == [2_000_000, 3_000_000]  # to the cards first
    assert closed["returned"] == "6.0016"  # but for the fare of the message, which is charged or still held
    again = await world.admin("POST", f"{PATH}/close", {"funds": "return", **WHY})
    assert (again["returned"], again["closed_at"]) == ("0.00", closed["closed_at"])
    assert await world.differences() == []


async def test_a_closed_number_sends_nothing_and_gets_nothing_until_it_is_opened(world: World) -> None:
    await world.fund("5.00")
    provider(world).next.append(LATE)
    late = await world.admin("POST", f"{PATH}/topups", {"amount": "2.00", "method": "sandbox"})
    closed = await world.admin("POST", f"{PATH}/close", {"funds": "keep", **WHY})
    assert (closed["returned"], closed["balance"]["available"]) == ("0.00", "5.00")
    for message in (template(), text()):
        refused = await world.send(message)
        assert (refused.status, refused.json["error"]["code"]) == (403, 10)
        assert refused.json["error"]["message"].startswith("This phone number is closed: nothing is sent from it.")
    for body in ({"amount": "1.00"}, {"amount": "1.00", "method": "sandbox"}):
        said = await world.admin("POST", f"{PATH}/topups", body, expect=422)
        assert said["detail"] == f"Number {NUMBER} is closed; open it with POST {PATH}/open."
    done = await world.admin("POST", f"{PATH}/topups/{late['topup_id']}/look")  # it was paid, so it is credited
    assert (done["state"], done["balance"]["available"]) == ("succeeded", "7.00")
    assert (await world.admin("POST", f"{PATH}/open"))["closed_at"] is None
    assert (await world.send(template())).status == 200
    await world.admin("POST", f"{PATH}/close", {"funds": "spend", **WHY}, expect=422)
