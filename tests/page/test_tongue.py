"""Languages: every text is there in each, and money and dates are written as the reader writes them."""

import re
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from babel.messages.pofile import read_po

from farebox.web.tongue import LANGUAGES, choose
from page.catalogue import LOCALES, texts


@pytest.mark.parametrize("language", sorted(set(LANGUAGES) - {"en"}))
def test_a_catalogue_says_everything_and_nothing_else(language: str) -> None:
    """Where this fails: python -m page.catalogue, then translate what is empty."""
    with (LOCALES / language / "messages.po").open("rb") as file:
        catalogue = read_po(file, locale=language)
    said = {message.id: message for message in catalogue if message.id}
    assert set(said) == texts()
    for text, message in said.items():
        assert message.string, text
        assert not message.fuzzy, text
        assert sorted(re.findall(r"%\(\w+\)s", message.string)) == sorted(re.findall(r"%\(\w+\)s", text)), text


@pytest.mark.parametrize(
    ("asked", "chosen", "language", "money", "day"),
    [
        ("en-US,en;q=0.9", None, "en-US", "$1,234.5678", "Nov 25, 2026"),
        ("de-AT", None, "de-AT", "$ 1.234,5678", "25.11.2026"),
        ("fr-FR, de;q=0.5", None, "de", "1.234,5678 $", "25.11.2026"),
        ("en-GB", "de", "de", "1.234,5678 $", "25.11.2026"),
        ("de-DE,de", "de", "de-DE", "1.234,5678 $", "25.11.2026"),
        ("", None, "en", "$1,234.5678", "Nov 25, 2026"),
        ("x" * 5_000 + ",,;;,zz-ZZ", "nonsense", "en", "$1,234.5678", "Nov 25, 2026"),
    ],
)
def test_a_reader_is_addressed_as_he_writes(
    asked: str, chosen: str | None, language: str, money: str, day: str
) -> None:
    tongue = choose(asked, chosen)
    assert tongue.language == language
    assert tongue.money(1_234_567_800, "USD").replace("\xa0", " ") == money
    assert tongue.day(date(2026, 11, 25)) == day


def test_a_sum_is_never_more_than_it_is_and_other_figures() -> None:
    tongue = choose("en-US")
    assert (tongue.sum(1_999_999, "USD"), tongue.sum(-1, "USD"), tongue.sum(0, "USD")) == ("$1.99", "-$0.01", "$0.00")
    assert (tongue.percent(1, 3), tongue.percent(0, 0), tongue.percent(5, 5)) == ("33.3%", "0.0%", "100.0%")
    assert tongue.amount(34_00) == "0.0034"
    assert (tongue.axis(1_640_000_000, "USD"), tongue.axis(1_500_000, "USD")) == ("$1.6K", "$1.50")
    assert (tongue.short(60_000), choose("de").short(60_000)) == ("60K", "60.000")
    assert tongue.fine(1_234_567_800, "USD") == '$1,234.56<span class="sub">78</span>'
    assert choose("de").fine(500_000, "USD").replace("\xa0", " ") == '0,50<span class="sub"></span> $'
    assert tongue.fine(5_000_000, "JPY") == "¥5"
    now = datetime(2026, 11, 25, 9, tzinfo=UTC)
    assert tongue.near(datetime(2026, 11, 26, 14, tzinfo=UTC), now) == "Thursday 2:00\u202fPM"
    assert tongue.near(datetime(2026, 12, 12, 14, tzinfo=UTC), now) == "Sat, Dec 12"
    assert "3:00" in tongue.moment(datetime(2026, 11, 25, 14, tzinfo=UTC), ZoneInfo("Europe/Berlin"))
