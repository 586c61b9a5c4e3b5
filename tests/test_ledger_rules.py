"""What the database refuses, whoever asks: the ledger is append-only, and a balance is its entries."""

import asyncio
import random
from typing import Any

import asyncpg
import pytest

import past
from farebox.config import Settings
from farebox.core.hold import Event
from farebox.gate import Gate
from farebox.ledger import Ledger
from farebox.rows import End
from past import FARE, NUMBER, moment

NOW = moment(2026, 11)
BOOK = (
    "INSERT INTO entry (number_id, kind, from_book, into_book, amount_micros, hold_id, topup_id, at) "
    "VALUES ('1', $1, $2, $3, $4, $5, $6, to_timestamp($7::bigint / 1000.0))"
)


@pytest.fixture
async def ledger(gate: Gate) -> Ledger:
    await past.add_number(gate)
    await gate.ledger.fetch("make_partitions", NOW, 0)
    await past.top_up(gate.ledger, 1_000_000, NOW)
    return gate.ledger


@pytest.mark.parametrize("table", ["entry", "entry_2026_11", "entry_other"])
async def test_an_entry_is_never_changed_or_deleted(ledger: Ledger, table: str) -> None:
    if table == "entry_other":
        await past.top_up(ledger, 1, moment(1999, 1))
    for change in (f"UPDATE {table} SET amount_micros = 1", f"DELETE FROM {table}"):
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await ledger._pool.execute(change)
    with pytest.raises(asyncpg.RaiseError, match="not emptied"):
        await ledger._pool.execute(f"TRUNCATE {table}")
    assert await ledger._pool.fetchval("SELECT count(*) FROM entry WHERE amount_micros = 1000000") == 1


async def test_a_balance_does_not_move_without_an_entry(ledger: Ledger) -> None:
    async with ledger._pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("UPDATE balance SET balance_micros = balance_micros + 1")  # until the end all is open
        with pytest.raises(asyncpg.CheckViolationError, match="did not move with its entries"):
            await transaction.commit()
    assert await ledger._pool.fetchval("SELECT balance_micros FROM balance") == 1_000_000


@pytest.mark.parametrize("table", ["entry", "entry_2026_11"])
async def test_an_entry_is_not_written_without_its_balance(ledger: Ledger, table: str) -> None:
    topup_id = "00000000-0000-0000-0000-000000000001"
    async with ledger._pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "INSERT INTO topup (topup_id, number_id, reference, method, amount_micros, state, created_at, credited_at) "
            "SELECT $1, '1', 'r', 'manual', 5, 'succeeded', at, at FROM to_timestamp($2::bigint / 1000.0) AS at",
            topup_id,
            NOW,
        )
        book = BOOK.replace("INTO entry", f"INTO {table}")
        await connection.execute(book, "topup", "outside", "number", 5, None, topup_id, NOW)
        with pytest.raises(asyncpg.CheckViolationError, match="did not move with its entries"):
            await transaction.commit()
    assert await ledger._pool.fetchval("SELECT count(*) FROM entry") == 1


async def test_a_balance_row_begins_at_its_entries(gate: Gate) -> None:
    await past.add_number(gate)
    await gate.ledger._pool.execute("DELETE FROM balance")
    with pytest.raises(asyncpg.CheckViolationError, match="did not move with its entries"):
        await gate.ledger._pool.execute("INSERT INTO balance (number_id, balance_micros) VALUES ('1', 5)")


async def test_a_hold_is_charged_once_and_as_it_says(ledger: Ledger) -> None:
    hold_id = await past.delivered(ledger, NOW)
    charge = ("settle", "number", "usage")
    with pytest.raises(asyncpg.UniqueViolationError):
        await ledger._pool.execute(BOOK, *charge, FARE, hold_id, None, NOW)
    with pytest.raises(asyncpg.CheckViolationError, match="no hold"):  # at another time, in another month
        await ledger._pool.execute(BOOK, *charge, FARE, hold_id, None, moment(2026, 12))
    waiting = await past.record(ledger, NOW)
    with pytest.raises(asyncpg.CheckViolationError, match="no hold"):  # it has not ended
        await ledger._pool.execute(BOOK, *charge, FARE, waiting, None, NOW)


async def test_a_topup_is_credited_once_and_as_it_says(ledger: Ledger) -> None:
    topup_id = await past.top_up(ledger, 7, NOW)
    credit = ("topup", "outside", "number")
    with pytest.raises(asyncpg.UniqueViolationError):
        await ledger._pool.execute(BOOK, *credit, 7, None, topup_id, NOW)
    with pytest.raises(asyncpg.CheckViolationError, match="no top-up"):
        await ledger._pool.execute(BOOK, *credit, 7, None, topup_id, NOW + 1)


