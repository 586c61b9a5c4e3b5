"""Holds that end together end as they would one by one."""

import json
import random
from uuid import UUID, uuid4

import pytest

import past
from farebox.asks import Closing
from farebox.core.hold import Event
from farebox.gate import Gate
from farebox.rows import End
from farebox.taking import key_of
from farebox.wallet import UNIT_BACK

FARE = past.FARE
NOW = past.moment(2026, 11)


async def test_every_hold_ends_as_it_is_told_whatever_the_others_are_told(gate: Gate) -> None:
    for number_id in ("1", "2"):
        await past.add_number(gate, number_id)
        await past.top_up(gate.ledger, 1_000_000, NOW, number_id)
    ends = []
    for place in range(60):
        number_id = str(1 + place % 2)
        ends.append(
            End(
                await past.record(gate.ledger, NOW, number_id),
                number_id,
                FARE + place // 2 % 3,
                json.dumps({"at_ms": place % 4, "status": "delivered"}),
                f"wamid.{place}" if place % 5 == 0 else None,
                f"c-{place}" if place % 7 == 0 else None,
                NOW + place if place % 7 == 0 else None,
                "service:2026-11" if place % 11 == 0 else None,
                json.dumps({"differs": ["price"]}) if place % 13 == 0 else None,
                "service" if place % 7 == 0 else None,
            )
        )
    foreign = End(await past.record(gate.ledger, NOW, "1"), "2", FARE)  # not the number's own hold
    ended = await gate.ledger.end(Event.DELIVER, [foreign, *ends], NOW)
    assert {end.hold_id for end in ended} == {end.hold_id for end in ends}
    rows = await gate.ledger._pool.fetch(
        "SELECT h.hold_id, number_id, billed_micros, webhook::text, wamid, c.conversation_id, "
        "(extract(epoch FROM conversation_until) * 1000)::bigint, pool, drift::text, opens "
        "FROM hold h LEFT JOIN conversation c USING (number_id, hold_id) WHERE state = 'settled'"
    )
    assert sorted(tuple(row) for row in rows) == sorted(tuple(end) for end in ends)
    assert await gate.ledger.fetch("usage_against_holds", None) == []
    assert await gate.ledger.end(Event.DELIVER, ends, NOW) == []


def closings(count: int, holds: list[UUID], chance: random.Random) -> list[Closing]:
    """Ends of holds of every kind: known to the wallet or not, of an older epoch, of several days, pools and keys."""
    keys = [None, uuid4(), uuid4()]
    return [
        Closing(
            hold_id=chance.choice(holds) if (older := chance.random() < 0.2) else holds.pop(),
            billed_micros=(billed := chance.choice((0, 0, FARE, 25_000))),
            unit=chance.choice(("", "", UNIT_BACK, "service:2026-11", "service:2026-12")),
            older=older,
            aside_micros=chance.choice((0, FARE)),
            pool=chance.choice((None, "service:2026-11")),
            category=chance.choice(("utility", "marketing")),
            day=chance.choice(("2026-11-30", "2026-12-01")) if billed else None,
            key_id=chance.choice(keys),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(5))
async def test_a_wallet_is_the_same_whether_holds_are_closed_together_or_one_by_one(gate: Gate, seed: int) -> None:
    chance, redis = random.Random(seed), gate.wallet._redis
    count = 2_500 if seed == 0 else 40  # more than Lua hands to one command
    wallet = {
        "epoch": "7",
        "available": "1000000000",
        "held": "1000000",
        "day": "2026-11-30 5",
        "pool:service:2026-11": "9",
    }
    taken = [uuid4() for _ in range(2 * count)]
    known = {str(hold): f"{chance.choice((0, FARE))}:1:{chance.choice(('', 'service:2026-11'))}" for hold in taken[::2]}
    for number_id in ("together", "apart"):
        await redis.hset(key_of(number_id, "wallet"), mapping=wallet)
        await redis.hset(key_of(number_id, "holds"), mapping=known)
    ends = closings(count, taken, chance)
    unique = list({end.hold_id: end for end in ends}.values())
    await gate.wallet.close("together", unique, 7)
    for end in unique:
        await gate.wallet.close("apart", [end], 7)
    for name in ("wallet", "holds"):
        assert await redis.hgetall(key_of("together", name)) == await redis.hgetall(key_of("apart", name))
    await gate.wallet.close("together", unique, 8)  # of another epoch
    assert await redis.hgetall(key_of("together", "wallet")) == await redis.hgetall(key_of("apart", "wallet"))


async def test_a_hold_that_is_named_twice_is_given_back_once(gate: Gate) -> None:
    redis, hold = gate.wallet._redis, uuid4()
    await redis.hset(key_of("1", "wallet"), mapping={"epoch": "1", "available": "0", "held": str(2 * FARE)})
    await redis.hset(key_of("1", "holds"), str(hold), f"{FARE}:1:")
    end = Closing(hold, 0, "", False, 0, None, "utility", None, None)
    await gate.wallet.close("1", [end, end, end._replace(category="marketing")], 1)
    assert await redis.hmget(key_of("1", "wallet"), "available", "held") == [str(FARE), str(FARE)]
