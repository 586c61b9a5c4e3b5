"""The plans of statements that find single holds: by index, also in a month that was empty a moment ago."""

from uuid import UUID

import asyncpg
import pytest

import past
from farebox import database
from farebox.gate import Gate
from farebox.ledger import Ledger
from farebox.rows import new_hold_id
from farebox.sql import queries
from past import FARE, NUMBER

MANY = 3_000
EVERY_COLUMN = (
    "INSERT INTO hold SELECT (jsonb_populate_record(h, jsonb_build_object('hold_id', id))).* "
    "FROM hold h, unnest($1::uuid[]) AS id WHERE hold_id = $2"
)
NAME = "SELECT name FROM pg_prepared_statements WHERE statement = $1"


async def noted(ledger: Ledger, hold: UUID) -> None:
    await ledger.accept(hold, f"wamid.{hold}", None, may_gather=False)


async def looked_at(ledger: Ledger) -> int:
    """Note one send more, and return how many rows its statement has read and thrown away."""
    kept = ledger._kept["accept_holds"]._connection
    assert kept is not None, "it has noted one"
    name = await kept.fetchval(NAME, queries()["accept_holds"])
    change = kept.transaction()
    await change.start()
    arguments = f"'{{{new_hold_id(0)}}}', '{{wamid}}', '{{reserved}}', 'accepted', '{{NULL}}', true"
    rows = await kept.fetch(f"EXPLAIN (ANALYZE, TIMING OFF) EXECUTE {name} ({arguments})")
    await change.rollback()
    return sum(int(row[0].rpartition(":")[2]) for row in rows if "Rows Removed by" in row[0])


@pytest.mark.parametrize("lasts_s", [0.0, 1_000.0])
async def test_a_plan_is_not_used_for_longer_than_it_fits(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, lasts_s: float
) -> None:
    """A plan that was made for one hold reads all of them, and would read all of a hundred thousand."""
    monkeypatch.setattr(database, "PLANS_LAST_S", lasts_s)
    await past.add_number(gate)
    await past.top_up(gate.ledger, 100_000 * FARE, now_ms := gate.clock.now_ms())
    first = await past.record(gate.ledger, now_ms, NUMBER)
    pool: asyncpg.Pool[asyncpg.Record] = gate.ledger._pool
    await pool.execute("ANALYZE hold")
    await noted(gate.ledger, first)
    await pool.execute(EVERY_COLUMN, [new_hold_id(now_ms) for _ in range(MANY)], first)
    await noted(gate.ledger, first)
    assert (await looked_at(gate.ledger) > MANY) == (lasts_s > 0)
