"""A tariff: the terms on which messages travel from a date on, and the rate cards that go with them.

Rules and rates are data (`config/tariffs/`); this module only reads them out. An offer is the tariff's answer for one
message: an ordered list of terms, of which the wallet takes the first that holds, and the fare with it, in one step.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from functools import cached_property
from typing import Any

from farebox.core.market import Markets
from farebox.core.markup import NOTHING, Markup, Split

HOUR_MS = 3_600_000
MAX_OFFERS = 10_000  # kinds x markets x a few currencies, months and mark-ups; a bound, not a tuning knob


class Class(StrEnum):
    """Whether a message counts as paid: a number without funds may send free ones only."""

    FREE = "free"
    PAID = "paid"


class When(StrEnum):
    """What a term asks of the wallet."""

    ALWAYS = "always"
    POOL = "pool"
    CONVERSATION = "conversation"  # one of these categories is open or pending: the message rides it
    FREE_ENTRY_POINT = "free_entry_point"
    FREE_ENTRY_POINT_OFFERED = "free_entry_point_offered"


# How the wallet and the ledger name windows: the customer service window, the free entry point window, and the time
# in which an answer to a click on an ad opens the latter.
CUSTOMER_SERVICE = "csw"
FREE_ENTRY_POINT = "fep"
FREE_ENTRY_POINT_OFFER = "fep_offer"
# User, window, end in ms; and a time in ms: it opens only if it was not open then. None: it grows in any case.
Window = tuple[str, str, int, int | None]
# Longer than any window or conversation there is (a free entry point: up to 7 days).
LONGEST_WINDOW_MS = 8 * 86_400_000

OPENS_FREE_ENTRY_POINT = "free_entry_point"  # what a term says it opens, if it is no conversation


@dataclass(frozen=True, slots=True)
class TermRule:
    """One line of a tariff's term table."""

    when: When
    message_class: Class | None  # None: as the conversation that it rides
    rate: str | None
    or_rate: str | None  # where the card has no such rate
    of: tuple[str, ...]  # the conversations that it may ride
    within_window: bool  # holds only while the customer service window is open
    opens: str | None  # the conversation, or the free entry point, that the message opens
    why: str
    unpriced: bool = False  # paid, and no card has a rate for it


@dataclass(frozen=True, slots=True)
class Rate:
    """A price of a rate card and where it stands: `rates/pmp_usd_2026-10-01.csv:7`."""

    micros: int
    source: str


@dataclass(frozen=True, slots=True)
class Tier:
    """The published rate from one message of a month on, in one market and category."""

    lower: int
    rate: Rate


@dataclass(frozen=True)
class Card:
    """A rate card in one currency."""

    currency: str
    valid_from: date
    rates: Mapping[tuple[str, str], Rate]
    tiers: Mapping[tuple[str, str], tuple[Tier, ...]] = field(default_factory=dict)  # lowest first; most have none

    @cached_property
    def market_names(self) -> tuple[str, ...]:
        """Return the markets that it has rates for."""
        return tuple(sorted({market for market, _ in self.rates}))


@dataclass(frozen=True, slots=True)
class Term:
    """A condition and what the message costs if it is the first that holds."""

    rule: TermRule
    split: Split  # the fare: Meta's rate, the account's mark-up, tax
    rate_source: str
    pool: str | None  # what a free unit is taken from, "service:2026-11"

    @property
    def fare_micros(self) -> int:
        """What the message costs by this term."""
        return self.split.fare_micros


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
        """Tell whether the message is free whatever state the number is in, and takes no unit."""
        return always_free(term.rule for term in self.terms)

    @property
    def unpriced(self) -> bool:
        """Tell whether the message is paid without a price that anybody here knows."""
        return self.terms[-1].rule.unpriced


def always_free(rules: Iterable[TermRule]) -> bool:
    """Tell whether terms are free in every state and take no unit."""
    return all(rule.message_class is Class.FREE and rule.when is not When.POOL for rule in rules)


class UnpricedError(LookupError):
    """The tariff has no price for what was asked: a currency without a card, a category without a rate."""