async def test_a_settled_hold_keeps_its_end(ledger: Ledger) -> None:
    hold_id = await past.delivered(ledger, NOW)
    for change in ("state = 'released'", "billed_micros = 0", "ended_at = now()", "usage_day = NULL", "market = 'x'"):
        with pytest.raises(asyncpg.RaiseError, match="has been charged"):
            await ledger._pool.execute(f"UPDATE hold SET {change}")
    await ledger._pool.execute("UPDATE hold SET wamid = 'wamid.late'")  # its name may come after its end
    with pytest.raises(asyncpg.RaiseError, match="not deleted"):
        await ledger._pool.execute("DELETE FROM hold WHERE hold_id = $1", hold_id)
    with pytest.raises(asyncpg.RaiseError, match="not emptied"):
        await ledger._pool.execute("TRUNCATE hold")


async def test_usage_counts_what_settles_on_its_day(gate: Gate) -> None:
    await past.add_number(gate, timezone="America/Sao_Paulo")
    ledger, night = gate.ledger, moment(2026, 11, 2, 1)  # still the first of November in Sao Paulo
    await past.delivered(ledger, night)
    await past.delivered(ledger, night)
    await past.delivered(ledger, night + past.DAY_MS, message_class="free", fare_micros=0)
    failed = await past.record(ledger, night)
    assert await past.end(ledger, Event.FAIL, failed, night) == 1
    kind = ("utility", "Germany")
    first, second = ((NUMBER, "2026-11-01", *kind, "paid", 2, 2 * FARE), (NUMBER, "2026-11-02", *kind, "free", 1, 0))
    assert await past.usage(ledger) == [first, second]
    late = night + 9 * past.DAY_MS
    assert await past.end(ledger, Event.DELIVER, failed, late, FARE) == 1
    assert await past.usage(ledger) == [first, second, (NUMBER, "2026-11-10", *kind, "paid", 1, FARE)]
    assert await past.end(ledger, Event.DELIVER, failed, late, FARE) == 0
    assert await ledger.fetch("usage_against_holds", None) == []
    await ledger._pool.execute("UPDATE usage SET messages = 3 WHERE day = '2026-11-01'")
    (row,) = await ledger.fetch("usage_against_holds", NUMBER)
    assert (str(row["day"]), row["usage_messages"], row["hold_messages"]) == ("2026-11-01", 3, 2)


async def test_a_time_zone_that_the_database_does_not_know_stops_no_charge(gate: Gate) -> None:
    await past.add_number(gate, timezone="Mars/Olympus_Mons")
    await past.delivered(gate.ledger, NOW)
    assert [row[1] for row in await past.usage(gate.ledger)] == ["2026-11-15"]


async def test_workers_that_settle_for_the_same_numbers_do_not_wait_for_each_other(gate: Gate) -> None:
    """Batches in any order share balances and days: a deadlock would be an unavailable ledger."""
    numbers = [str(number) for number in range(1, 9)]
    for number_id in numbers:
        await past.add_number(gate, number_id)
        await past.top_up(gate.ledger, 1_000_000, NOW, number_id)
    markets = ["Germany", "India", "Brazil"]
    holds = [
        (await past.record(gate.ledger, NOW, number_id, market=market), number_id)
        for number_id in numbers
        for market in markets
        for _ in range(8)
    ]
    random.Random(7).shuffle(holds)
    batches = [[End(hold_id, number_id, FARE) for hold_id, number_id in holds[start::8]] for start in range(8)]
    assert gate.settings.database_url is not None
    workers = [await Ledger.connect(gate.settings.database_url, timeout_s=10) for _ in range(4)]
    told = zip(workers * 4, [*batches, *batches[::-1]], strict=True)
    ended = await asyncio.gather(*(worker.end(Event.DELIVER, batch, NOW) for worker, batch in told))
    for worker in workers:
        await worker.aclose()
    assert sum(map(len, ended)) == len(holds)
    assert await gate.ledger.fetch("usage_against_holds", None) == []
    assert {row[5] for row in await past.usage(gate.ledger)} == {8}


async def test_a_restored_ledger_fences_every_older_wallet_off(ledger: Ledger, settings: Settings) -> None:
    """A copy is what a restored dump is: the same rows in another database."""
    before = await ledger._pool.fetchval("SELECT epoch FROM number")
    assert settings.database_url is not None
    original = settings.database_url.partition("@/")[2].partition("?")[0]
    await ledger.aclose()
    copy = f"{original}_restored"
    admin = await asyncpg.connect(settings.database_url.replace(f"/{original}?", "/postgres?"))
    try:
        await admin.execute(f"CREATE DATABASE {copy} TEMPLATE {original} STRATEGY file_copy")
        epochs: list[Any] = []
        for _ in range(2):
            restored = await Ledger.connect(settings.database_url.replace(f"/{original}?", f"/{copy}?"), timeout_s=10)
            epochs.append(await restored._pool.fetchval("SELECT epoch FROM number"))
            await restored.aclose()
        assert epochs[0] > before + 10**15  # far from every epoch of the time that is forgotten
        assert epochs[1] == epochs[0]  # it is noticed once
        await admin.execute(f"DROP DATABASE {copy} WITH (FORCE)")
    finally:
        await admin.close()
