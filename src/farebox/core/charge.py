"""What a top-up costs its payer: the amount, the method's transaction fee on top, and what of the fee is tax.

charge = amount + fee, always. The fee is a percentage of the amount and a fixed part, rounded up to the smallest step
that can be charged in the currency (a cent, a yen). Tax is what of the fee is tax, at the account's rate, rounded half
up to the same step: it is inside the fee, so it changes no charge.
"""

from dataclasses import dataclass

from farebox.core.money import MICROS_PER_UNIT, format_micros

PPM = 1_000_000

# ISO 4217, list one: currencies whose smallest unit is not a hundredth
# (https://www.six-group.com/en/products-services/financial-information/data-standards.html).
DECIMALS = dict.fromkeys(
    ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF",
     "XPF"), 0
) | dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)  # fmt: skip


def decimals(currency: str) -> int:
    """Return how many decimals the currency's smallest unit has."""
    return DECIMALS.get(currency, 2)


def unit_micros(currency: str) -> int:
    """Return the smallest unit of a currency in micro-units: 10,000 for a cent, 1,000,000 for a yen."""
    return int(MICROS_PER_UNIT // 10 ** decimals(currency))


@dataclass(frozen=True, slots=True)
class Terms:
    """What a payment method asks for a top-up, and how much it takes. Amounts in the number's currency."""

    percent_ppm: int = 0  # of the amount
    fixed_micros: int = 0
    min_micros: int = 0
    max_micros: int | None = None  # None: no limit
    step_micros: int = 1  # amounts and fees are multiples of it


@dataclass(frozen=True, slots=True)
class Charge:
    """The parts of a charge in micro-units."""

    amount_micros: int  # what is credited
    fee_micros: int
    tax_micros: int  # inside the fee

    @property
    def total_micros(self) -> int:
        """What the payer pays."""
        return self.amount_micros + self.fee_micros


@dataclass(frozen=True, slots=True)
class Unfit:
    """An amount that can not be topped up this way, and what to do instead."""

    sentence: str


def charge(amount_micros: int, terms: Terms, *, tax_ppm: int, currency: str) -> Charge | Unfit:
    """Return what the payer pays for an amount."""
    step = terms.step_micros
    if amount_micros < terms.min_micros:
        return Unfit(f"must be {format_micros(terms.min_micros)} {currency} or more")
    if terms.max_micros is not None and amount_micros > terms.max_micros:
        return Unfit(f"must be {format_micros(terms.max_micros)} {currency} or less; pay in several top-ups")
    if amount_micros % step:
        return Unfit(f"must be a multiple of {format_micros(step)} {currency}, the smallest sum that can be charged")
    fee_micros = _round_up(amount_micros * terms.percent_ppm + terms.fixed_micros * PPM, PPM * step) * step
    return Charge(amount_micros, fee_micros, _tax_inside(fee_micros, tax_ppm, step))


def _round_up(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


def _tax_inside(gross_micros: int, tax_ppm: int, step: int) -> int:
    """Return the tax that a gross sum contains, rounded half up to a step."""
    divisor = (PPM + tax_ppm) * step
    return min(gross_micros, (2 * gross_micros * tax_ppm + divisor) // (2 * divisor) * step)