@dataclass(frozen=True)
class Tariff:
    """A regime and its rate cards. Built by `farebox.tariffs` from files that were checked there."""

    name: str
    effective_from: date
    conversations: bool  # charged by conversation, not by message
    customer_service_ms: int
    free_entry_point_ms: int
    free_entry_point_answer_ms: int
    conversation_ms: int
    pool_name: str
    pool_size: int
    rules: Mapping[str, tuple[TermRule, ...]]
    cards_name: str  # the first word of its cards' files
    cards: Mapping[str, tuple[Card, ...]]  # currency -> cards, the latest first
    card_changes: tuple[date, ...]  # when Meta changed its rates, the latest first
    markets: tuple[tuple[date, Markets], ...]  # how the world is cut from a date on, the latest first
    _offers: dict[tuple[object, ...], Offer] = field(default_factory=dict)

    @property
    def conversation_categories(self) -> frozenset[str]:
        """The kinds of conversation that messages open here."""
        opened = {rule.opens for rules in self.rules.values() for rule in rules if rule.opens is not None}
        return frozenset(opened - {OPENS_FREE_ENTRY_POINT})

    def same_category(self, ours: str, theirs: str) -> bool:
        """Tell whether a webhook's category is ours, or that of a conversation which our messages open or ride."""
        rules = self.rules.get(ours, ())
        return theirs == ours or any(theirs == rule.opens or theirs in rule.of for rule in rules)

    def card(self, currency: str, day: date) -> Card:
        """Return the card in force on a day: the latest that has begun, else the first; UnpricedError without one."""
        cards = self.cards.get(currency)
        if not cards:
            raise UnpricedError(f"tariff {self.name} has no rate card in {currency}")
        return next((card for card in cards if card.valid_from <= day), cards[-1])

    def markets_on(self, day: date) -> Markets:
        """Return the markets of a day; before the first cut that is known, that one."""
        return next((markets for since, markets in self.markets if since <= day), self.markets[-1][1])

    def pool(self, month: str) -> str:
        """Return the name of a month's pool."""
        return f"{self.pool_name}:{month}"

    def offer(
        self, card: Card, *, kind: str, category: str, market: str, month: str, markup: Markup, cap: Rate | None = None
    ) -> Offer:
        """Return the terms of a message of this kind ("service", "utility", "direct_utility", ...).

        `month` ("2026-11", in the number's time zone) names the pool that a free unit is taken from. `cap` is the
        highest price that was bid, in place of the card's. Offers are few (kinds x markets), so each is built once.
        """
        key = (kind, market, month, card.currency, card.valid_from, markup, cap)
        known = self._offers.get(key)
        if known is not None:
            return known
        terms = tuple(
            self._term(rule, cap or self._rate(rule, card, market), month, markup) for rule in self.rules[kind]
        )
        wire = json.dumps([self._wire(term) for term in terms], separators=(",", ":"))
        offer = Offer(self.name, category, market, terms, wire)
        if len(self._offers) >= MAX_OFFERS:
            self._offers.clear()
        if cap is None:  # bids are as many as clients like
            self._offers[key] = offer
        return offer

    def _rate(self, rule: TermRule, card: Card, market: str) -> Rate | None:
        return None if rule.rate is None else rate_of(card, market, rule.rate, rule.or_rate)

    def _term(self, rule: TermRule, rate: Rate | None, month: str, markup: Markup) -> Term:
        pool = self.pool(month) if rule.when is When.POOL else None
        if rule.rate is None or rate is None:
            return Term(rule, NOTHING, "", pool)
        return Term(rule, markup.split(rate.micros), rate.source, pool)

    def _wire(self, term: Term) -> dict[str, Any]:
        """Write a term for take.lua: what it asks, what it costs, what it opens. What is not said is not so."""
        rule = term.rule
        wire: dict[str, Any] = {"when": rule.when.value, "fare": str(term.fare_micros)}
        if rule.message_class is Class.PAID:
            wire["paid"] = True
        if rule.within_window:
            wire["within"] = CUSTOMER_SERVICE
        match rule.when:
            case When.POOL:
                wire |= {"pool": term.pool, "size": self.pool_size}
            case When.CONVERSATION:
                wire["of"] = rule.of
            case When.FREE_ENTRY_POINT:
                wire |= {"when": "window", "window": FREE_ENTRY_POINT}
            case When.FREE_ENTRY_POINT_OFFERED:
                wire |= {"when": "window", "window": FREE_ENTRY_POINT_OFFER}
        if rule.opens == OPENS_FREE_ENTRY_POINT:
            wire |= {"opens_window": FREE_ENTRY_POINT, "for_ms": self.free_entry_point_ms}
        elif rule.opens is not None:
            wire["opens"] = rule.opens
        return wire


def rate_of(card: Card, market: str, category: str, or_category: str | None = None) -> Rate:
    """Return a category's rate in a market; raises UnpricedError where the card is silent. Blank is not zero."""
    rate = card.rates.get((market, category))
    if rate is None and or_category is not None:
        rate = card.rates.get((market, or_category))
    if rate is None:
        raise UnpricedError(f"the card in {card.currency} of {card.valid_from} has no {category} rate for {market}")
    return rate


def month_of(day: date) -> str:
    """Return the month of a day: "2026-11"."""
    return f"{day.year:04d}-{day.month:02d}"
