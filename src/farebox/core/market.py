"""Meta's pricing regions: which market a country belongs to on a date.

A recipient belongs to the market of its country, and a country that no row names to "Other", as on Meta's rate cards.
Not by the longest prefix of Meta's table of calling codes: that table has +1 for the United States and Canada alone,
and by prefix every Caribbean island behind +1 would be priced as North America, where Meta prices it as "Other".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from farebox.core.recipient import country_of

OTHER = "Other"


@dataclass(frozen=True, slots=True)
class MarketRow:
    """One country in one market, from a card's date on (`valid_to` is exclusive, None is open)."""

    market: str
    country: str
    prefixes: tuple[str, ...]  # as Meta prints them, to be compared with; nothing is priced by them
    valid_from: date
    valid_to: date | None

    def on(self, day: date) -> bool:
        """Tell whether the row is in force on a day."""
        return self.valid_from <= day and (self.valid_to is None or day < self.valid_to)


class Markets:
    """The markets of all countries on one date."""

    __slots__ = ("_by_country",)

    def __init__(self, rows: Iterable[MarketRow], day: date) -> None:
        self._by_country = {row.country: row.market for row in rows if row.country and row.on(day)}

    def of_country(self, country: str) -> str:
        """Return the market of an ISO 3166 country."""
        return self._by_country.get(country, OTHER)

    def of(self, user: str) -> str:
        """Return the market of a recipient: digits of a phone number, or a business-scoped user id."""
        return self.of_country(country_of(user))

    def names(self, country: str) -> bool:
        """Tell whether a row names a country: otherwise it is priced as "Other" for want of a better market."""
        return country in self._by_country
