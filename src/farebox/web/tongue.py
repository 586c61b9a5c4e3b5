"""How things are said: language, money, dates and numbers as the reader writes them.

Catalogues are gettext's .po files, read as they are: nothing has to be compiled when one changes.
"""

import gettext
import re
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from decimal import ROUND_FLOOR, Decimal
from functools import cache
from io import BytesIO

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime, format_skeleton, format_time
from babel.lists import format_list
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import (
    format_compact_currency,
    format_compact_decimal,
    format_currency,
    format_decimal,
    format_percent,
)
from babel.support import NullTranslations, Translations
from markupsafe import Markup, escape

from farebox.assets import PACKAGE
from farebox.core.money import MICROS_PER_UNIT

LANGUAGES = {"en": "English", "de": "Deutsch"}  # in its own words, as a reader looks for it
MAX_ASKED = 10  # languages of one header that are looked at
_CENT = Decimal("0.01")
_SMALL = 10  # units of a currency; from here on a chart needs no cents
_LOCALES = PACKAGE / "web" / "locale"


@dataclass(frozen=True)
class Tongue:
    """A reader's language and ways of writing."""

    locale: Locale
    catalogue: NullTranslations

    @property
    def language(self) -> str:
        """Return the language as HTML's lang names it."""
        return str(self.locale).replace("_", "-")

    def say(self, text: str, /, **values: object) -> str:
        """Return a text in this language; values take their places, like %(name)s."""
        said: str = self.catalogue.ugettext(text)
        return said % values if values else said

    def count(self, number: int) -> str:
        """Write a whole number."""
        return format_decimal(number, locale=self.locale)

    def money(self, micros: int, currency: str) -> str:
        """Write an amount exactly, with two to six decimals: fares are far below a cent."""
        amount = Decimal(micros) / MICROS_PER_UNIT
        return format_currency(amount, currency, locale=self.locale, decimal_quantization=False)

    def fine(self, micros: int, currency: str) -> Markup:
        """Write an amount exactly for a column: what is finer than a hundredth is set smaller, so that cents align."""
        return _fine(self.money(micros, currency), self.decimal)

    @property
    def decimal(self) -> str:
        """Return what stands before the decimals."""
        return str(self.locale.number_symbols["latn"]["decimal"])

    def sum(self, micros: int, currency: str) -> str:
        """Write an amount to the cent, never as more than it is."""
        amount = (Decimal(micros) / MICROS_PER_UNIT).quantize(_CENT, ROUND_FLOOR)
        return format_currency(amount, currency, locale=self.locale, currency_digits=False)

    def amount(self, micros: int) -> str:
        """Write an amount's digits alone, for a column whose head names the currency."""
        return format_decimal(Decimal(micros) / MICROS_PER_UNIT, "#,##0.00####", locale=self.locale)

    def short(self, number: int) -> str:
        """Write a number where there is little room: 12K."""
        text = format_compact_decimal(int(number), locale=self.locale, fraction_digits=1)
        return self.count(int(number)) if text.isdigit() else text  # German has no short word for a thousand

    def axis(self, micros: int, currency: str) -> str:
        """Write an amount beside a chart: $1.6K, or to the cent where it is small."""
        amount = Decimal(int(micros)) / MICROS_PER_UNIT
        if abs(amount) < _SMALL:
            return self.sum(int(micros), currency)
        return format_compact_currency(amount, currency, locale=self.locale, fraction_digits=1)

    def percent(self, part: int, whole: int) -> str:
        """Write a share with one decimal."""
        share = Decimal(part) / Decimal(whole) if whole else Decimal(0)
        return format_percent(share.quantize(Decimal("0.001")), "#,##0.0%", locale=self.locale)

    def day(self, day: date) -> str:
        """Write a day: Nov 25, 2026."""
        return format_date(day, locale=self.locale)

    def weekday(self, day: date) -> str:
        """Write a day that is near: Wed, Nov 25."""
        return format_skeleton("MMMEd", day, locale=self.locale)

    def month(self, day: date) -> str:
        """Write a month: November 2026."""
        return format_skeleton("yMMMM", day, locale=self.locale)

    def short_month(self, day: date) -> str:
        """Write a month where there is little room: Nov."""
        return format_date(day, "LLL", locale=self.locale)

    def moment(self, at: datetime, zone: tzinfo) -> str:
        """Write a time to the second, in a zone: Nov 25, 2026, 2:03:59 PM."""
        return format_datetime(at.astimezone(zone), locale=self.locale)

    def near(self, at: datetime, now: datetime) -> str:
        """Write a time as one speaks of it: Thursday 14:00 within a week, else the day."""
        if (at - now).days < 7:
            return f"{format_date(at, 'EEEE', locale=self.locale)} {format_time(at, 'short', locale=self.locale)}"
        return self.day(at.date()) if at.year != now.year else self.weekday(at.date())

    def together(self, items: list[str]) -> str:
        """Join items: a, b and c."""
        return format_list(items, locale=self.locale)


def _fine(text: str, decimal: str) -> Markup:
    found = re.fullmatch(rf"(.*{re.escape(decimal)}\d\d)(\d*)(\D*)", text)
    return Markup('{}<span class="sub">{}</span>{}').format(*found.groups()) if found else escape(text)


def choose(asked: str, chosen: str | None = None) -> Tongue:
    """Return the tongue of a reader: the one chosen, else the first of the Accept-Language header that we speak."""
    names = [part.partition(";")[0].strip() for part in asked.split(",")[:MAX_ASKED]]
    for name in ([chosen] if chosen else []) + names:
        try:
            locale = Locale.parse(name, sep="-")
        except (ValueError, UnknownLocaleError, TypeError):
            continue
        if locale.language in LANGUAGES:
            wanted = next(
                (n for n in names if n.partition("-")[0].lower() == locale.language and "-" in n), None
            )  # "de" was chosen, and the browser says de-AT: then dates and money are Austria's
            return _tongue(str(locale) if locale.territory or wanted is None else _known(wanted, locale))
    return _tongue("en")


def _known(name: str, other: Locale) -> str:
    try:
        return str(Locale.parse(name, sep="-"))
    except (ValueError, UnknownLocaleError):
        return str(other)


@cache
def _tongue(name: str) -> Tongue:
    locale = Locale.parse(name)
    return Tongue(locale, _catalogue(locale.language))


@cache
def _catalogue(language: str) -> NullTranslations:
    file = _LOCALES / language / "messages.po"
    if not file.exists():
        return NullTranslations()
    compiled = BytesIO()
    with file.open("rb") as source:
        write_mo(compiled, read_po(source, locale=language))
    compiled.seek(0)
    catalogue = Translations(compiled)
    assert isinstance(catalogue, gettext.GNUTranslations), "babel's catalogues are gettext's"
    return catalogue
