"""Parts that explanations and quotes have in common."""

import json
from datetime import UTC, datetime

from pydantic import Field

from farebox.admin.fields import Amount
from farebox.admin.models import Given
from farebox.core.evidence import read_evidence


class Evidence(Given):
    """What a term rests on, read."""

    text: str = Field(description="As the wallet writes it.")
    window_until: datetime | None = Field(description="End of the window that it rests on.")
    unit: int | None = Field(description="Which free unit of the pool it is.")
    pool: str | None
    pool_size: int | None
    conversation: str | None = Field(description="The open conversation that the message rides, by category.")
    conversation_until: datetime | None = Field(description="null while its first message has not arrived.")


class View(Given):
    """How one side saw a message."""

    category: str
    market: str
    message_class: str = Field(alias="class")
    fare: Amount
    rate_source: str
    type: str = Field(description="In the words of WhatsApp: regular, free_customer_service, ...; empty in our view.")


class Drift(Given):
    """Where WhatsApp saw a delivery otherwise than we did."""

    differs: list[str] = Field(description="Any of category, market, class, price.")
    ours: View
    theirs: View


def shown_evidence(text: str) -> Evidence:
    """Return evidence as it is shown."""
    evidence = read_evidence(text)
    ends_ms = evidence.conversation_until_ms
    return Evidence(
        text=text,
        window_until=moment(evidence.windows[0][1]) if evidence.windows else None,
        unit=evidence.unit,
        pool=evidence.pool,
        pool_size=evidence.pool_size,
        conversation=evidence.conversation,
        conversation_until=None if ends_ms is None else moment(ends_ms),
    )


def shown_drift(stored: str, *, our_rate_source: str) -> Drift:
    """Read a drift as the ledger keeps it (core/drift.py)."""
    kept = json.loads(stored)
    views = {
        side: View(
            category=kept[side]["category"],
            market=kept[side]["market"],
            message_class=kept[side]["message_class"],
            fare=kept[side]["fare_micros"],
            rate_source=kept[side]["rate_source"] or ("" if side == "theirs" else our_rate_source),
            type=kept[side]["type"],
        )
        for side in ("ours", "theirs")
    }
    return Drift(differs=kept["differs"], **views)


def moment(at_ms: int) -> datetime:
    """Return a time of the one clock."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)
