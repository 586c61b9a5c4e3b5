import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from farebox.core.fare import price
from farebox.core.hold import Event
from farebox.core.message import Kind, Message
from farebox.directory import Number
from farebox.funds import Fare, Refused, Reserved
from farebox.gate import Gate, open_gate
from farebox.rebuild import Rebuild
from farebox.reconcile import compare
from farebox.rows import Resolution
from farebox.sql import queries

FARE = 3_400  # a utility template to North America


@pytest.fixture
async def number(gate: Gate) -> Number:
    pool = gate.ledger._pool
    await pool.execute("INSERT INTO account (account_id, name, currency, created_at) VALUES ('a', 'A', 'USD', now())")
    await pool.execute(
        "INSERT INTO number (number_id, account_id, currency, created_at) VALUES ('1', 'a', 'USD', now())"
    )
    await pool.execute("INSERT INTO balance VALUES ('1')")
    await gate.directory.load(gate.ledger)
    return gate.directory.numbers["1"]


async def fund(gate: Gate, number: Number, micros: int) -> None:
    assert await gate.funds.credit(
        number, topup_id=uuid4(), amount_micros=micros, reference=str(uuid4()), method="manual"
    )


async def reserve(gate: Gate, number: Number, kind: Kind = Kind.TEMPLATE) -> Reserved | Refused:
    message = Message(kind, user="16505551234", template_name="t" if kind is Kind.TEMPLATE else "")
    priced = price(message, template_category="utility", tariff=gate.tariffs.at(number, gate.clock.now_ms()))
    return await gate.funds.reserve(number, message, [Fare(message.user, priced, message.user)])


async def agreed(gate: Gate) -> tuple[int, int]:
    """Available and held, after checking that wallet and ledger agree on them."""
    (row,) = [row async for row in compare(gate.ledger, gate.wallet)]
    assert row.differences == []
    assert row.wallet_available_micros is not None
    assert row.wallet_held_micros is not None
    return row.wallet_available_micros, row.wallet_held_micros


async def test_reserve_sets_the_fare_aside(gate: Gate, number: Number) -> None:
    await fund(gate, number, 10 * FARE)
    reserved = await reserve(gate, number)
    assert isinstance(reserved, Reserved)
    assert (reserved.fare_micros, reserved.available_micros) == (FARE, 9 * FARE)
    assert await agreed(gate) == (9 * FARE, FARE)


async def test_a_refusal_changes_nothing(gate: Gate, number: Number) -> None:
    await reserve(gate, number, Kind.REACTION)  # makes the wallet
    assert await reserve(gate, number) == Refused(0)
    assert await agreed(gate) == (0, 0)
    assert await gate.ledger._pool.fetchval("SELECT count(*) FROM hold WHERE class = 'paid'") == 0


async def test_the_last_fare_may_go_below_zero_by_less_than_one_fare(gate: Gate, number: Number) -> None:
    await fund(gate, number, 1)
    assert isinstance(await reserve(gate, number), Reserved)
    assert await agreed(gate) == (1 - FARE, FARE)
    assert await reserve(gate, number) == Refused(1 - FARE)


async def test_concurrent_sends_never_share_the_last_cent(gate: Gate, number: Number) -> None:
    await fund(gate, number, 7 * FARE)
    outcomes = await asyncio.gather(*(reserve(gate, number) for _ in range(50)))
    assert sum(isinstance(outcome, Reserved) for outcome in outcomes) == 7
    assert await agreed(gate) == (0, 7 * FARE)


async def resolved(gate: Gate, reserved: Reserved, event: Event, billed_micros: int) -> int:
    (hold,) = await gate.ledger.find_holds([reserved.hold_id], [])
    return len(await gate.funds.resolve(event, [Resolution(hold, billed_micros)]))


@pytest.mark.parametrize("billed", [0, 1_000, FARE, 25_000])
async def test_settling_charges_the_bill_once(gate: Gate, number: Number, billed: int) -> None:
    await fund(gate, number, 10 * FARE)
    reserved = await reserve(gate, number)
    assert isinstance(reserved, Reserved)
    assert await resolved(gate, reserved, Event.DELIVER, billed) == 1
    assert await agreed(gate) == (10 * FARE - billed, 0)
    assert await resolved(gate, reserved, Event.DELIVER, billed) == 0
    assert await resolved(gate, reserved, Event.FAIL, 0) == 0
    assert await agreed(gate) == (10 * FARE - billed, 0)


async def test_a_delivery_after_a_failure_is_charged_once_and_flagged(gate: Gate, number: Number) -> None:
    await fund(gate, number, 10 * FARE)
    reserved = await reserve(gate, number)
    assert isinstance(reserved, Reserved)
    assert await resolved(gate, reserved, Event.FAIL, 0) == 1
    assert await agreed(gate) == (10 * FARE, 0)
    assert await resolved(gate, reserved, Event.DELIVER, FARE) == 1
    assert await agreed(gate) == (9 * FARE, 0)
    assert await gate.ledger._pool.fetchval("SELECT late FROM hold") is True


async def test_a_failed_message_gives_its_free_unit_back(gate: Gate, number: Number) -> None:
    reserved = await reserve(gate, number, Kind.SERVICE)
    assert isinstance(reserved, Reserved)
    assert reserved.fare_micros == 0
    used = await gate.wallet._redis.hgetall("farebox:{1}:wallet")
    assert [value for name, value in used.items() if name.startswith("pool:")] == ["1"]
    await gate.funds.reject(reserved)
    used = await gate.wallet._redis.hgetall("farebox:{1}:wallet")
    assert [value for name, value in used.items() if name.startswith("pool:")] == ["0"]


