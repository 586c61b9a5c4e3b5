"""Months of the ledger: where rows go, what a migration moves, what retention drops and keeps."""

import argparse
from datetime import date
from pathlib import Path

import asyncpg
import pytest

import past
from farebox import migrate as migrations
from farebox.commands import retain
from farebox.commands.opened import UsageError
from farebox.config import Settings
from farebox.core.hold import Event
from farebox.embedded import EmbeddedStores
from farebox.gate import Gate
from farebox.ledger import Ledger
from farebox.partitions import MonthError, drop_months, first_kept, make_partitions, old_months
from farebox.reconcile import compare
from past import FARE, NUMBER, moment

MARCH, APRIL, NOVEMBER = moment(2026, 3), moment(2026, 4), moment(2026, 11)


async def tables(ledger: Ledger, of: str) -> set[str]:
    rows = await ledger._pool.fetch(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::regclass", of
    )
    return {row[0] for row in rows}


async def table_of(ledger: Ledger, hold_id: object) -> tuple[str, str | None]:
    row = await ledger._pool.fetchrow(
        "SELECT h.tableoid::regclass::text, "
        "       (SELECT e.tableoid::regclass::text FROM entry e WHERE e.hold_id = h.hold_id) "
        "FROM hold h WHERE h.hold_id = $1",
        hold_id,
    )
    assert row is not None
    return row[0], row[1]


@pytest.fixture
async def ledger(gate: Gate) -> Ledger:
    """A number that has sent in March and April, long before the partitions of now."""
    await past.add_number(gate)
    for at_ms in (MARCH, APRIL):
        await gate.ledger.fetch("make_partitions", at_ms, 0)
        await past.top_up(gate.ledger, 100 * FARE, at_ms)
    return gate.ledger


async def test_rows_go_to_the_month_of_their_time(ledger: Ledger) -> None:
    assert await table_of(ledger, await past.delivered(ledger, MARCH)) == ("hold_2026_03", "entry_2026_03")
    last_ms = moment(2026, 4, 1, 0) - 1
    late = await past.record(ledger, last_ms)
    assert await past.end(ledger, Event.DELIVER, late, last_ms + 1, FARE) == 1
    assert await table_of(ledger, late) == ("hold_2026_03", "entry_2026_04")
    assert await table_of(ledger, await past.delivered(ledger, moment(2041, 1))) == ("hold_other", "entry_other")


async def test_partitions_are_made_ahead_once(ledger: Ledger) -> None:
    at_ms = moment(2031, 11, 30, 23)
    assert await make_partitions(ledger, at_ms) == 8
    assert await make_partitions(ledger, at_ms) == 0
    wanted = {"hold_2031_11", "hold_2031_12", "hold_2032_01", "hold_2032_02"}
    assert {name for name in await tables(ledger, "hold") if name[:9] in ("hold_2031", "hold_2032")} == wanted


async def test_a_month_that_began_without_a_partition_stays_where_it_is(ledger: Ledger) -> None:
    """A test clock was there before the partition: moving rows would be deleting."""
    hold_id = await past.delivered(ledger, moment(2041, 1))
    assert await make_partitions(ledger, moment(2041, 1)) == 6  # of the three months after it
    assert await table_of(ledger, hold_id) == ("hold_other", "entry_other")


async def test_a_busy_table_is_left_for_the_next_pass(ledger: Ledger) -> None:
    async with ledger._pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE hold IN SHARE MODE")
        assert await make_partitions(ledger, moment(2035, 1)) == 0
    assert await make_partitions(ledger, moment(2035, 1)) == 8


