"""A tariff on a day, for a number: what prices its messages now."""

from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

from farebox.core.account import AUTHENTICATION, INTERNATIONAL, NO_VOLUME, NOT_ABROAD, Abroad, Volume
from farebox.core.market import Markets
from farebox.core.markup import NO_MARKUP, Markup
from farebox.core.tariff import Card, Offer, Rate, Tariff, month_of, rate_of


@dataclass(frozen=True)
class InForce:
    """A tariff on a day, for a number: what prices its messages now.

    `at_ms` may be any moment of that day between two of those at which `abroad` or `volume` change.
    """

    tariff: Tariff
    card: Card
    day: date
    markup: Markup = NO_MARKUP
    at_ms: int = 0
    abroad: Abroad = NOT_ABROAD
    volume: Volume = NO_VOLUME
    # What `fare.price` found, by all that it depends on beside the above.
    known: dict[tuple[object, ...], Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def month(self) -> str:
        """The month that free units are counted in: "2026-11"."""
        return month_of(self.day)

    @cached_property
    def note(self) -> str | None:
        """What an operator should know about the card: that it is not the one of the day."""
        if self.card.valid_from > self.day:
            return f"no rate card of {self.day} is known: priced by the first one, of {self.card.valid_from}"
        changed = next((change for change in self.tariff.card_changes if change <= self.day), None)
        if changed is not None and changed > self.card.valid_from:
            return f"no rate card of {changed} is known: priced by the one before, of {self.card.valid_from}"
        return None

    def market_of(self, user: str) -> str:
        """Return the market of a recipient."""
        return self.markets.of(user)

    def market_of_country(self, country: str) -> str:
        """Return the market of an ISO country, as `market_of` does."""
        return self.markets.of_country(country)

    @cached_property
    def markets(self) -> Markets:
        """The markets of the day, but none that the card is too old to know.

        A card that stands in for an older one has the older markets as well: a country moves no sooner for that.
        """
        return self.tariff.markets_on(min(self.day, self.card.valid_from))

    def rate(self, market: str, category: str) -> Rate:
        """Return Meta's own rate; raises UnpricedError."""
        return rate_of(self.card, market, category)

    def authentication(self, user: str) -> str:
        """Return which of the two authentication rates counts for a user: the international one, where there is one."""
        international = (self.market_of(user), INTERNATIONAL) in self.card.rates
        return INTERNATIONAL if international and self.abroad.applies(user, self.at_ms) else AUTHENTICATION

    def dearest_category(self, user: str) -> str:
        """Return the template category that costs most for a user: what an unknown template is reserved at."""
        market = self.market_of(user)
        return max(
            ("utility", self.authentication(user), "marketing"),
            key=lambda category: self.rate(market, category).micros,
        )

    def offer(self, *, kind: str, category: str, market: str, cap: Rate | None = None) -> Offer:
        """Return the terms of a message."""
        return self.tariff.offer(
            self.card, kind=kind, category=category, market=market, month=self.month, markup=self.markup, cap=cap
        )

    def charge_micros(self, market: str, category: str) -> int:
        """Return what a delivery of a category costs that WhatsApp calls regular; raises UnpricedError."""
        return self.markup.fare_micros(self.list_rate(market, category).micros)

    def tier_rate(self, market: str, category: str) -> Rate | None:
        """Return the published rate of the volume tier that the account has reached; None: the list rate counts.

        From the card's own table of tiers, never computed: Meta rounds it
        (https://developers.facebook.com/documentation/business-messaging/whatsapp/pricing).
        """
        tiers = self.card.tiers.get((market, category), ())
        if not tiers:
            return None
        reached = self.volume.reached(market, category, self.month, self.at_ms)
        return next((tier.rate for tier in reversed(tiers) if 0 < tier.lower <= reached), None)

    def list_rate(self, market: str, category: str) -> Rate:
        """Return the card's rate for a delivery that WhatsApp calls regular; raises UnpricedError.

        The tariff's own term for that category says which column of the card counts, and which one stands in for it.
        """
        terms = (rule for rules in self.tariff.rules.values() for rule in rules if rule.rate is not None)
        rule = next((rule for rule in terms if category in (rule.rate, rule.opens)), None)
        return rate_of(self.card, market, rule.rate or category, rule.or_rate) if rule else self.rate(market, category)
