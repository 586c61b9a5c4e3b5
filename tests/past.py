"""Messages of an earlier day, written into the ledger as the gateway would have written them then."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from farebox.core.hold import Event
from farebox.gate import Gate
from farebox.ledger import Ledger
from farebox.rows import End, NewHold, new_hold_id

NUMBER = "1"
FARE = 3_400
DAY_MS = 86_400_000


def moment(year: int, month: int, day: int = 15, hour: int = 12) -> int:
    """A time in UTC, in ms."""
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp() * 1000)


async def add_number(gate: Gate, number_id: str = NUMBER, timezone: str = "UTC") -> None:
    pool = gate.ledger._pool
    await pool.execute(
        "INSERT INTO account (account_id, name, currency, created_at) VALUES ('a', 'A', 'USD', now()) "
        "ON CONFLICT DO NOTHING"
    )
    await pool.execute(
        "INSERT INTO number (number_id, account_id, currency, timezone, created_at) VALUES ($1, 'a', 'USD', $2, now())",
        number_id,
        timezone,
    )
    await pool.execute("INSERT INTO balance (number_id) VALUES ($1)", number_id)
    await gate.directory.load(gate.ledger)


async def top_up(ledger: Ledger, amount_micros: int, at_ms: int, number_id: str = NUMBER) -> UUID:
    topup_id = uuid4()
    assert await ledger.fetch("credit_topup", topup_id, number_id, str(topup_id), "manual", amount_micros, at_ms)
    return topup_id


async def record(ledger: Ledger, at_ms: int, number_id: str = NUMBER, **facts: Any) -> UUID:
    """Record a paid hold of a moment; `facts` are fields of NewHold."""
    nothing: dict[str, Any] = dict.fromkeys(NewHold._fields)
    texts = dict.fromkeys(("why", "rate_source", "state_evidence"), "")
    hold = NewHold(**{
        **nothing,
        **texts,
        "hold_id": new_hold_id(at_ms),
        "number_id": number_id,
        "epoch": await ledger._pool.fetchval("SELECT epoch FROM number WHERE number_id = $1", number_id),
        "message_class": "paid",
        "fare_micros": FARE,
        "regime": "r",
        "category": "utility",
        "market": "Germany",
        "recipient": "16505551234",
        "created_ms": at_ms,
        "expires_ms": at_ms + 30 * DAY_MS,
        "overdrawn": False,
        "rate_micros": FARE,
        "markup_micros": 0,
        "tax_micros": 0,
        **facts,
    })  # fmt: skip
    assert await ledger.record(hold)
    return hold.hold_id


async def end(ledger: Ledger, event: Event, hold_id: UUID, at_ms: int, billed_micros: int = 0, **facts: Any) -> int:
    """End a hold at a moment; return how many holds that changed."""
    return len(await ledger.end(event, [End(hold_id, facts.pop("number_id", NUMBER), billed_micros, **facts)], at_ms))


async def delivered(ledger: Ledger, at_ms: int, number_id: str = NUMBER, **facts: Any) -> UUID:
    """A message that was sent and delivered at a moment, at its fare."""
    hold_id = await record(ledger, at_ms, number_id, **facts)
    assert await end(ledger, Event.DELIVER, hold_id, at_ms, facts.get("fare_micros", FARE), number_id=number_id) == 1
    return hold_id


async def usage(ledger: Ledger) -> list[tuple[Any, ...]]:
    rows: list[asyncpg.Record] = await ledger._pool.fetch(
        "SELECT number_id, day::text, category, market, class, messages, billed_micros "
        "FROM usage ORDER BY 1, 2, 3, 4, 5"
    )
    return [tuple(row) for row in rows]
