"""Meta's pricing regions: which market a recipient belongs to on a date.

A phone number belongs to the market of its longest known prefix, a business-scoped user id ("US.1349...") to that of
the country it starts with. What no row names is "Other", as on Meta's rate cards.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

OTHER = "Other"
LONGEST_PREFIX = 7  # of E.164: a country code and an area code


@dataclass(frozen=True, slots=True)
class MarketRow:
    """One country in one market, from a card's date on (`valid_to` is exclusive, None is open)."""

    market: str
    country: str
    prefixes: tuple[str, ...]
    valid_from: date
    valid_to: date | None

    def on(self, day: date) -> bool:
        """Tell whether the row is in force on a day."""
        return self.valid_from <= day and (self.valid_to is None or day < self.valid_to)


class Markets:
    """The rows that are in force on one date, by prefix and by country."""

    def __init__(self, rows: Iterable[MarketRow], day: date) -> None:
        self._by_prefix: dict[str, str] = {}
        self._by_country: dict[str, str] = {}
        for row in rows:
            if row.on(day):
                self._by_prefix.update(dict.fromkeys(row.prefixes, row.market))
                if row.country:
                    self._by_country[row.country] = row.market

    def of(self, user: str) -> str:
        """Return the market of a recipient: digits of a phone number, or a business-scoped user id."""
        if user[:2].isalpha():
            return self._by_country.get(user[:2].upper(), OTHER)
        for length in range(min(LONGEST_PREFIX, len(user)), 0, -1):
            market = self._by_prefix.get(user[:length])
            if market is not None:
                return market
        return OTHER
