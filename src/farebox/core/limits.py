"""Spend limits: how much a number may spend in a day or a month, in all, on one category, or by one farebox key.

What counts as spent in a period is what was charged in it, by the number's own days, and what is set aside at the
moment. So a fare that is given back gives its part of the limit back, and one that is charged tomorrow counts tomorrow.
The wallet decides, in the same step that looks at the balance (`lua/take.lua`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from uuid import UUID

from farebox.core.account import AUTHENTICATION, INTERNATIONAL
from farebox.core.money import format_micros
from farebox.core.tariff import month_of

EVERYTHING = ""  # the category of a limit that counts all of them
OF_KEY = "key:"  # begins the "category" of a limit on what one key spends, and the names of its counters
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
        return f"{self.period} {'key' if self.of_key else self.category}".rstrip()

    @property
    def of_key(self) -> bool:
        """Tell whether it is a limit of one key."""
        return self.category.startswith(OF_KEY)


@dataclass(frozen=True, slots=True)
class Reached:
    """The limit that a message would exceed, and what counts against it without the message."""

    limit: Limit
    spent_micros: int

    def sentence(self, currency: str) -> str:
        """Say to the developer what was refused, why, and what to do."""
        limit = self.limit
        daily = limit.period is Period.DAY
        of = f" for {limit.category.replace('_', ' ')} messages" if limit.category and not limit.of_key else ""
        whose = "this farebox key for this number" if limit.of_key else "this number"
        way_out = (
            "ask whoever runs the gateway to raise the limit of the key"
            if limit.of_key
            else "proceed to -> “Insights & Billing” in order to raise the limit"
        )
        return (
            f"The message could not be sent. It would exceed the {'daily' if daily else 'monthly'} spend limit{of} of "
            f"{whose}: {format_micros(self.spent_micros)} of {format_micros(limit.micros)} {currency} are spent or "
            f"set aside. Please wait for the next {limit.period}, or {way_out}. Your balance is not the reason; adding "
            "funds does not help."
        )


def key_counter(key_id: UUID | None) -> str:
    """Return what counts the spend of a key, "" for none."""
    return f"{OF_KEY}{key_id}" if key_id else ""


def wire(limits: Sequence[Limit], today: date) -> str:
    """Write a number's limits and its day as take.lua reads them."""
    names = {Period.DAY: today.isoformat(), Period.MONTH: month_of(today)}
    rows = [[limit.period.value, names[limit.period], limit.category, str(limit.micros)] for limit in limits]
    return json.dumps(rows, separators=(",", ":"))
