"""How things are said to people: in plain English here, in a reader's own language on the page (web/tongue.py)."""

from datetime import datetime, tzinfo
from typing import Protocol

from farebox.core.money import format_micros


class Words(Protocol):
    """A language, and its ways of writing numbers, money and time."""

    def say(self, text: str, /, **values: object) -> str:
        """Return a text in this language; values take their places, like %(name)s."""

    def count(self, number: int) -> str:
        """Write a whole number."""

    def money(self, micros: int, currency: str) -> str:
        """Write an amount exactly."""

    def moment(self, at: datetime, zone: tzinfo) -> str:
        """Write a time to the second, in a zone."""


class Plain:
    """English as the API and the command line write it."""

    def say(self, text: str, /, **values: object) -> str:
        """Return the text itself with its values."""
        return text % values if values else text

    def count(self, number: int) -> str:
        """Write a whole number: 1,234."""
        return f"{number:,}"

    def money(self, micros: int, currency: str) -> str:
        """Write an amount: 0.1365 USD."""
        return f"{format_micros(micros)} {currency}"

    def moment(self, at: datetime, zone: tzinfo) -> str:
        """Write a time: 2026-11-22 18:04:09 UTC."""
        local = at.astimezone(zone)
        return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()}"


PLAIN = Plain()
