"""Every movement of a number's balance."""

from datetime import datetime
from uuid import UUID

import asyncpg
from pydantic import Field

from farebox.admin.fields import Amount
from farebox.admin.models import MAX_PAGE, Asked, Given, Nothing
from farebox.admin.numbers import number_in_use
from farebox.admin.routing import Answer, Ask

MAX_ENTRY_ID = 2**63 - 1


class EntriesQuery(Asked):
    """Which page of the entries."""

    limit: int = Field(50, ge=1, le=MAX_PAGE)
    before: int = Field(
        MAX_ENTRY_ID, ge=1, le=MAX_ENTRY_ID, description="The entry that the page before ended with: its `next`."
    )


class Entry(Given):
    """A movement of the number's balance: above zero it came in, below zero it went out."""

    entry_id: int
    kind: str
    amount: Amount
    currency: str
    at: datetime
    hold_id: UUID | None
    wamid: str | None
    category: str | None
    market: str | None
    topup_id: UUID | None
    reference: str | None
    reason: str | None = Field(description="Why, of an entry that no message and no top-up made.")


class Entries(Given):
    """Entries, newest first."""

    entries: list[Entry]
    next: str | None = Field(description="Give this as `before` for the next page; null: there is none.")


async def index(ask: Ask[Nothing, EntriesQuery]) -> Answer:
    """List a number's entries, a page at a time."""
    number = await number_in_use(ask.gate, ask.path["phone_number_id"])
    limit = ask.query.limit
    rows = await ask.gate.ledger.fetch("entries", number.number_id, ask.query.before, limit + 1)
    shown = [_entry(row, number.currency) for row in rows[:limit]]
    return Answer(Entries(entries=shown, next=str(shown[-1].entry_id) if len(rows) > limit else None))


def _entry(row: asyncpg.Record, currency: str) -> Entry:
    return Entry(
        entry_id=row["entry_id"],
        kind=row["kind"],
        amount=row["amount_micros"] if row["into_book"] == "number" else -row["amount_micros"],
        currency=currency,
        at=row["at"],
        hold_id=row["hold_id"],
        wamid=row["wamid"],
        category=row["category"],
        market=row["market"],
        topup_id=row["topup_id"],
        reference=row["reference"],
        reason=row["reason"],
    )
