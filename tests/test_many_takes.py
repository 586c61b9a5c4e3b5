"""Sends that are decided in one script call are decided as they would be one by one."""

import json
import random
from datetime import date
from typing import Any
from uuid import uuid4

import pytest
from redis.exceptions import ReadOnlyError, ResponseError

from farebox.asks import Ask, Decision, Gap, Mode, NewWallet, Part, Position
from farebox.core.limits import Limit, Period
from farebox.gate import Gate
from farebox.taking import MAX_PARTS_PER_CALL, in_calls, key_of, take_arguments
from past import FARE

NOW_MS = 1_764_000_000_000
NUMBERS = ("1", "2", "3")
PAID = {"when": "always", "fare": str(FARE), "paid": True}
OFFERS = [
    json.dumps(terms)
    for terms in (
        [PAID],
        [{"when": "always", "fare": "0"}],
        [{"when": "window", "window": "csw", "fare": "0"}, PAID],
        [{"when": "pool", "pool": "service:2026-11", "size": 4, "fare": "0", "paid": True}, PAID],
        [{"when": "conversation", "of": ["utility"], "fare": "0"}, {**PAID, "opens": "utility"}],
        [{**PAID, "opens_window": "fep", "for_ms": 1_000}],
    )
]
LIMITS = (
    Limit(Period.DAY, "", 9 * FARE),
    Limit(Period.MONTH, "utility", 5 * FARE),
    Limit(Period.DAY, "key:k", 4 * FARE),
)


def part(chance: random.Random) -> Part:
    user = f"1650555000{chance.randrange(3)}"
    return Part(str(uuid4()), user, chance.choice(("utility", "marketing")), chance.choice(OFFERS))


def some(chance: random.Random, count: int) -> list[Ask]:
    """Sends of several numbers by several keys; some are groups, some are asked again, in the same batch."""
    asks: list[Ask] = []
    for _ in range(count):
        number_id = chance.choice(NUMBERS)
        parts = tuple(part(chance) for _ in range(chance.choice((1, 1, 1, 3))))
        key, cover, pace = chance.choice(("", "key:k")), number_id == "2", 5 if number_id == "3" else None
        asks.append(Ask(number_id, parts, 0, cover, Mode.ENFORCE, NOW_MS, LIMITS, date(2026, 11, 24), key, pace))
        if chance.random() < 0.2:
            asks.append(chance.choice(asks))
    return asks


async def written_anew(gate: Gate, chance: random.Random) -> None:
    await gate.wallet._redis.flushall()
    wallets = [
        NewWallet(number_id, Position(7, chance.randrange(20) * FARE, 0, filled=True), {"day:": "2026-11-24 3400"})
        for number_id in NUMBERS
    ]
    await gate.wallet.rebuild(wallets)
    user = key_of("1", "user:16505550001")
    await gate.wallet._redis.hset(user, mapping={"epoch": "7", "csw": str(NOW_MS + 1)})


async def everything(gate: Gate) -> dict[Any, Any]:
    redis = gate.wallet._redis
    return {key: await redis.hgetall(key) for key in sorted(await redis.keys("farebox:*"))}


@pytest.mark.parametrize("seed", range(12))
async def test_a_batch_decides_what_its_sends_would_be_told_one_by_one(gate: Gate, seed: int) -> None:
    asks = some(random.Random(seed), 30)
    # Each number's sends by one key after the other's, which is the order in which a batch is put to the store.
    order = {(ask.number_id, ask.key): place for place, ask in reversed(list(enumerate(asks)))}
    in_turn = sorted(asks, key=lambda ask: order[ask.number_id, ask.key])
    await written_anew(gate, random.Random(seed))
    one_by_one = [(await gate.wallet._take_batch([ask]))[0] for ask in in_turn]
    alone = await everything(gate)
    await written_anew(gate, random.Random(seed))
    assert await gate.wallet._take_batch(in_turn) == one_by_one
    assert await everything(gate) == alone
    assert {type(decision) for decision in one_by_one} == {Decision}
    outcomes = {(decision.taken, decision.reached is None) for decision in one_by_one if isinstance(decision, Decision)}
    assert len(outcomes) > 1, "refused and taken ones"


