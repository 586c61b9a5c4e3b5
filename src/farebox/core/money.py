"""Money is an integer of micro-units (a millionth of the currency's unit), its unit in its name.

Fares are far below a cent, so a cent ledger could not hold them; six decimals hold every published rate.
"""

import re
from decimal import Decimal, InvalidOperation
from functools import lru_cache

MICROS_PER_UNIT = 1_000_000
# Lua numbers are doubles: integers are exact below 2^53. About 9 billion units of any currency.
MAX_MICROS = 2**53 - 1
MAX_DECIMAL = 40  # characters, and digits before and after the point
_AMOUNT = re.compile(r"(-?)(\d{1,10})(?:\.(\d{1,6}))?", re.ASCII)


class AmountError(ValueError):
    """The text is no amount: a decimal string with at most six decimals."""


def parse_micros(text: str) -> int:
    """Read a decimal string ("12.5") as micro-units.

    Raises AmountError for anything else: an exponent, a thousands separator, more than six decimals, a sum that
    the stores could not hold exactly.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise AmountError(
            f'"{text[:40]}" is not an amount; write it as a decimal string with at most six decimals, like "12.50"'
        )
    sign, units, decimals = match.groups()
    micros = int(units) * MICROS_PER_UNIT + int((decimals or "").ljust(6, "0"))
    if micros > MAX_MICROS:
        raise AmountError(f'"{text}" is larger than the largest amount, {format_micros(MAX_MICROS)}')
    return -micros if sign else micros


def read_decimal(text: str) -> Decimal | None:
    """Read a number of any JSON spelling exactly; None where it is none, or has digits or an exponent without end."""
    try:
        number = Decimal(text) if len(text) <= MAX_DECIMAL else None
    except InvalidOperation:
        return None
    return number if number is not None and number.is_finite() and abs(number.adjusted()) < MAX_DECIMAL else None


@lru_cache(maxsize=1_024)  # fares are few, and a balance goes into the answer of a send and into its line of the log
def format_micros(micros: int) -> str:
    """Write micro-units as a decimal string with two to six decimals: "0.00", "12.50", "0.0034"."""
    units, rest = divmod(abs(micros), MICROS_PER_UNIT)
    decimals = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{'-' if micros < 0 else ''}{units}.{decimals}"
