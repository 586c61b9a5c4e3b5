"""Why a message cost what it cost."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
from pydantic import Field

from farebox.admin.fields import Amount, NumberId
from farebox.admin.models import Given
from farebox.admin.problems import ProblemError
from farebox.admin.routing import Answer, Get
from farebox.admin.shown import Drift, Evidence, shown_drift, shown_evidence
from farebox.ledger import Ledger


class DecidingWebhook(Given):
    """The status webhook that ended a hold."""

    status: str | None
    at: datetime | None
    pricing: dict[str, str] | None = Field(description="What WhatsApp says the delivery costs: type and category.")
    priced_by: str | None = Field(description="What set the price, where it was not the rate card's list rate.")
    error_code: int | None


class Conversation(Given):
    """The conversation that a message belongs to, where conversations are charged."""

    opens: str | None = Field(description="The category of the conversation that this message opens.")
    rides: UUID | None = Field(description="The hold of the message that opened the conversation.")
    until: datetime | None = Field(description="Open until then; null: its first message has not arrived.")


class FareParts(Given):
    """What a fare is made of."""

    rate: Amount = Field(description="Meta's own rate.")
    markup: Amount = Field(description="What the account adds.")
    tax: Amount


class Message(Given):
    """A message's fare and everything that explains it."""

    hold_id: UUID
    wamid: str | None
    phone_number_id: NumberId
    timezone: str = Field(description="Of the number: months and tariffs turn there.")
    state: str
    message_class: str = Field(alias="class")
    category: str
    market: str
    regime: str
    fare: Amount
    fare_parts: FareParts | None = Field(description="null: recorded by an older version.")
    billed: Amount | None = Field(description="What was charged; null while its fate is open.")
    currency: str
    why: str = Field(description="The rule that set the fare.")
    rate_source: str = Field(description="File and line of the rate card; empty for a free message.")
    evidence: str = Field(description="What the rule rests on: a window's end, a pool's count.")
    evidence_parts: Evidence
    pool: str | None
    conversation: Conversation | None = Field(description="null: the message belongs to none.")
    recipient: str = Field(description="All but the last four characters are masked.")
    template: str | None
    note: str | None
    created_at: datetime
    expires_at: datetime
    delivered_at: datetime | None = Field(description="When a delivery without a price was seen.")
    ended_at: datetime | None
    ended_by: str | None
    late: bool = Field(description="Charged after the hold had ended otherwise.")
    overdrawn: bool = Field(description="Sent in shadow mode where enforcement would have refused it.")
    webhook: DecidingWebhook | None
    drift: Drift | None = Field(description="Where WhatsApp saw it otherwise than we did.")


NOTED_WITHIN_S = 0.2  # a send's answer may be ahead of the note of its wamid (farebox/answered.py)
SHOWN_CHARACTERS = 4  # of a recipient: enough to recognise a case, too few to call


async def explain(ask: Get) -> Answer:
    """Explain a message, named by its wamid or its hold id."""
    message_id = ask.path["message_id"]
    message = await find_message(ask.gate.ledger, message_id)
    if message is None:
        await asyncio.sleep(NOTED_WITHIN_S)
        message = await find_message(ask.gate.ledger, message_id)
    if message is None:
        raise ProblemError(
            404, f"No message is known as {message_id}; give its wamid or the hold id of its X-Farebox-Hold header."
        )
    return Answer(message)


async def find_message(ledger: Ledger, message_id: str) -> Message | None:
    """Return a message by its wamid or hold id, with everything that explains its fare."""
    row = await ledger.fetch_one("message", _hold_id(message_id), message_id)
    if row is None:
        return None
    same = ("hold_id", "wamid", "timezone", "state", "category", "market", "regime", "currency", "why", "rate_source",
            "pool", "template", "note", "created_at", "expires_at", "delivered_at", "ended_at", "ended_by", "late",
            "overdrawn")  # fmt: skip
    return Message(
        **{name: row[name] for name in same},
        phone_number_id=row["number_id"],
        message_class=row["class"],
        fare=row["fare_micros"],
        fare_parts=_parts(row),
        billed=row["billed_micros"],
        evidence=row["state_evidence"],
        evidence_parts=shown_evidence(row["state_evidence"]),
        conversation=_conversation(row),
        recipient=_masked(row["recipient"]),
        webhook=_webhook(row["webhook"]),
        drift=shown_drift(row["drift"], our_rate_source=row["rate_source"]) if row["drift"] else None,
    )


def _parts(row: asyncpg.Record) -> FareParts | None:
    if row["rate_micros"] is None:
        return None
    return FareParts(rate=row["rate_micros"], markup=row["markup_micros"], tax=row["tax_micros"])


def _conversation(row: asyncpg.Record) -> Conversation | None:
    if row["opens"] is None and row["rides"] is None:
        return None
    return Conversation(opens=row["opens"], rides=row["rides"], until=row["conversation_until"])


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