async def test_what_is_wrong_with_one_number_is_not_the_others_business(gate: Gate) -> None:
    await written_anew(gate, random.Random(1))
    redis = gate.wallet._redis
    await redis.set(key_of("1", "holds"), "of another kind")
    await redis.delete(key_of("2", "wallet"))
    asks = [
        Ask(number_id, (Part(str(uuid4()), "16505550002", "utility", OFFERS[0]),), -FARE, False, Mode.ENFORCE, NOW_MS)
        for number_id in (*NUMBERS, "1")
    ]
    before = await redis.hgetall(key_of("1", "wallet"))
    wrong, missing, taken, also_wrong = await gate.wallet._take_batch(asks)
    assert isinstance(wrong, ResponseError)
    assert isinstance(also_wrong, ResponseError)
    assert missing is Gap.MISSING
    assert isinstance(taken, Decision)
    assert taken.taken
    assert await redis.hgetall(key_of("1", "wallet")) == before


async def test_what_the_store_says_of_itself_is_heard_by_the_client(gate: Gate) -> None:
    """Of a master that was demoted the client's connection must be told, or it would never look for the new one."""
    await written_anew(gate, random.Random(1))
    ask = Ask("3", (Part(str(uuid4()), "16505550002", "utility", OFFERS[0]),), -FARE, False, Mode.ENFORCE, NOW_MS)
    redis = gate.wallet._redis
    await redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        (answer,) = await gate.wallet._scripts._known([("take", *take_arguments([[ask]]))])
    finally:
        await redis.execute_command("REPLICAOF", "NO", "ONE")
    assert isinstance(answer, ReadOnlyError), repr(answer)


async def test_more_than_one_call_may_carry_and_more_than_lua_hands_to_one_command(gate: Gate) -> None:
    await gate.wallet.rebuild([NewWallet("1", Position(7, 10_000 * FARE, 0, filled=True), {})])
    group = tuple(Part(str(uuid4()), f"1650555{place:04}", "utility", OFFERS[0]) for place in range(1_024))
    single = [(Part(str(uuid4()), "16505550002", "utility", OFFERS[0]),) for _ in range(MAX_PARTS_PER_CALL + 1)]
    asks = [Ask("1", parts, 0, False, Mode.ENFORCE, NOW_MS) for parts in (group, *single)]
    assert [[len(places) for places in numbers] for numbers in in_calls(asks, shared=True)] == [
        [1],
        [MAX_PARTS_PER_CALL],
        [1],
    ]
    decisions = await gate.wallet._take_batch(asks)
    assert all(isinstance(decision, Decision) and decision.taken for decision in decisions)
    money = await gate.wallet.position("1")
    assert money is not None
    assert money.held_micros == (1_024 + MAX_PARTS_PER_CALL + 1) * FARE
    assert await gate.wallet._redis.hlen(key_of("1", "holds")) == 1_024 + MAX_PARTS_PER_CALL + 1


@pytest.mark.parametrize("shared", [False, True])
def test_a_call_is_about_several_numbers_only_where_they_share_it(shared: bool) -> None:
    asks = some(random.Random(1), 200)
    calls = in_calls(asks, shared=shared)
    assert sorted(place for numbers in calls for places in numbers for place in places) == list(range(len(asks)))
    assert all(
        sum(len(asks[place].parts) for places in numbers for place in places) <= MAX_PARTS_PER_CALL for numbers in calls
    )
    of_calls = [{asks[place].number_id for places in numbers for place in places} for numbers in calls]
    assert (max(map(len, of_calls)) > 1) == shared
    for numbers in calls:
        for places in numbers:
            assert len({(asks[place].number_id, asks[place].key) for place in places}) == 1
