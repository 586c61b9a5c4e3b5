"""Where WhatsApp saw deliveries otherwise than we did."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from farebox.admin.fields import Amount, NumberId
from farebox.admin.models import MAX_PAGE, Given, Nothing
from farebox.admin.routing import Answer, Ask
from farebox.admin.shown import Drift, shown_drift
from farebox.admin.spans import SpanQuery


class DriftsQuery(SpanQuery):
    """Which drifts."""

    number: NumberId | None = Field(None, description="Of this phone number id only.")
    limit: int = Field(50, ge=1, le=MAX_PAGE)
    before: UUID | None = Field(None, description="The hold that the page before ended with: its `next`.")


class DriftOfMessage(Drift):
    """A drift and the message that it is about."""

    hold_id: UUID
    wamid: str | None
    phone_number_id: NumberId
    sent_at: datetime
    decided_at: datetime
    billed: Amount
    currency: str


class Drifts(Given):
    """Drifts, the message that was sent last first."""

    drifts: list[DriftOfMessage]
    next: UUID | None = Field(description="Give this as `before` for the next page; null: there is none.")


async def index(ask: Ask[Nothing, DriftsQuery]) -> Answer:
    """List drifts, a page at a time."""
    query = ask.query
    first, after = query.hold_ids
    if query.before is not None:
        after = min(after, query.before)
    rows = await ask.gate.ledger.fetch("drifts", query.number, first, after, query.limit + 1)
    shown = [
        DriftOfMessage(
            hold_id=row["hold_id"],
            wamid=row["wamid"],
            phone_number_id=row["number_id"],
            sent_at=row["created_at"],
            decided_at=row["ended_at"],
            billed=row["billed_micros"],
            currency=row["currency"],
            **dict(shown_drift(row["drift"], our_rate_source=row["rate_source"])),
        )
        for row in rows[: query.limit]
    ]
    return Answer(Drifts(drifts=shown, next=shown[-1].hold_id if len(rows) > query.limit else None))
