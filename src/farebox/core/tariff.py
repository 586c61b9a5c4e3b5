"""A tariff: the terms on which messages travel from a date on, and the rates that go with them.

Rules and rates are data (`config/tariffs/`); this module only reads them out. An offer is the tariff's answer for one
message: an ordered list of terms, of which the wallet takes the first that holds, and the fare with it, in one step.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from farebox.core.market import Markets

HOUR_MS = 3_600_000


class Class(StrEnum):
    """Whether a message counts as paid: a number without funds may send free ones only."""

    FREE = "free"
    PAID = "paid"


class When(StrEnum):
    """What a term asks of the wallet."""

    ALWAYS = "always"
    POOL = "pool"
    FREE_ENTRY_POINT = "free_entry_point"
    FREE_ENTRY_POINT_OFFERED = "free_entry_point_offered"


# How the wallet and the ledger name windows: the customer service window, the free entry point window, and the time
# in which an answer to a click on an ad opens the latter.
CUSTOMER_SERVICE = "csw"
FREE_ENTRY_POINT = "fep"
FREE_ENTRY_POINT_OFFER = "fep_offer"


@dataclass(frozen=True, slots=True)
class TermRule:
    """One line of a tariff's term table."""

    when: When
    message_class: Class
    rate: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Rate:
    """A price of a rate card and where it stands: `rates/pmp_usd_2026-10-01.csv:7`."""

    micros: int
    source: str


@dataclass(frozen=True, slots=True)
class Term:
    """A condition and what the message costs if it is the first that holds."""

    rule: TermRule
    fare_micros: int
    rate_source: str
    pool: str | None  # what a free unit is taken from, "service:2026-11"


@dataclass(frozen=True, slots=True)
class Offer:
    """Everything the wallet needs to decide about one message, and the explanation to be kept."""

    regime: str
    category: str
    market: str
    terms: tuple[Term, ...]
    wire: str  # the terms as take.lua reads them

    @property
    def always_free(self) -> bool:
        """Tell whether the message is free whatever state the number is in."""
        first = self.terms[0].rule
        return first.when is When.ALWAYS and first.message_class is Class.FREE


class UnpricedError(LookupError):
    """The tariff has no price for what was asked: a currency without a card, a category without a rate."""


@dataclass(frozen=True)
class Tariff:
    """A regime and its rates. Built by `farebox.tariffs` from files that were checked there."""

    name: str
    effective_from: date
    customer_service_ms: int
    free_entry_point_ms: int
    free_entry_point_answer_ms: int
    pool_name: str
    pool_size: int
    rules: Mapping[str, tuple[TermRule, ...]]
    cards: Mapping[str, Mapping[tuple[str, str], Rate]]  # currency -> (market, category) -> rate
    markets: Markets
    _offers: dict[tuple[str, str, str, str], Offer] = field(default_factory=dict)

    def rate(self, currency: str, market: str, category: str) -> Rate:
        """Return the rate of a category in a market; raises UnpricedError where the card is silent."""
        card = self.cards.get(currency)
        if card is None:
            raise UnpricedError(f"tariff {self.name} has no rate card in {currency}")
        rate = card.get((market, category))
        if rate is None:
            raise UnpricedError(f"tariff {self.name} has no {category} rate for {market} in {currency}")
        return rate

    def dearest_category(self, currency: str, market: str) -> str:
        """Return the template category that costs most in a market: what an unknown template is reserved at."""
        return max(
            ("utility", "authentication", "marketing"),
            key=lambda category: self.rate(currency, market, category).micros,
        )

    def offer(self, *, kind: str, category: str, market: str, currency: str, month: str) -> Offer:
        """Return the terms of a message of this kind ("service", "utility", "direct_utility", ...).

        `month` ("2026-11", in the number's time zone) names the pool that a free unit is taken from. Offers are few
        (kinds x markets), so each is built once.
        """
        key = (kind, market, currency, month)
        known = self._offers.get(key)
        if known is not None:
            return known
        terms = tuple(self._term(rule, market, currency, month) for rule in self.rules[kind])
        wire = json.dumps([self._wire(term) for term in terms], separators=(",", ":"))
        offer = Offer(self.name, category, market, terms, wire)
        if len(self._offers) >= MAX_OFFERS:
            self._offers.clear()
        self._offers[key] = offer
        return offer

    def pool(self, month: str) -> str:
        """Return the name of a month's pool."""
        return f"{self.pool_name}:{month}"

    def _term(self, rule: TermRule, market: str, currency: str, month: str) -> Term:
        pool = self.pool(month) if rule.when is When.POOL else None
        if rule.rate is None:
            return Term(rule, 0, "", pool)
        rate = self.rate(currency, market, rule.rate)
        return Term(rule, rate.micros, rate.source, pool)

    def _wire(self, term: Term) -> list[str | int]:
        """Write a term for take.lua: condition, fare, paid, then the condition's own two arguments."""
        paid = int(term.rule.message_class is Class.PAID)
        condition: str
        arguments: list[str | int]
        match term.rule.when:
            case When.ALWAYS:
                condition, arguments = "always", []
            case When.POOL:
                condition, arguments = "pool", [term.pool or "", self.pool_size]
            case When.FREE_ENTRY_POINT:
                condition, arguments = "window", [FREE_ENTRY_POINT]
            case When.FREE_ENTRY_POINT_OFFERED:
                condition = "opening"
                arguments = [FREE_ENTRY_POINT_OFFER, FREE_ENTRY_POINT, self.free_entry_point_ms]
        return [condition, str(term.fare_micros), paid, *arguments]


MAX_OFFERS = 10_000  # 8 kinds x 47 markets x a few currencies and months; a bound, not a tuning knob
