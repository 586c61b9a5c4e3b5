"""Maximum prices: what a bid may cost at most, and what a webhook says it did cost. Decimals are exact, never floats.

A marketing template may carry the highest price for 1,000 deliveries, in the smallest unit of the account's currency,
and a send may multiply it; Meta charges that price or less
(https://developers.facebook.com/documentation/business-messaging/whatsapp/marketing-messages/pricing).
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_UP, Context, Decimal

from farebox.core.money import MICROS_PER_UNIT, read_decimal
from farebox.core.tariff import Rate

PER = 1_000  # deliveries that a bid is for
MAX_COST_UNITS = 10**6  # of one message, in any currency
# Whose smallest unit is the unit itself (https://developers.facebook.com/docs/marketing-api/currencies, offset 1).
WHOLE_UNITS = frozenset({"CLP", "COP", "CRC", "HUF", "IDR", "ISK", "JPY", "KRW", "PYG", "TWD", "VND"})
_EXACT = Context(prec=100)


@dataclass(frozen=True, slots=True)
class Bid:
    """The highest price of one message."""

    amount: int
    multiplier: Decimal = Decimal(1)

    def cap(self, currency: str) -> Rate:
        """Return the highest price as a rate, rounded up: a hold must be enough."""
        smallest_micros = MICROS_PER_UNIT if currency in WHOLE_UNITS else MICROS_PER_UNIT // 100
        thousand = _EXACT.multiply(Decimal(self.amount * smallest_micros), self.multiplier)
        micros = _EXACT.divide(thousand, Decimal(PER)).to_integral_value(ROUND_CEILING)
        return Rate(int(micros), f"bid of the template: {self.amount} for {PER}, times {self.multiplier}")


def cost_micros(amount: str) -> int | None:
    """Read the cost of a delivery, half a micro-unit rounded up; None where it makes no sense."""
    number = read_decimal(amount)
    if number is None or not 0 < number <= MAX_COST_UNITS:
        return None
    return int(_EXACT.multiply(number, Decimal(MICROS_PER_UNIT)).to_integral_value(ROUND_HALF_UP))
