"""What a number in shadow mode would have been refused."""

from datetime import datetime

from pydantic import Field

from farebox.admin.fields import Amount, NumberId
from farebox.admin.models import Given, Nothing
from farebox.admin.numbers import number_in_use
from farebox.admin.routing import Answer, Ask
from farebox.admin.spans import SpanQuery


class ShadowReport(Given):
    """What a number sent in a span of time, and what enforcement would have made of it.

    In shadow mode a message that would have been refused is charged all the same, so after the next top-up less is left
    than enforcement would have left: the report is an upper bound from there on.
    """

    phone_number_id: NumberId
    mode: str = Field(description="The number's mode now.")
    messages: int
    paid_messages: int
    spend: Amount = Field(description="Charged so far.")
    open: Amount = Field(description="Set aside for messages whose fate is open.")
    would_refuse: int
    would_not_spend: Amount = Field(description="What the messages cost that would have been refused.")
    first_at: datetime | None = Field(description="When the first message was sent that would have been refused.")
    last_at: datetime | None
    currency: str


async def report(ask: Ask[Nothing, SpanQuery]) -> Answer:
    """Report on a number's shadow time."""
    number = await number_in_use(ask.gate, ask.path["phone_number_id"])
    row = await ask.gate.ledger.fetch_one("shadow_report", number.number_id, *ask.query.hold_ids)
    assert row is not None, "a sum has one row"
    return Answer(
        ShadowReport(
            phone_number_id=number.number_id,
            mode=number.mode,
            messages=row["messages"],
            paid_messages=row["paid_messages"],
            spend=row["spend_micros"],
            open=row["open_micros"],
            would_refuse=row["refused"],
            would_not_spend=row["refused_micros"],
            first_at=row["first_at"],
            last_at=row["last_at"],
            currency=number.currency,
        )
    )