async def test_a_lost_wallet_is_rebuilt_with_holds_pools_and_the_next_epoch(gate: Gate, number: Number) -> None:
    await fund(gate, number, 10 * FARE)
    paid, free = await reserve(gate, number), await reserve(gate, number, Kind.SERVICE)
    assert isinstance(paid, Reserved)
    assert isinstance(free, Reserved)
    before = await gate.wallet._redis.hgetall("farebox:{1}:wallet")
    await gate.wallet._redis.flushall()
    assert isinstance(await reserve(gate, number, Kind.REACTION), Reserved)
    after = await gate.wallet._redis.hgetall("farebox:{1}:wallet")
    assert int(after.pop("epoch")) == int(before.pop("epoch")) + 1
    assert after == before
    await resolved(gate, paid, Event.DELIVER, FARE)
    assert await agreed(gate) == (9 * FARE, 0)


async def test_a_send_that_took_from_a_lost_wallet_is_fenced_off_and_takes_again(gate: Gate, number: Number) -> None:
    await fund(gate, number, 10 * FARE)
    await reserve(gate, number, Kind.REACTION)
    # The store comes back with an old wallet: more money than there is, and an epoch that has been passed.
    await gate.rebuild(number, stale_epoch=1)
    await gate.wallet._redis.hset("farebox:{1}:wallet", mapping={"epoch": "1", "available": "999000000", "held": "0"})
    reserved = await reserve(gate, number)
    assert isinstance(reserved, Reserved)
    assert reserved.available_micros == 9 * FARE
    assert await agreed(gate) == (9 * FARE, FARE)


async def test_a_repeated_topup_is_booked_once(gate: Gate, number: Number) -> None:
    for expected in (True, False):
        booked = await gate.funds.credit(
            number, topup_id=uuid4(), amount_micros=5_000_000, reference="invoice 7", method="manual"
        )
        assert booked is expected
    await reserve(gate, number, Kind.REACTION)
    assert await agreed(gate) == (5_000_000, 0)


async def test_a_credit_that_a_rebuild_has_seen_is_not_added_again(gate: Gate, number: Number) -> None:
    await reserve(gate, number, Kind.REACTION)
    row = await gate.ledger.fetch_one("credit_topup", uuid4(), "1", "r", "manual", 1_000_000, gate.clock.now_ms())
    assert row is not None
    await gate.rebuild(number, stale_epoch=row["epoch"])  # a crash lies between the ledger and the wallet
    assert await gate.wallet.credit("1", row["topup_id"], 1_000_000, row["epoch"]) is None
    assert await agreed(gate) == (1_000_000, 0)


async def test_only_a_note_that_nobody_waits_for_does_not_wait_for_the_disk(
    gate: Gate, number: Number, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fund(gate, number, 10 * FARE)
    reserved = await reserve(gate, number)
    assert isinstance(reserved, Reserved)
    fetch, found = gate.ledger.fetch, []

    async def looked_at(query: str, *arguments: Any) -> Any:
        if query != "accept_holds":
            return await fetch(query, *arguments)
        async with gate.ledger._pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL synchronous_commit = remote_apply")  # an operator's own
            rows = await connection.fetch(queries()[query], *arguments)
            found.append(await connection.fetchval("SHOW synchronous_commit"))
        return rows

    monkeypatch.setattr(gate.ledger, "fetch", looked_at)
    await gate.funds.accept(reserved, "wamid.1", None, may_gather=True)
    await gate.funds.accept(reserved, "wamid.1", None, may_gather=False)
    both = [gate.funds.accept(reserved, "wamid.1", None, may_gather=gathers) for gathers in (True, False)]
    await asyncio.gather(*both)
    assert found == ["off", "remote_apply", "remote_apply"]


async def test_batches_that_share_holds_in_another_order_do_not_wait_for_each_other(gate: Gate, number: Number) -> None:
    await fund(gate, number, 1_000 * FARE)
    reserved = await asyncio.gather(*(reserve(gate, number) for _ in range(200)))
    ids = [one.hold_id for one in reserved if isinstance(one, Reserved)]
    holds = {hold.hold_id: hold for hold in await gate.ledger.find_holds(ids, [])}
    for _ in range(5):
        await asyncio.gather(
            gate.ledger.fetch("accept_holds", ids, ids_as_text(ids), ["reserved"], "accepted", None, True),
            gate.ledger.fetch("accept_holds", ids[::-1], ids_as_text(ids), ["reserved"], "accepted", None, True),
        )
    ways = (ids, ids[::-1], ids[::2] + ids[1::2])
    async with open_gate(gate.settings) as second, open_gate(gate.settings) as third:  # one alone would make them one
        ended = await asyncio.gather(
            *(
                worker.funds.resolve(Event.DELIVER, [Resolution(holds[id_], FARE) for id_ in way])
                for worker, way in zip((gate, second, third), ways, strict=True)
            )
        )
    assert sum(len(batch) for batch in ended) == 200
    assert await agreed(gate) == (800 * FARE, 0)


def ids_as_text(ids: list[UUID]) -> list[str]:
    return [f"wamid.{id_}" for id_ in ids]


async def test_two_workers_that_rebuild_at_once_leave_one_sound_wallet(gate: Gate, number: Number) -> None:
    await fund(gate, number, 10 * FARE)
    other = Rebuild(gate.wallet, gate.ledger, gate.clock, gate.tariffs, gate.directory)
    await asyncio.gather(*(rebuild(number, stale_epoch=None) for rebuild in (gate.rebuild, other) * 5))
    assert await agreed(gate) == (10 * FARE, 0)
    assert isinstance(await reserve(gate, number), Reserved)