async def test_rows_from_before_the_months_move_with_their_sums(
    stores: EmbeddedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = stores.database_url.replace("/farebox?", "/before_months?")
    admin = await asyncpg.connect(stores.database_url.replace("/farebox?", "/postgres?"))
    await admin.execute("CREATE DATABASE before_months")
    every = migrations.migrations()
    monkeypatch.setattr(migrations, "migrations", lambda: [each for each in every if each[0] < 8])
    monkeypatch.setattr(migrations, "_make_partitions", _nothing)
    await migrations.migrate(url)
    before = await asyncpg.connect(url)
    await before.execute(OLD_ROWS)
    monkeypatch.undo()
    await migrations.migrate(url)
    rows = await before.fetch("SELECT tableoid::regclass::text, state, usage_day::text FROM hold ORDER BY hold_id")
    assert [tuple(row) for row in rows] == [
        ("hold_2025_03", "settled", "2025-03-31"),  # 2 o'clock of the next day in UTC
        ("hold_2025_03", "released", None),
        ("hold_other", "expired", None),
    ]
    moves = await before.fetch("SELECT tableoid::regclass::text, entry_id, amount_micros FROM entry ORDER BY entry_id")
    assert [tuple(row) for row in moves] == [("entry_2025_03", 1, 9_000), ("entry_2025_04", 2, 3_400)]
    assert await before.fetchval("SELECT nextval('entry_serial')") == 3
    assert tuple(await before.fetchrow("SELECT * FROM balance") or ()) == ("1", 5_600, 5_600)
    assert await before.fetchval("SELECT (messages, billed_micros)::text FROM usage") == "(1,3400)"
    await before.close()
    await admin.execute("DROP DATABASE before_months WITH (FORCE)")
    await admin.close()


async def _nothing(_: asyncpg.Connection) -> None:
    """The schema of before has no partitions to make."""


OLD_ROWS = """
INSERT INTO account (account_id, name, currency, created_at) VALUES ('a', 'A', 'USD', now());
INSERT INTO number (number_id, account_id, currency, timezone, created_at)
VALUES ('1', 'a', 'USD', 'America/Sao_Paulo', now());
INSERT INTO balance VALUES ('1', 5600);
INSERT INTO topup VALUES ('00000000-0000-0000-0000-000000000001', '1', 'r', 'manual', 9000, 'succeeded', '2025-03-01');
INSERT INTO hold (hold_id, number_id, epoch, state, class, fare_micros, billed_micros, regime, category, market, why,
                  rate_source, state_evidence, recipient, created_at, expires_at, ended_by, ended_at)
SELECT id::uuid, '1', 0, state, 'paid', 3400, billed, 'r', 'utility', 'Germany', '', '', '', 'u', at, at, by,
       at + interval '1 day'
FROM (VALUES ('0195e9ed-5500-7000-8000-000000000000', 'settled', 3400, timestamptz '2025-03-31 02:00+00', 'deliver'),
             ('0195e9ed-5501-7000-8000-000000000000', 'released', 0, '2025-03-31 02:00+00', 'fail'),
             ('f19d3f56-5100-4000-8000-000000000000', 'expired', 0, '2025-03-31 02:00+00', 'time_out'))
     AS t (id, state, billed, at, by);
INSERT INTO entry (number_id, kind, from_book, into_book, amount_micros, hold_id, topup_id, at)
VALUES ('1', 'topup', 'outside', 'number', 9000, NULL, '00000000-0000-0000-0000-000000000001', '2025-03-01'),
       ('1', 'settle', 'number', 'usage', 3400, '0195e9ed-5500-7000-8000-000000000000', NULL, '2025-04-01 02:00+00');
"""


def test_the_months_that_are_kept() -> None:
    assert first_kept(moment(2026, 11), 2) == date(2026, 9, 1)
    assert first_kept(moment(2026, 1), 2) == date(2025, 11, 1)
    assert first_kept(moment(2026, 12, 31, 23), 12) == date(2025, 12, 1)


async def dropped(ledger: Ledger, *, dry_run: bool = False) -> list[str]:
    months = await old_months(ledger, NOVEMBER, 2)
    return [str(month) async for month in drop_months(ledger, months, NOVEMBER, dry_run=dry_run)]


async def position(gate: Gate) -> tuple[int, int]:
    (row,) = [row async for row in compare(gate.ledger, gate.wallet)]
    assert row.differences == []
    return row.facts.entries_micros, row.facts.balance_micros


async def test_retention_keeps_the_totals(gate: Gate, ledger: Ledger) -> None:
    await past.delivered(ledger, MARCH)
    across = await past.record(ledger, moment(2026, 3, 31))
    assert await past.end(ledger, Event.DELIVER, across, APRIL, FARE) == 1
    await past.delivered(ledger, NOVEMBER)
    before = (await position(gate), await past.usage(ledger))
    assert before[0] == (197 * FARE, 197 * FARE)
    said = ["2026-03: 2 holds, 2 entries", "2026-04: 0 holds, 2 entries"]
    assert await dropped(ledger, dry_run=True) == said
    assert "hold_2026_03" in await tables(ledger, "hold")
    assert await dropped(ledger) == said
    for of in ("hold", "entry"):
        assert not {f"{of}_2026_03", f"{of}_2026_04"} & await tables(ledger, of)
    assert (await position(gate), await past.usage(ledger)) == before
    assert await ledger._pool.fetchval("SELECT count(*) FROM hold") == 1
    totals = await ledger._pool.fetch("SELECT month::text, kind, entries, amount_micros FROM entry_total ORDER BY 1, 2")
    assert [tuple(row) for row in totals] == [
        ("2026-03-01", "settle", 1, FARE),
        ("2026-03-01", "topup", 1, 100 * FARE),
        ("2026-04-01", "settle", 1, FARE),
        ("2026-04-01", "topup", 1, 100 * FARE),
    ]
    assert await ledger.fetch("usage_against_holds", NUMBER) == []
    assert await dropped(ledger) == []
    await past.top_up(ledger, 5, NOVEMBER)  # and the books go on
    assert await position(gate) == (197 * FARE + 5, 197 * FARE + 5)


async def test_retention_stops_at_an_open_hold(ledger: Ledger) -> None:
    await past.delivered(ledger, MARCH)
    waiting = await past.record(ledger, APRIL)
    with pytest.raises(MonthError, match="2026-04 has 1 open holds"):
        await dropped(ledger)
    assert "hold_2026_03" not in await tables(ledger, "hold")
    assert await past.end(ledger, Event.DELIVER, waiting, NOVEMBER, FARE) == 1  # nothing of April was frozen
    assert await dropped(ledger) == ["2026-04: 1 holds, 1 entries"]


async def test_a_month_with_an_open_hold_does_not_freeze(ledger: Ledger) -> None:
    waiting = await past.record(ledger, APRIL)
    frozen = await ledger.fetch_one("freeze_month", date(2026, 4, 1))
    assert frozen is not None
    assert frozen["open"] == 1
    assert await past.end(ledger, Event.DELIVER, waiting, NOVEMBER, FARE) == 1


async def test_a_status_that_comes_while_its_month_goes_changes_nothing(gate: Gate, ledger: Ledger) -> None:
    failed = await past.record(ledger, MARCH)
    assert await past.end(ledger, Event.FAIL, failed, MARCH) == 1
    frozen = await ledger.fetch_one("freeze_month", date(2026, 3, 1))
    assert frozen is not None
    assert frozen["open"] == 0
    assert await past.end(ledger, Event.DELIVER, failed, NOVEMBER, FARE) == 0
    assert await position(gate) == (200 * FARE, 200 * FARE)
    await ledger.fetch("drop_month", date(2026, 3, 1), NOVEMBER)
    assert await ledger.fetch("usage_against_holds", None) == []
    assert await position(gate) == (200 * FARE, 200 * FARE)


async def test_a_dropped_month_is_not_made_again(ledger: Ledger) -> None:
    assert len(await dropped(ledger)) == 2
    await ledger.fetch("make_partitions", MARCH, 0)
    assert "hold_2026_03" not in await tables(ledger, "hold")


async def test_the_command(
    ledger: Ledger, settings: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async def run(keep: int, *, dry_run: bool = False) -> int:
        return await retain.run(settings, argparse.Namespace(keep_months=keep, dry_run=dry_run))

    with pytest.raises(UsageError, match="2 or more"):
        await run(1)
    await past.record(ledger, APRIL)
    now = await ledger.fetch_one("now")
    assert now is not None
    await ledger.fetch("set_clock", NOVEMBER - now["now_ms"])
    assert await run(2, dry_run=True) == 1  # it says so before anything is dropped
    assert await run(2) == 1
    told = capsys.readouterr()
    assert "2026-03: 0 holds, 1 entries dropped" in told.out
    (deed,) = await ledger.fetch("audit", "month", None, None, 2**62, 10)
    assert deed["who"].startswith("command retain by ")
    assert (deed["what"], deed["subject"], deed["before"]) == ("dropped", "2026-03", '{"holds": 0, "entries": 1}')
    assert deed["why"] == "the last 2 whole months are kept"
    assert "farebox: 2026-04 has 1 open holds: run farebox sweep, or keep more months" in told.err
