"""Why a message cost what it cost."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from farebox.admin.fields import Amount, NumberId
from farebox.admin.models import Given
from farebox.admin.problems import ProblemError
from farebox.admin.routing import Answer, Get


class DecidingWebhook(Given):
    """The status webhook that ended a hold."""

    status: str | None
    at: datetime | None
    pricing: dict[str, str] | None = Field(description="What WhatsApp says the delivery costs: type and category.")
    priced_by: str | None = Field(description="What set the price, where it was not the rate card's list rate.")
    error_code: int | None


class Message(Given):
    """A message's fare and everything that explains it."""

    hold_id: UUID
    wamid: str | None
    phone_number_id: NumberId
    state: str
    message_class: str = Field(alias="class")
    category: str
    market: str
    regime: str
    fare: Amount
    billed: Amount | None = Field(description="What was charged; null while its fate is open.")
    currency: str
    why: str = Field(description="The rule that set the fare.")
    rate_source: str = Field(description="File and line of the rate card; empty for a free message.")
    evidence: str = Field(description="What the rule rests on: a window's end, a pool's count.")
    pool: str | None
    recipient: str = Field(description="All but the last four characters are masked.")
    template: str | None
    note: str | None
    created_at: datetime
    expires_at: datetime
    delivered_at: datetime | None = Field(description="When a delivery without a price was seen.")
    ended_at: datetime | None
    ended_by: str | None
    late: bool = Field(description="Charged after the hold had ended otherwise.")
    webhook: DecidingWebhook | None


SHOWN_CHARACTERS = 4  # of a recipient: enough to recognise a case, too few to call


async def explain(ask: Get) -> Answer:
    """Explain a message, named by its wamid or its hold id."""
    message_id = ask.path["message_id"]
    row = await ask.gate.ledger.fetch_one("message", _hold_id(message_id), message_id)
    if row is None:
        raise ProblemError(
            404, f"No message is known as {message_id}; give its wamid or the hold id of its X-Farebox-Hold header."
        )
    return Answer(
        Message(
            hold_id=row["hold_id"],
            wamid=row["wamid"],
            phone_number_id=row["number_id"],
            state=row["state"],
            message_class=row["class"],
            category=row["category"],
            market=row["market"],
            regime=row["regime"],
            fare=row["fare_micros"],
            billed=row["billed_micros"],
            currency=row["currency"],
            why=row["why"],
            rate_source=row["rate_source"],
            evidence=row["state_evidence"],
            pool=row["pool"],
            recipient=_masked(row["recipient"]),
            template=row["template"],
            note=row["note"],
            created_at=row["created_at"],
            expires_at=row["expires_at"],
            delivered_at=row["delivered_at"],
            ended_at=row["ended_at"],
            ended_by=row["ended_by"],
            late=row["late"],
            webhook=_webhook(row["webhook"]),
        )
    )


def _hold_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _masked(recipient: str) -> str:
    hidden = max(len(recipient) - SHOWN_CHARACTERS, 0) or len(recipient)
    return "*" * hidden + recipient[hidden:]


def _webhook(stored: str | None) -> DecidingWebhook | None:
    """Read what the ledger kept of the status (see Status.evidence), and nothing that it may hold besides."""
    kept: dict[str, Any] | None = json.loads(stored) if stored else None
    if not kept:
        return None
    at_ms = kept.get("at_ms")
    pricing = kept.get("pricing")
    return DecidingWebhook(
        status=kept.get("status"),
        at=datetime.fromtimestamp(at_ms / 1000, UTC) if at_ms else None,
        pricing={name: str(pricing.get(name, "")) for name in ("type", "category", "cost") if name in pricing}
        if pricing
        else None,
        priced_by=kept.get("priced_by"),
        error_code=kept.get("error_code"),
    )
