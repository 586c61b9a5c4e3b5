"""Spend limits of a number: by day and by month, in all and by category."""

from typing import Literal

from pydantic import Field

from farebox.admin.fields import Amount, AmountFromZero, NumberId
from farebox.admin.models import Given, Nothing, Taken
from farebox.admin.numbers import number_in_use
from farebox.admin.routing import Answer, Ask
from farebox.core.limits import EVERYTHING, Period
from farebox.directory import Number
from farebox.gate import Gate
from farebox.tariffs import local_day

ALL = "all"
Counted = Literal["all", "marketing", "utility", "authentication", "authentication_international", "service", "call"]


class LimitsPut(Taken):
    """The limits of a number; what is not named has none."""

    day: dict[Counted, AmountFromZero] = Field(
        default_factory=dict, description='By category, or "all": the most that may be spent in a day.'
    )
    month: dict[Counted, AmountFromZero] = Field(default_factory=dict, description="The same for a calendar month.")


class ShownLimit(Given):
    """A limit and what counts against it: what was charged in the period, and what is set aside now."""

    period: Period
    category: str
    limit: Amount
    spent: Amount
    left: Amount


class Limits(Given):
    """The spend limits of a number. Days and months turn in its time zone."""

    phone_number_id: NumberId
    currency: str
    timezone: str
    limits: list[ShownLimit]


async def show(ask: Ask[Nothing, Nothing]) -> Answer:
    """Show the limits."""
    return Answer(await _shown(ask.gate, await number_in_use(ask.gate, ask.path["phone_number_id"])))


async def put(ask: Ask[LimitsPut, Nothing]) -> Answer:
    """Replace the limits."""
    gate = ask.gate
    number = await number_in_use(gate, ask.path["phone_number_id"])
    rows = [
        (period, EVERYTHING if category == ALL else category, micros)
        for period, by in ((Period.DAY, ask.body.day), (Period.MONTH, ask.body.month))
        for category, micros in by.items()
    ]
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    await gate.ledger.fetch("put_limits", number.number_id, *(list(column) for column in columns))
    await gate.directory.load_numbers(gate.ledger)
    return Answer(await _shown(gate, gate.directory.numbers[number.number_id]))


async def _shown(gate: Gate, number: Number) -> Limits:
    rows = await gate.ledger.fetch("spent", number.number_id, local_day(gate.clock.now_ms(), number.zone))
    shown = []
    for limit in number.limits:
        spent_micros = sum(
            row["held_micros"] + row[f"{limit.period}_micros"]
            for row in rows
            if limit.category in (EVERYTHING, row["category"])
        )
        shown.append(
            ShownLimit(
                period=limit.period,
                category=limit.category or ALL,
                limit=limit.micros,
                spent=spent_micros,
                left=max(0, limit.micros - spent_micros),
            )
        )
    return Limits(phone_number_id=number.number_id, currency=number.currency, timezone=number.zone.key, limits=shown)
