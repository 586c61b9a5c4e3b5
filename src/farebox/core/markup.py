"""What an account adds to Meta's rate: a percentage, a fixed amount a message, and tax on the whole.

The hold carries all of it, and the bill is made by the same function, so that what is settled is what was set aside.
Each step rounds half up to a micro-unit: to the rate the percentage, to the sum the tax.
"""

import re
from dataclasses import dataclass

_PPM_PER_PERCENT = 10_000
_PERCENT = re.compile(r"(\d{1,5})(?:\.(\d{1,4}))?", re.ASCII)
PPM = 1_000_000  # parts per million: 4 % is 40,000, so that a percentage with four decimals is an integer


@dataclass(frozen=True, slots=True)
class Split:
    """The parts of a fare: Meta's own rate, what the account adds, and the tax on both."""

    rate_micros: int
    markup_micros: int
    tax_micros: int

    @property
    def fare_micros(self) -> int:
        """The sum."""
        return self.rate_micros + self.markup_micros + self.tax_micros


@dataclass(frozen=True, slots=True)
class Markup:
    """An account's own price terms."""

    percent_ppm: int = 0
    fixed_micros: int = 0
    tax_ppm: int = 0

    def split(self, rate_micros: int) -> "Split":
        """Return what the fare for a rate is made of. What costs nothing at Meta costs nothing here."""
        if rate_micros == 0:
            return NOTHING
        net_micros = _share(rate_micros, PPM + self.percent_ppm) + self.fixed_micros
        gross_micros = _share(net_micros, PPM + self.tax_ppm)
        return Split(rate_micros, net_micros - rate_micros, gross_micros - net_micros)

    def fare_micros(self, rate_micros: int) -> int:
        """Return the fare for a rate."""
        return self.split(rate_micros).fare_micros


def parse_percent(text: str) -> int:
    """Read a percentage ("4", "12.5") as parts per million; raises ValueError where it is none."""
    match = _PERCENT.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text[:40]}" is not a percentage; write it as a decimal string with at most four decimals')
    whole, decimals = match.groups()
    return int(whole) * _PPM_PER_PERCENT + int((decimals or "").ljust(4, "0"))


def format_percent(ppm: int) -> str:
    """Write parts per million as a percentage: "4", "12.5"."""
    whole, rest = divmod(ppm, _PPM_PER_PERCENT)
    return f"{whole}.{rest:04d}".rstrip("0").rstrip(".")


def _share(micros: int, ppm: int) -> int:
    """Multiply by parts per million, half a micro-unit rounded up."""
    return (micros * ppm + PPM // 2) // PPM


NOTHING = Split(0, 0, 0)
NO_MARKUP = Markup()
