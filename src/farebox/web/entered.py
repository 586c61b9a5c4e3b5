"""What people enter, in their own way of writing: amounts with their comma or point."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from babel.numbers import NumberFormatError, parse_decimal

from farebox.core.money import AmountError, format_micros, parse_micros
from farebox.web.visit import Visit


class Entered(ValueError):  # noqa: N818  what was entered, and why it will not do
    """What was entered can not be read; the sentence says how to write it."""


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount as the API writes it."""

    micros: int
    text: str


def entered_amount(visit: Visit, name: str) -> Amount:
    """Read an amount from a form: 1,234.50 or 1.234,50, as the reader writes numbers."""
    return _amount(visit, visit.form.get(name, "").strip())


def entered_amounts(visit: Visit, name: str) -> list[str]:
    """Read amounts with semicolons between them, as the API writes them."""
    return [_amount(visit, text.strip()).text for text in visit.form.get(name, "").split(";") if text.strip()]


def entered_days(visit: Visit, name: str) -> list[int]:
    """Read whole numbers of days with semicolons between them."""
    texts = [text.strip() for text in visit.form.get(name, "").split(";") if text.strip()]
    for text in texts:
        if not (text.isascii() and text.isdigit() and len(text) <= 4):
            raise Entered(visit.tongue.say("“%(text)s” is no number of days.", text=text[:40]))
    return [int(text) for text in texts]


def optional_count(visit: Visit, name: str) -> int | None:
    """Read a whole number that may be left out."""
    text = visit.form.get(name, "").strip()
    if text and not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Entered(visit.tongue.say("“%(text)s” is no whole number.", text=text[:40]))
    return int(text) if text else None


def _amount(visit: Visit, text: str) -> Amount:
    example = visit.tongue.amount(25_500_000)
    sentence = visit.tongue.say("“%(text)s” is no amount; write it like %(example)s.", text=text[:40], example=example)
    try:
        value = parse_decimal(text, locale=visit.tongue.locale, strict=True)
        micros = parse_micros(_plain(value))
    except (NumberFormatError, AmountError, InvalidOperation):
        raise Entered(sentence) from None
    return Amount(micros, format_micros(micros))


def optional_amount(visit: Visit, name: str) -> str | None:
    """Read an amount that may be left out, as the API writes it."""
    return entered_amount(visit, name).text if visit.form.get(name, "").strip() else None


def _plain(value: Decimal) -> str:
    return format(value, "f")
