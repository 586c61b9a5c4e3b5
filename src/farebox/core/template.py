"""What a template's change of category does to its price.

Meta moves templates to another category, mostly from utility to marketing, which costs several times as much; it
announces that a day before, or not at all
(https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-categorization).
"""

from dataclasses import dataclass

from farebox.core.in_force import InForce
from farebox.core.tariff import UnpricedError


@dataclass(frozen=True, slots=True)
class Step:
    """The price of a delivery in a market before and after a change."""

    market: str
    old_micros: int
    new_micros: int


@dataclass(frozen=True, slots=True)
class Rise:
    """A change that makes a template dearer: at home, where that is known, and where it rises most."""

    currency: str
    home: Step | None
    largest: Step


def rise(tariff: InForce, old: str, new: str, home_country: str) -> Rise | None:
    """Return what a change of category costs, None where no market becomes dearer."""
    steps = {market: step for market in tariff.card.market_names if (step := _step(tariff, market, old, new))}
    largest = max(steps.values(), key=lambda step: step.new_micros - step.old_micros, default=None)
    if largest is None or largest.new_micros <= largest.old_micros:
        return None
    home = steps.get(tariff.market_of_country(home_country)) if home_country else None
    return Rise(tariff.card.currency, home, largest)


def _step(tariff: InForce, market: str, old: str, new: str) -> Step | None:
    try:
        return Step(market, tariff.charge_micros(market, old), tariff.charge_micros(market, new))
    except UnpricedError:
        return None
