"""What a key may do: its categories, its pace, its rotation and its end, on every worker."""

import asyncio
from typing import Any

from farebox.directory import Key
from farebox.paces import Paces
from farebox.simulator import Behaviour
from harness import NUMBER, World, template, text


async def scoped(world: World, **scope: Any) -> Any:
    return await world.admin("POST", "/v1/keys", {"name": "scoped", "numbers": [NUMBER], **scope})


async def test_a_key_sends_only_its_categories(world: World) -> None:
    await world.fund("1.00")
    key = (await scoped(world, categories=["service", "authentication"]))["key"]
    refused = await world.send(template(), key=key)
    assert (refused.status, refused.json["error"]["code"]) == (403, 10)
    assert "service, authentication only, and this is utility" in refused.json["error"]["message"]
    assert (await world.send(text(), key=key)).status == 200
    assert await world.balance() == {"available": "1.00", "held": "0.00"}, "the text was of the pool"


async def test_a_key_has_its_pace(world: World) -> None:
    await world.fund("1.00")
    key = (await scoped(world, per_minute=1))["key"]
    assert (await world.send(template(), key=key)).status == 200
    refused = await world.send(template(), key=key)
    assert (refused.status, refused.json["error"]["code"]) == (429, 130429)
    assert int(refused.headers["Retry-After"]) > 30
    assert (await world.send(template())).status == 200, "another key is not held up"


async def test_a_key_spends_no_more_than_its_limits(world: World) -> None:
    """Of concurrent sends too, through a lost wallet, and beside the limits of the number and other keys."""
    await world.fund("10.00")
    made = await scoped(world, limits={"day": "0.10", "month": None})
    path, key = f"/v1/keys/{made['key_id']}/limits", made["key"]
    answers = await asyncio.gather(*(world.send(template("summer_sale"), key=key) for _ in range(9)))
    assert sorted(answer.status for answer in answers) == [200] * 4 + [402] * 5
    refused = next(answer for answer in answers if answer.status == 402)
    assert refused.headers["X-Farebox-Limit"] == "day key"
    assert "daily spend limit of this farebox key for this number: 0.10 of 0.10 USD" in refused.json["error"]["message"]
    assert [(await world.send(text(), key=key)).status, (await world.send(template("summer_sale"))).status] == [
        200,
        200,
    ]
    await world.books_kept()
    await world.gate.wallet._redis.flushall()
    assert (await world.send(template("summer_sale"), key=key)).status == 402, "a rebuilt wallet knows what was charged"
    shown = await world.admin("PUT", path, {"day": "0.15", "month": "0.125"})
    rows = [(row["phone_number_id"], row["period"], row["limit"], row["spent"], row["left"]) for row in shown["limits"]]
    assert rows == [(NUMBER, "day", "0.15", "0.10", "0.05"), (NUMBER, "month", "0.125", "0.10", "0.025")]
    assert [(await world.send(template("summer_sale"), key=key)).status for _ in range(2)] == [200, 402]
    await world.books_kept()
    assert (await world.admin("GET", path))["limits"][0]["spent"] == "0.125"
    (change, *_) = (await world.admin("GET", "/v1/audit?kind=key"))["audit"]
    assert change["after"] == {"day_limit_micros": 150_000, "month_limit_micros": 125_000}
    await world.admin("PUT", path, {"day": "-1.00"}, expect=422)
    assert await world.differences() == []


async def test_what_a_key_gets_back_it_may_spend_again(world: World) -> None:
    await world.fund("10.00")
    key = (await scoped(world, limits={"month": "0.025"}))["key"]
    for misfortune in (Behaviour(http_status=400, times=1), Behaviour(statuses=("failed",), times=1)):
        world.whatsapp.behave(misfortune)
        await world.send(template("summer_sale"), key=key)
        await world.books_kept()
    world.whatsapp.behave(Behaviour(statuses=(), times=1))
    assert [(await world.send(template("summer_sale"), key=key)).status for _ in range(2)] == [200, 402]
    await world.gate.wallet._redis.flushall()
    assert (await world.send(template("summer_sale"), key=key)).status == 402, "what is set aside is read again too"


def test_the_pace_is_steady_and_lets_a_burst_pass() -> None:
    key, paces = Key(None, "k", (), per_minute=60), Paces()  # type: ignore[arg-type]
    at_once = [paces.wait_s(key, 100.0, workers=1) for _ in range(8)]
    assert at_once[:6] == [0] * 6
    assert at_once[6] == at_once[7] == 1, "what is refused is not counted"
    assert paces.wait_s(key, 101.0, workers=1) == 0
    assert paces.wait_s(key, 101.0, workers=1) == 1
    taken = sum(paces.wait_s(key, 200 + at / 10, workers=2) == 0 for at in range(600))
    assert 30 <= taken <= 34, "of two workers each has half of a minute's sixty"


async def test_a_rotated_key_works_on_for_a_while(world: World) -> None:
    await world.fund("1.00")
    made = await scoped(world)
    path = f"/v1/keys/{made['key_id']}"
    rotated = await world.admin("POST", f"{path}/rotate", {"overlap_s": 3600})
    assert rotated["key"] != made["key"]
    assert [(await world.send(template(), key=key["key"])).status for key in (made, rotated)] == [200, 200]
    world.gate.clock._ahead_ms += 3_600_000
    assert [(await world.send(template(), key=key["key"])).status for key in (made, rotated)] == [401, 200]
    again = await world.admin("POST", f"{path}/rotate", {"overlap_s": 0})
    assert [(await world.send(template(), key=key["key"])).status for key in (rotated, again)] == [401, 200]
    await world.admin("DELETE", path)
    assert (await world.send(template(), key=again["key"])).status == 401
    await world.admin("POST", f"{path}/rotate", {}, expect=404)


async def test_when_a_key_was_used_last(world: World) -> None:
    made = await scoped(world)
    await world.send(template(), key=made["key"])
    await world.gate.directory.note_use(world.gate.ledger)
    shown = {key["key_id"]: key for key in (await world.admin("GET", "/v1/keys"))["keys"]}
    assert shown[made["key_id"]]["last_used_at"] is not None
    assert made["last_used_at"] is None
