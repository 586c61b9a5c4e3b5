"""A group message costs a fare for each member; it is accepted or refused as a whole."""

from typing import Any

from farebox.core.reply import OUT_OF_FUNDS
from farebox.simulator import Behaviour
from harness import GERMAN, NUMBER, USER, World, template, text

BRAZILIAN = "5511987654321"  # utility 0.0068


def to_group(group_id: str, message: dict[str, Any]) -> dict[str, Any]:
    return {**message, "to": group_id, "recipient_type": "group"}


async def test_a_group_send_holds_a_fare_for_each_member_and_settles_each(world: World) -> None:
    await world.fund("1.00")
    group = world.whatsapp.add_group([USER, GERMAN, BRAZILIAN])
    world.whatsapp.behave(Behaviour(statuses=()))
    answer = await world.send(to_group(group, template()))
    assert (answer.status, answer.headers["X-Farebox-Fare"]) == (200, "0.0652")  # 0.0034 + 0.0550 + 0.0068
    assert await world.balance() == {"available": "0.9348", "held": "0.0652"}
    await world.whatsapp.post_status(answer.json["messages"][0]["id"], "delivered")
    await world.books_kept()
    assert await world.balance() == {"available": "0.9348", "held": "0.00"}
    assert await world.differences() == []


async def test_a_group_that_fails_gives_all_of_it_back(world: World) -> None:
    await world.fund("1.00")
    group = world.whatsapp.add_group([USER, GERMAN])
    world.whatsapp.behave(Behaviour(statuses=("sent", "failed")))
    await world.send(to_group(group, template()))
    await world.books_kept()
    assert await world.balance() == {"available": "1.00", "held": "0.00"}
    assert await world.differences() == []


async def test_a_rejected_group_send_gives_all_of_it_back(world: World) -> None:
    await world.fund("1.00")
    group = world.whatsapp.add_group([USER, GERMAN])
    world.whatsapp.behave(Behaviour(http_status=400, code=131009))
    assert (await world.send(to_group(group, template()))).status == 400
    assert await world.balance() == {"available": "1.00", "held": "0.00"}


async def test_without_funds_for_everybody_nobody_is_written_to(world: World) -> None:
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"funds_rule": "cover"})
    await world.fund("0.0583")
    group = world.whatsapp.add_group([USER, GERMAN])  # 0.0584
    answer = await world.send(to_group(group, template()))
    assert (answer.status, answer.json["error"]["message"]) == (402, OUT_OF_FUNDS)
    assert await world.balance() == {"available": "0.0583", "held": "0.00"}
    await world.fund("0.0001")
    assert (await world.send(to_group(group, template()))).status == 200


async def test_a_group_takes_a_free_unit_for_each_member(world: World) -> None:
    await world.fund("1.00")
    group = world.whatsapp.add_group([USER, GERMAN, BRAZILIAN])
    world.whatsapp.behave(Behaviour(statuses=()))
    in_force = world.gate.tariffs.at(world.gate.directory.numbers[NUMBER], world.gate.clock.now_ms())
    await world.send(text())  # makes the wallet
    wallet, pool = f"farebox:{{{NUMBER}}}:wallet", f"pool:{in_force.tariff.pool(in_force.month)}"
    await world.gate.wallet._redis.hset(wallet, pool, "998")
    answer = await world.send(to_group(group, text()))
    assert (answer.headers["X-Farebox-Class"], answer.headers["X-Farebox-Fare"]) == ("paid", "0.0068")
    assert await world.gate.wallet._redis.hget(wallet, pool) == "1000"


async def test_a_group_that_nobody_knows_is_one_sentence(world: World) -> None:
    answer = await world.send(to_group("no-such-group", template()))
    assert answer.status == 400
    assert "members of this group" in answer.json["error"]["message"]
    assert world.whatsapp.sent == []
