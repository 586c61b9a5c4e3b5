"""The balance that a number needs, inside the step that adds it: by its own consumption, and by what is planned."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import Field

from farebox.admin.estimates import Plan, plan_of, read_pace_of
from farebox.admin.fields import Amount
from farebox.admin.models import Given
from farebox.admin.numbers import Balance
from farebox.core.forecast import Pace, lasts, project
from farebox.core.money import MICROS_PER_UNIT
from farebox.core.plan import Planned
from farebox.directory import Number
from farebox.gate import Gate

DAYS = 30  # that a balance is to last where nobody says how long: a month


class Consumption(Given):
    """What the coming days cost at the number's own pace; four of five times within the range."""

    low: Amount
    expected: Amount
    high: Amount
    read_from_days: int = Field(description="Whole days that the pace was read from.")
    missing: Amount = Field(description="Of what is expected, what is neither available nor on its way.")


class Needed(Given):
    """The balance that is needed. It is approximate, and charges nothing."""

    days: int = Field(description="How long the balance is to last.")
    available: Amount
    pending: Amount = Field(description="Top-ups that are on their way.")
    consumption: Consumption | None = Field(description="null: too few days with charges to read a pace from.")
    plan: Plan | None = Field(description="What was planned, priced by today's rate card.")
    plan_missing: Amount | None = Field(description="Of the plan's cost, what is neither available nor on its way.")
    suggested: Amount | None = Field(
        description="What to add, in whole units: for the plan where there is one, else for the days; null: nothing."
    )
    lasts_days: int | None = Field(
        description="How many days it lasts at this pace with the amount; null: no pace is known, or for over a year."
    )


async def needed_of(
    gate: Gate, number: Number, balance: Balance, *, days: int, planned: Sequence[Planned], amount_micros: int | None
) -> Needed:
    """Estimate what is needed, and how long it lasts with the amount, or with what is suggested."""
    now = datetime.fromtimestamp(gate.clock.now_ms() // 60_000 * 60, number.zone)  # paces are read by the minute
    pace = await read_pace_of(gate, [number], now)
    plan = await plan_of(gate, number, planned, now.date()) if planned else None
    there = balance.available + balance.pending
    consumption = _consumption(pace, there, now, days) if isinstance(pace, Pace) else None
    plan_missing = None if plan is None else max(0, plan.cost - there)
    missing = plan_missing if plan_missing is not None else consumption.missing if consumption else 0
    suggested = -(-missing // MICROS_PER_UNIT) * MICROS_PER_UNIT or None
    then = there + (amount_micros or suggested or 0)
    out = lasts(pace, then, now).expected if isinstance(pace, Pace) else None
    return Needed(
        days=days,
        available=balance.available,
        pending=balance.pending,
        consumption=consumption,
        plan=plan,
        plan_missing=plan_missing,
        suggested=suggested,
        lasts_days=None if out is None else (out - now).days,
    )


def _consumption(pace: Pace, there_micros: int, now: datetime, days: int) -> Consumption:
    seen = project(pace, 0, now, now + timedelta(days=days))
    return Consumption(
        low=seen.low_micros,
        expected=seen.expected_micros,
        high=seen.high_micros,
        read_from_days=pace.days,
        missing=max(0, seen.expected_micros - there_micros),
    )
