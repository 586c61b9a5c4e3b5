"""Books of real stores: sound ones, and every way in which they can differ, explained."""

from collections import Counter
from dataclasses import replace
from uuid import uuid4

import asyncpg
import pytest

from farebox.books import read_books
from farebox.core.invariants import violations
from farebox.reconcile import Comparison, compare, repair
from farebox.simulator.behaviour import Behaviour
from harness import GERMAN, NUMBER, USER, World, template, text

OTHER = "2"


async def compared(world: World, number_id: str = NUMBER) -> Comparison:
    (row,) = [row async for row in compare(world.gate.ledger, world.gate.wallet, only=[number_id])]
    return row


async def busy(world: World) -> None:
    """Charges, releases, a free unit and open holds, until there is nothing left."""
    await world.fund("0.30")
    await world.whatsapp.write_in(USER)
    for message in (template(), template("summer_sale"), text()):
        await world.send(message)
    world.whatsapp.behave(Behaviour(times=1, statuses=("sent", "failed")), Behaviour(statuses=("sent",)))
    await world.send(template("summer_sale", GERMAN))
    await world.books_kept()
    while (await world.send(template("summer_sale", GERMAN))).status == 200:
        pass
    await world.books_kept()


async def test_books_of_real_stores_are_sound(world: World) -> None:
    await busy(world)
    books = await read_books(world.gate.ledger, world.gate.wallet, [NUMBER])
    assert violations(books) == []
    (number,) = books.numbers
    assert books.holds is not None
    assert Counter(hold.state for hold in books.holds) == {"settled": 3, "released": 1, "accepted": 2}
    assert (number.open_holds, number.settled_micros) == (2, 28_400)
    assert number.topups[0].entries == 1
    assert [pool.used for pool in number.pools] == [1]
    # A send reached the level, and nothing else is to blame for it.
    assert (number.block_at_micros, number.largest_fare_micros, number.recorded_below_micros) == (0, 136_500, 0)
    changed = replace(number, largest_fare_micros=1)
    assert [v.invariant for v in violations(replace(books, numbers=(changed,)))] == [4]


async def test_a_hold_that_the_ledger_never_heard_of(world: World) -> None:
    await world.fund("1.00")
    world.whatsapp.behave(Behaviour(statuses=()))
    await world.send(template())
    redis = world.gate.wallet._redis
    await redis.hincrby(f"farebox:{{{NUMBER}}}:wallet", "available", -6_800)
    await redis.hincrby(f"farebox:{{{NUMBER}}}:wallet", "held", 6_800)
    for _ in range(2):
        await redis.hset(f"farebox:{{{NUMBER}}}:holds", str(uuid4()), "3400:1:")
    (sentence,) = (await compared(world)).differences
    assert "2 holds of 0.0068 taken by a worker that died before the ledger knew them" in sentence
    assert "--repair rebuilds the wallet" in sentence


async def test_an_end_and_a_topup_that_the_wallet_was_not_told(world: World) -> None:
    await world.fund("1.00")
    answer = await world.send(template())
    await world.books_kept()
    redis = world.gate.wallet._redis
    await redis.hincrby(f"farebox:{{{NUMBER}}}:wallet", "held", 3_400)
    await redis.hset(f"farebox:{{{NUMBER}}}:holds", answer.headers["X-Farebox-Hold"], "3400:1:")
    (sentence,) = (await compared(world)).differences
    assert "1 hold of 0.0034 ended in the ledger" in sentence
    await world.gate.rebuild(world.gate.directory.numbers[NUMBER], stale_epoch=1)
    now_ms = world.gate.clock.now_ms()
    await world.gate.ledger.fetch("credit_topup", uuid4(), NUMBER, "invoice 7", "manual", 5_000_000, now_ms)
    (found,) = (await compared(world)).found
    assert "top-up invoice 7 is booked and did not reach the wallet" in found.text
    assert found.micros == -5_000_000


async def test_a_store_that_lost_its_last_writes(world: World) -> None:
    await world.fund("1.00")
    world.whatsapp.behave(Behaviour(statuses=()))
    answer = await world.send(template())
    redis = world.gate.wallet._redis
    await redis.hincrby(f"farebox:{{{NUMBER}}}:wallet", "held", -3_400)
    await redis.hincrby(f"farebox:{{{NUMBER}}}:wallet", "available", 3_400)
    await redis.hdel(f"farebox:{{{NUMBER}}}:holds", answer.headers["X-Farebox-Hold"])
    (sentence,) = (await compared(world)).differences
    assert "1 hold of 0.0034 are not in the wallet: its store lost its last writes" in sentence


class Vandal:
    """Writes past farebox, as only the owner of the tables can who turns the rules off."""

    def __init__(self, world: World) -> None:
        self._pool = world.gate.ledger._pool

    async def __call__(self, *statements: str) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            for statement in statements:
                await connection.execute(statement)


async def mended(world: World, kinds: list[str]) -> list[str]:
    """Repair books that differ in these ways; afterwards they agree, and the wallet too."""
    before = await compared(world)
    assert [difference.kind for difference in before.found] == kinds
    done = await repair(world.gate, before)
    assert (await compared(world)).found == ()
    assert violations(await read_books(world.gate.ledger, world.gate.wallet, [NUMBER])) == []
    return done


