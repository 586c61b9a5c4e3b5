"""Deliveries of messages that no send here knows are charged once, from their own price."""

import itertools
from typing import Any

import pytest

from farebox import unmatched
from farebox.core.webhook import Pricing, Status
from farebox.directory import Number
from farebox.gate import Gate
from farebox.rows import new_hold_id
from farebox.simulator import Behaviour
from farebox.unmatched import ANSWER_GRACE_MS, WHY
from harness import NUMBER, USER, World, template
from test_inbound import REGULAR, payload, post, status
from test_quarantine import shown

REGULAR_PRICE = Pricing("regular", "utility", billable=True)
DELIVERED, READ = ("delivered", REGULAR), ("read", REGULAR)
FREE_SERVICE = {"billable": False, "pricing_model": "PMP", "type": "free_customer_service", "category": "service"}


async def patience(world: World) -> None:
    """Let more time pass than a send may take."""
    wait_s = int(world.gate.settings.upstream_timeout_s) + ANSWER_GRACE_MS // 1000 + 1
    await world.admin("PUT", "/v1/clock", {"advance_s": wait_s})


@pytest.mark.parametrize(
    "said",
    [
        *itertools.permutations([("delivered", REGULAR), ("read", REGULAR), ("delivered", None)]),
        [("read", REGULAR)] * 3,
    ],
)
async def test_an_unknown_message_is_charged_once(world: World, said: list[tuple[str, Any]]) -> None:
    await world.fund("1.00")
    statuses = [status("wamid.x", name, **({"pricing": pricing} if pricing else {})) for name, pricing in said]
    for one in statuses:
        assert (await post(world, payload(statuses=[one])))[0] == 200
    await world.sweep.run()
    assert await world.balance() == {"available": "1.00", "held": "0.00"}  # a send may still be under way
    await patience(world)
    assert await world.balance() == {"available": "0.9966", "held": "0.00"}
    message = await world.message("wamid.x")
    assert (message["why"], message["state"], message["class"]) == (WHY, "settled", "paid")
    assert message["drift"] is None
    for one in statuses:
        await post(world, payload(statuses=[one]))
    await patience(world)
    assert await world.balance() == {"available": "0.9966", "held": "0.00"}
    await world.gate.wallet._redis.flushall()
    await world.send(template())
    await world.books_kept()
    assert await world.differences() == []


async def test_a_message_whose_answer_comes_while_it_is_adopted_is_charged_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.fund("1.00")
    wamid = (await world.send(template())).json["messages"][0]["id"]
    await world.books_kept()
    before = await world.balance()
    keep, looks = unmatched.keep_statuses, []

    async def late(gate: Gate, number: Number, statuses: list[Status], **named: Any) -> list[Status]:
        looks.append(wamid)
        return statuses if len(looks) == 1 else await keep(gate, number, statuses, **named)

    monkeypatch.setattr(unmatched, "keep_statuses", late)
    number = world.gate.directory.numbers[NUMBER]
    said = Status(wamid, "delivered", (USER,), world.gate.clock.now_ms(), "", REGULAR_PRICE, None, None)
    assert await unmatched.settle(world.gate, number, said)
    assert len(looks) > 1
    assert await world.balance() == before
    assert [hold.wamid for hold in await world.gate.ledger.find_holds([], [wamid])] == [wamid]


async def test_a_free_one_is_recorded_as_free_and_uses_a_unit(world: World) -> None:
    await post(world, payload(statuses=[status("wamid.free", pricing=FREE_SERVICE)]))
    await patience(world)
    message = await world.message("wamid.free")
    assert (message["class"], message["billed"], message["category"]) == ("free", "0.00", "service")
    await world.fund("1.00")
    await world.send(template())  # builds the wallet if there was none
    await world.books_kept()
    wallet = await world.gate.wallet._redis.hgetall(f"farebox:{{{NUMBER}}}:wallet")
    assert [value for name, value in wallet.items() if name.startswith("pool:")] == ["1"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "The message is not known here, and its delivery came without a price."),
        (
            {"pricing": {**REGULAR, "category": "gold"}},
            "The message is not known here, and its delivery can not be priced",
        ),
        ({"pricing": REGULAR, "id": ""}, "The status names no message, so nothing tells it from another one."),
    ],
)
async def test_without_a_price_it_is_quarantined(world: World, fields: dict[str, Any], reason: str) -> None:
    await world.fund("1.00")
    await post(world, payload(statuses=[{**status("wamid.u"), **fields}]))
    await patience(world)
    (row,) = await shown(world)
    assert row["kind"] == "unmatched"
    assert row["reason"].startswith(reason)
    told = await world.admin("POST", f"/v1/quarantine/{row['quarantine_id']}/replay")
    assert told["reason"].startswith(reason)
    assert await world.balance() == {"available": "1.00", "held": "0.00"}


async def test_its_reference_is_its_hold_id_if_it_can_be_one(world: World) -> None:
    await world.fund("1.00")
    ours, now_ms = new_hold_id(world.gate.clock.now_ms()), world.gate.clock.now_ms()
    first = status("wamid.a", pricing=REGULAR, biz_opaque_callback_data=str(ours))
    await post(world, payload(statuses=[first]))
    await patience(world)
    second = status("wamid.b", pricing=REGULAR, biz_opaque_callback_data=str(ours))  # a client's own word, used twice
    old = status("wamid.c", pricing=REGULAR, biz_opaque_callback_data=str(new_hold_id(now_ms - 60 * 86_400_000)))
    await post(world, payload(statuses=[second, old]))
    await patience(world)
    ids = [(await world.message(f"wamid.{letter}"))["hold_id"] for letter in "abc"]
    assert ids[0] == str(ours)
    assert len(set(ids)) == 3
    assert ids[2] != old["biz_opaque_callback_data"]
    assert await world.balance() == {"available": "0.9898", "held": "0.00"}
    assert await world.differences() == []


async def test_a_failure_of_an_unknown_message_is_forgotten(world: World) -> None:
    await post(world, payload(statuses=[status("wamid.f", "failed")]))
    await patience(world)
    assert await world.gate.ledger._pool.fetchval("SELECT count(*) FROM unmatched_status") == 0
    assert await shown(world) == []


async def test_a_status_that_waits_finds_its_message_by_reference(world: World) -> None:
    await world.fund("1.00")
    world.whatsapp.behave(Behaviour(statuses=()))
    hold_id = (await world.send(template())).headers["X-Farebox-Hold"]
    early = status("wamid.r", pricing=REGULAR, biz_opaque_callback_data=hold_id)
    pool = world.gate.ledger._pool
    wamid = await pool.fetchval("UPDATE hold SET number_id = number_id RETURNING wamid")
    await pool.execute("UPDATE hold SET wamid = 'wamid.other'")  # so that it is not met at once
    await post(world, payload(statuses=[early]))
    await pool.execute("UPDATE hold SET wamid = NULL")
    assert wamid is not None
    await world.sweep.run()
    assert (await world.message(hold_id))["state"] == "settled"
