"""What was used, by month or day: from the roll-up that the ledger's own transactions keep, never by reading messages.

What was charged is exact. Messages whose fate is open are not charged yet: what is set aside for them is the gap
between `charged` and `approximate`, and it closes as their webhooks come or their time runs out.
"""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from farebox.admin.fields import Amount, Label, NumberId, refuse
from farebox.admin.models import Asked, Given, Nothing
from farebox.admin.numbers import number_in_use
from farebox.admin.problems import ProblemError
from farebox.admin.routing import Answer, Ask
from farebox.directory import Number
from farebox.gate import Gate

MAX_PERIODS = 400  # of one answer: a year of days, or thirty years of months
Granularity = Literal["month", "day"]
_MONTHS = 12  # without `from`: this month and the eleven before


class UsageQuery(Asked):
    """Which usage."""

    from_: date | None = Field(None, alias="from", description="First day, in the numbers' time zones.")
    to: date | None = Field(None, description="The day after the last.")
    granularity: Granularity = "month"
    number: NumberId | None = Field(None, description="Of this phone number id only.")
    message_class: Literal["all", "free", "paid"] = Field("all", alias="class")
    category: Label | None = Field(None, description="Of this category only.")
    market: Label | None = Field(None, description="Of this market only.")

    @model_validator(mode="after")
    def _in_order(self) -> "UsageQuery":
        if self.from_ is not None and self.to is not None and self.to <= self.from_:
            raise refuse("to must be after from")
        return self


class Period(Given):
    """A month or a day of one currency's numbers."""

    starts: date = Field(alias="from")
    ends: date = Field(alias="to", description="The day after the last.")
    currency: str
    free: int = Field(description="Delivered messages that were free.")
    paid: int = Field(description="Delivered messages that were paid.")
    free_conversations: int = Field(description="Free conversations opened, of a tariff that charges by them.")
    paid_conversations: int = Field(description="Paid ones; where each message is charged there are none.")
    on_their_way: int = Field(description="Messages sent then whose fate is open.")
    charged: Amount = Field(description="What was charged.")
    held: Amount = Field(description="What is set aside for those on their way: the gap to `approximate`.")
    approximate: Amount = Field(description="What it will have cost if all of them arrive at the fares set aside.")

    @property
    def messages(self) -> int:
        """All delivered messages."""
        return self.free + self.paid

    @property
    def conversations(self) -> int:
        """All conversations that were opened."""
        return self.free_conversations + self.paid_conversations


class Usage(Given):
    """Usage by currency and time, oldest first; periods without any stand as zeros."""

    granularity: Granularity
    usage: list[Period]


async def index(ask: Ask[Nothing, UsageQuery]) -> Answer:
    """Tell the usage of one number, or of all."""
    gate, query = ask.gate, ask.query
    chosen = [await number_in_use(gate, query.number)] if query.number else list(gate.directory.numbers.values())
    return Answer(Usage(granularity=query.granularity, usage=await read_usage(gate, chosen, query)))


async def read_usage(gate: Gate, numbers: Sequence[Number], query: UsageQuery) -> list[Period]:
    """Return the usage of some numbers."""
    starts = _starts(gate, numbers, query)
    if not numbers:
        return []
    class_ = None if query.message_class == "all" else query.message_class
    narrowed = (class_, query.category, query.market)
    rows = await gate.ledger.fetch(
        "usage_by", [n.number_id for n in numbers], starts[0], starts[-1], query.granularity, *narrowed
    )
    found: dict[tuple[str, date], dict[str, int]] = {}
    for row in rows:
        # The first period may begin in the middle of a month: then it has its own first day.
        place = found.setdefault((row["currency"], max(row["starts"], starts[0])), {})
        place[row["class"]] = row["messages"]
        place[f"{row['class']}_conversations"] = row["conversations"]
        place["charged"] = place.get("charged", 0) + row["billed_micros"]
    await _add_held(gate, numbers, starts, narrowed, found)
    currencies = sorted({number.currency for number in numbers})
    return [
        _period(currency, start, end, found.get((currency, start), {}))
        for currency in currencies
        for start, end in pairwise(starts)
    ]


async def _add_held(
    gate: Gate,
    numbers: Sequence[Number],
    starts: Sequence[date],
    narrowed: tuple[str | None, str | None, str | None],
    found: dict[tuple[str, date], dict[str, int]],
) -> None:
    """Add what is open, zone by zone: a day begins at midnight where its number is."""
    for currency, zone in sorted({(number.currency, number.zone.key) for number in numbers}):
        ids = [n.number_id for n in numbers if (n.currency, n.zone.key) == (currency, zone)]
        times = [datetime.combine(day, time(), ZoneInfo(zone)) for day in starts]
        for row in await gate.ledger.fetch("held_by", ids, times, *narrowed):
            if 0 < row["period"] < len(starts):
                place = found.setdefault((currency, starts[row["period"] - 1]), {})
                place["open"] = place.get("open", 0) + row["messages"]
                place["held"] = place.get("held", 0) + row["held_micros"]


def _starts(gate: Gate, numbers: Sequence[Number], query: UsageQuery) -> list[date]:
    """Return the first day of each period, and the day after the last."""
    zone = numbers[0].zone if numbers else ZoneInfo("UTC")
    today = datetime.fromtimestamp(gate.clock.now_ms() / 1000, zone).date()
    end = query.to or _next(today, query.granularity)
    start = query.from_ or _months_before(end, _MONTHS)
    starts = [start]
    while starts[-1] < end:
        starts.append(min(_next(starts[-1], query.granularity), end))
        if len(starts) > MAX_PERIODS + 1:
            raise ProblemError(
                422, f"from: at most {MAX_PERIODS} periods in one answer; ask for months, or for fewer days."
            )
    return starts


def _next(day: date, granularity: str) -> date:
    if granularity == "day":
        return day + timedelta(days=1)
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def _months_before(end: date, months: int) -> date:
    """Return the first day of the month so many months before the last day of a span."""
    last = end - timedelta(days=1)
    month = last.year * 12 + last.month - months
    return date(month // 12, month % 12 + 1, 1)


def _period(currency: str, start: date, end: date, seen: dict[str, int]) -> Period:
    charged, held = seen.get("charged", 0), seen.get("held", 0)
    return Period(
        starts=start,
        ends=end,
        currency=currency,
        free=seen.get("free", 0),
        paid=seen.get("paid", 0),
        free_conversations=seen.get("free_conversations", 0),
        paid_conversations=seen.get("paid_conversations", 0),
        on_their_way=seen.get("open", 0),
        charged=charged,
        held=held,
        approximate=charged + held,
    )