async def test_a_stored_balance_follows_its_entries(world: World) -> None:
    await world.fund("1.00")
    await world.send(template())
    await world.books_kept()
    await Vandal(world)(
        "UPDATE balance SET balance_micros = balance_micros + 500, entries_micros = entries_micros + 500"
    )
    assert await mended(world, ["balance", "wallet"]) == [
        "its stored balance was set to the sum of its entries: it moved by -0.0005",
        "its wallet was rebuilt from the ledger",
    ]
    assert await world.balance() == {"available": "0.9966", "held": "0.00"}
    await Vandal(world)("UPDATE balance SET balance_micros = 5, entries_micros = 5")
    position = await world.gate.wallet.position(NUMBER)
    assert position is not None
    await world.gate.rebuild(world.gate.directory.numbers[NUMBER], stale_epoch=position.epoch)
    assert len(await mended(world, ["balance"])) == 2  # the wallet was rebuilt from a wrong balance, so it is again
    assert await world.balance() == {"available": "0.9966", "held": "0.00"}
    kept = await world.gate.ledger._pool.fetchrow("SELECT what, was_micros, is_micros FROM repair")
    assert kept is not None
    assert tuple(kept) == ("balance", 997_100, 996_600)
    with pytest.raises(asyncpg.PostgresError, match="append-only"):
        await world.gate.ledger._pool.execute("DELETE FROM repair")


async def test_lost_entries_are_added_as_corrections(world: World) -> None:
    await world.fund("1.00")
    await world.send(template())
    await world.books_kept()
    await Vandal(world)("DELETE FROM entry")
    assert await mended(world, ["charges", "topups", "balance"]) == [
        "1 corrections charge 0.0034 that holds were billed",
        "1 corrections credit 1.00 of top-ups",
    ]
    entries = (await world.admin("GET", f"/v1/numbers/{NUMBER}/entries"))["entries"]
    assert [(entry["kind"], entry["amount"]) for entry in entries] == [
        ("correction", "1.00"),
        ("correction", "-0.0034"),
    ]
    assert entries[1]["reason"] == "the hold was billed, and no entry charged it"
    assert await world.balance() == {"available": "0.9966", "held": "0.00"}
    with pytest.raises(asyncpg.PostgresError, match="append-only"):
        await world.gate.ledger._pool.execute("DELETE FROM entry")


async def test_lost_entries_of_movements_are_added_as_they_say(world: World) -> None:
    await world.add_number(OTHER)
    await world.fund("1.00")
    moved = f"/v1/numbers/{NUMBER}"
    for kind, amount, at in (
        ("adjustments", "0.50", NUMBER),
        ("refunds", "0.20", NUMBER),
        ("transfers", "0.10", OTHER),
    ):
        body = {"amount": amount, "reason": "why", **({"to": at} if kind == "transfers" else {})}
        await world.admin("POST", f"{moved}/{kind}", body, expect=201)
    assert (await compared(world)).found == (await compared(world, OTHER)).found == ()
    await Vandal(world)("DELETE FROM entry WHERE movement_id IS NOT NULL")
    assert await mended(world, ["movements", "balance"]) == [
        "3 entries were added as their movements say: 0.20 together"
    ]
    (movement, _) = (await compared(world, OTHER)).found
    assert "disputes sum to 0.10, entries move 0.00: 0.10 too little; --repair adds what is missing" in movement.text
    assert await repair(world.gate, await compared(world, OTHER)) == [
        "1 entries were added as their movements say: 0.10 together"
    ]
    assert (await compared(world, OTHER)).found == ()
    assert await world.balance() == {"available": "1.20", "held": "0.00"}


async def test_a_charge_that_no_hold_explains_is_left_to_a_person(world: World) -> None:
    await world.fund("1.00")
    await world.send(template())
    await world.books_kept()
    await Vandal(world)("UPDATE hold SET billed_micros = 400", "UPDATE usage SET billed_micros = 400")
    before = await compared(world)
    assert [(difference.kind, difference.micros) for difference in before.found] == [("charges", 3_000)]
    assert "no hold explains it" in before.found[0].text
    assert await repair(world.gate, before) == []
    assert (await compared(world)).found == before.found


async def test_a_roll_up_is_counted_anew(world: World) -> None:
    await world.fund("1.00")
    await world.send(template())
    await world.send(template("summer_sale", GERMAN))
    await world.books_kept()
    await Vandal(world)(
        "UPDATE usage SET messages = messages + 1, billed_micros = 0 WHERE category = 'utility'",
        "DELETE FROM usage WHERE category = 'marketing'",
    )
    (text,) = (await compared(world)).differences
    assert "Germany marketing (paid) counts 0 messages of 0.00, the holds are 1 of 0.1365 (and 1 more): 0.1399" in text
    assert await mended(world, ["usage"]) == ["2 rows of its roll-up were counted anew: they moved by 0.1399"]
