"""Drift: where WhatsApp saw a delivery otherwise than we did when its fare was set aside. Both views are kept.

What is billed follows WhatsApp. A drift is no error by itself (a template's category moved, a window had closed by the
time the message arrived); many of one kind are a sign that a tariff, a card or the registry of templates is wrong.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from farebox.core.money import format_micros


class View(NamedTuple):
    """How one side sees a message. What it says nothing about is empty."""

    category: str
    market: str
    message_class: str
    fare_micros: int
    rate_source: str = ""
    type: str = ""  # in the words of WhatsApp: regular, free_customer_service, ...

    def __str__(self) -> str:
        return (
            f"{self.message_class} {self.category or self.type} in {self.market} at {format_micros(self.fare_micros)}"
        )


@dataclass(frozen=True, slots=True)
class Drift:
    """Two views that differ, and in what: category, market, class, price."""

    differs: tuple[str, ...]
    ours: View
    theirs: View
    flaw: str | None = None

    def __str__(self) -> str:
        return self.flaw or f"reserved as {self.ours}, delivered as {self.theirs}"

    def record(self) -> dict[str, Any]:
        """Return what the ledger keeps."""
        return {
            "differs": list(self.differs),
            "ours": self.ours._asdict(),
            "theirs": self.theirs._asdict(),
            "flaw": self.flaw,
        }


def compare(
    ours: View, theirs: View, *, same_category: bool, price_counts: bool, flaw: str | None = None
) -> Drift | None:
    """Return the drift between two views, None where there is none.

    Categories have more than one name (a conversation's, a free entry point's), so the caller says whether they agree.
    `price_counts` is False for one of several messages that share a price: whichever arrives first carries it. A `flaw`
    is what WhatsApp said and can not be meant, in words.
    """
    found = {
        "category": not same_category,
        "market": ours.market != theirs.market,
        "class": ours.message_class != theirs.message_class,
        "price": price_counts and ours.fare_micros != theirs.fare_micros,
        "cost": flaw is not None,
    }
    differs = tuple(name for name, different in found.items() if different)
    return Drift(differs, ours, theirs, flaw) if differs else None
