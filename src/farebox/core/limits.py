"""Spend limits: how much a number may spend in a day or a month, in all or on one category.

What counts as spent in a period is what was charged in it, by the number's own days, and what is set aside at the
moment. So a fare that is given back gives its part of the limit back, and one that is charged tomorrow counts tomorrow.
The wallet decides, in the same step that looks at the balance (`lua/take.lua`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from farebox.core.account import AUTHENTICATION, INTERNATIONAL
from farebox.core.money import format_micros
from farebox.core.tariff import month_of

EVERYTHING = ""  # the category of a limit that counts all of them
CATEGORIES = ("marketing", "utility", AUTHENTICATION, INTERNATIONAL, "service", "call")


class Period(StrEnum):
    """The time that a limit is for, in the number's time zone."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of a number."""

    period: Period
    category: str
    micros: int

    @property
    def name(self) -> str:
        """Return what an answer calls it: "day", "month marketing"."""
        return f"{self.period} {self.category}".rstrip()


@dataclass(frozen=True, slots=True)
class Reached:
    """The limit that a message would exceed, and what counts against it without the message."""

    limit: Limit
    spent_micros: int

    def sentence(self, currency: str) -> str:
        """Say to the developer what was refused, why, and what to do."""
        limit = self.limit
        daily = limit.period is Period.DAY
        of = f" for {limit.category.replace('_', ' ')} messages" if limit.category else ""
        return (
            f"The message could not be sent. It would exceed the {'daily' if daily else 'monthly'} spend limit{of} of "
            f"this number: {format_micros(self.spent_micros)} of {format_micros(limit.micros)} {currency} are spent or "
            f"set aside. Please wait for the next {limit.period}, or proceed to -> “Insights & Billing” in order to "
            "raise the limit. Your balance is not the reason; adding funds does not help."
        )


def wire(limits: Sequence[Limit], today: date) -> str:
    """Write a number's limits and its day as take.lua reads them."""
    names = {Period.DAY: today.isoformat(), Period.MONTH: month_of(today)}
    rows = [[limit.period.value, names[limit.period], limit.category, str(limit.micros)] for limit in limits]
    return json.dumps(rows, separators=(",", ":"))
