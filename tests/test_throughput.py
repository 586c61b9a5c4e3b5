"""A number's pace: what comes too fast waits for its turn, then it is told so, and nothing is charged."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from farebox import scopes
from farebox.simulator import Behaviour
from harness import NUMBER, WABA, World, template, text
from test_inbound import post


async def test_what_comes_too_fast_waits_its_turn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten a second: one at once and one more as a burst, ten that wait up to a second, and the rest is too much."""
    waits: list[float] = []

    async def no_sleep(seconds: float) -> None:
        waits.append(seconds)

    await world.fund("1.00")
    await world.send(template())
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"throughput": 10})
    now_ms = world.gate.clock.now_ms()
    monkeypatch.setattr(world.gate.clock, "now_ms", lambda: now_ms)
    monkeypatch.setattr(scopes, "asyncio", SimpleNamespace(sleep=no_sleep))
    world.whatsapp.behave(Behaviour(statuses=()))
    answers = await asyncio.gather(*(world.send(template()) for _ in range(15)))
    monkeypatch.undo()
    assert sorted(answer.status for answer in answers) == [200] * 12 + [429] * 3
    assert sorted(waits) == pytest.approx([at / 10 for at in range(1, 11)])
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.json["error"]["code"] == 130429
    assert refused.json["error"]["type"] == "OAuthException"
    assert "10 messages a second" in refused.json["error"]["error_data"]["details"]
    assert refused.headers["Retry-After"] == "2"
    await world.books_kept()
    assert (await world.balance())["held"] == "0.0408", "what was told to wait has taken nothing"
    assert await world.differences() == []


async def test_only_a_send_that_may_leave_takes_a_turn(world: World) -> None:
    """Without funds the answer is about funds; in shadow nothing waits; a clock that is set back holds nobody up."""
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"throughput": 1})
    assert [(await world.send(template())).status for _ in range(3)] == [402] * 3
    await world.fund("1.00")
    world.gate.clock._ahead_ms += 86_400_000
    assert (await world.send(template())).status == 200
    world.gate.clock._ahead_ms -= 86_400_000
    assert (await world.send(text())).status == 200
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"mode": "shadow"})
    assert [(await world.send(template())).status for _ in range(3)] == [200] * 3
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"throughput": 1_001}, expect=422)


def upgraded(display: object = "+1 631-555-1234", event: str = "THROUGHPUT_UPGRADE", waba: str = WABA) -> bytes:
    """A `phone_number_quality_update`, as WhatsApp posts it."""
    value = {"display_phone_number": display, "event": event, "current_limit": "TIER_UNLIMITED"}
    change = {"field": "phone_number_quality_update", "value": value}
    return json.dumps({"object": "whatsapp_business_account", "entry": [{"id": waba, "changes": [change]}]}).encode()


@pytest.mark.parametrize(
    ("body", "known", "after"),
    [
        (upgraded(), 80, 1_000),
        (upgraded("16315551234"), 80, 1_000),
        (upgraded(), None, None),  # nobody paced it
        (upgraded(event="UPGRADE"), 80, 80),  # of how many users a day it may write to
        (upgraded("+1 631-555-9999"), 80, 80),
        (upgraded(""), 80, 80),
        (upgraded(["16315551234"]), 80, 80),
        (upgraded(waba="999"), 80, 80),  # of an account that is none of ours
    ],
)
async def test_an_upgrade_by_whatsapp_raises_the_pace(
    world: World, body: bytes, known: int | None, after: int | None
) -> None:
    fields = {"throughput": known, "display_phone_number": "+1 631-555-1234"}
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", fields)
    for _ in range(2):  # told twice, it ends the same
        assert (await post(world, body))[0] == 200
    await world.books_kept()
    assert (await world.admin("GET", f"/v1/numbers/{NUMBER}"))["throughput"] == after
    assert world.gate.directory.numbers[NUMBER].throughput == after
    audit = await world.admin("GET", "/v1/audit?kind=number")
    assert (audit["audit"][0]["who"] == "WhatsApp") is (known != after)
