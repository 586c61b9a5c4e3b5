"""What a plan would cost: so many messages of a category to a country, by the rate card of a date.

Every message is taken to be outside any window, so a plan is rather dear than cheap. Free units of the month's pool are
used up from the first line on, and volume tiers are counted over all lines of a market and category, as WhatsApp counts
them: marginally, each message at the rate of its tier.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from farebox.core.in_force import InForce
from farebox.core.tariff import Offer, Rate, Term, Tier, When

_ASSUMED = (When.ALWAYS, When.POOL)  # windows and conversations are taken to be closed


@dataclass(frozen=True, slots=True)
class Planned:
    """A line of a plan."""

    country: str  # ISO 3166, "DE"
    category: str
    messages: int


@dataclass(frozen=True, slots=True)
class Costed:
    """A line and what it would cost."""

    planned: Planned
    market: str
    free: int  # of the messages: from the pool, or always free
    rates: tuple[Rate, ...]  # the rates that its messages meet, the list rate first
    cost_micros: int


def cost(plan: Sequence[Planned], tariff: InForce, *, pool_used: int = 0) -> Iterator[Costed]:
    """Cost a plan line by line; raises UnpricedError where the card has no rate."""
    pool_left = max(tariff.tariff.pool_size - pool_used, 0)
    counted: dict[tuple[str, str], int] = {}  # charged so far, by market and category
    for line in plan:
        market = tariff.market_of_country(line.country)
        offer = tariff.offer(kind=line.category, category=line.category, market=market)
        free, term = _free(offer, line.messages, pool_left)
        if any(one.pool for one in offer.terms):
            pool_left -= free
        paid = line.messages - free
        before = counted.get((market, line.category), 0)
        counted[market, line.category] = before + paid
        tiers = tariff.card.tiers.get((market, line.category), ())
        first = Rate(term.split.rate_micros, term.rate_source)
        steps = list(_steps(tiers, first, before, paid)) if paid else []
        micros = sum(count * tariff.markup.fare_micros(rate.micros) for count, rate in steps)
        yield Costed(line, market, free, tuple(rate for _, rate in steps), micros)


def _free(offer: Offer, messages: int, pool_left: int) -> tuple[int, Term]:
    """Return how many messages are free, and the term that the others are charged by."""
    terms = [term for term in offer.terms if term.rule.when in _ASSUMED and not term.rule.within_window]
    last = terms[-1]
    if last.fare_micros == 0:
        return messages, last
    return (min(messages, pool_left) if any(term.pool for term in terms) else 0), last


def _steps(tiers: Iterable[Tier], first: Rate, before: int, messages: int) -> Iterator[tuple[int, Rate]]:
    """Yield how many messages meet which rate, when so many were charged before."""
    place, end, rate = before, before + messages, first
    for tier in tiers:
        if tier.lower == 0:  # the list rate, which is the term's
            continue
        if place < min(tier.lower - 1, end):  # the tier begins with message number `lower`
            yield min(tier.lower - 1, end) - place, rate
            place = min(tier.lower - 1, end)
        rate = tier.rate
    if place < end:
        yield end - place, rate
