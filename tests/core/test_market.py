"""Which market a country belongs to on a date, and the table that says so: config/tariffs/markets.csv."""

import csv
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
from phonenumbers import SUPPORTED_REGIONS, country_code_for_region

from farebox.assets import asset
from farebox.core.market import OTHER, MarketRow, Markets

TARIFFS = asset("config/tariffs")
GOLDEN = Path(__file__).parent.parent / "samples" / "countries_without_market.txt"
CARDS = sorted(file for file in (TARIFFS / "rates").glob("*.csv") if "volume_tiers" not in file.name)
JULY, OCTOBER = date(2026, 7, 1), date(2026, 10, 1)
DATES = [date(2023, 6, 1), date(2024, 11, 1), date(2025, 10, 1), JULY, OCTOBER]


def table(file: Path) -> Iterator[dict[str, str]]:
    lines = file.read_text().splitlines()
    assert lines[0].startswith("# source: "), f"{file.name} must say where it is from"
    yield from csv.DictReader(line for line in lines if not line.startswith("#"))


def row_of(cells: dict[str, str]) -> MarketRow:
    end = date.fromisoformat(cells["valid_to"]) if cells["valid_to"] else None
    prefixes = tuple(cells["calling_prefixes"].split())
    return MarketRow(cells["market"], cells["iso"], prefixes, date.fromisoformat(cells["valid_from"]), end)


ROWS = [row_of(cells) for cells in table(TARIFFS / "markets.csv")]


def on(day: date) -> Markets:
    return Markets(ROWS, day)


# user -> market since 2026-10-01
USERS = [
    ("16505551234", "North America"),
    ("14165551234", "North America"),  # Canada
    ("18005551234", "North America"),  # toll-free, which several countries share: the main one's
    ("15550783881", "North America"),  # 555 is no area code: Meta's test numbers
    ("18095551234", "Rest of Latin America"),  # Dominican Republic
    ("18765551234", "Rest of Latin America"),  # Jamaica, by both of its area codes
    ("16585551234", "Rest of Latin America"),
    ("17875551234", "Rest of Latin America"),  # Puerto Rico
    ("12425551234", "Other"),  # Bahamas
    ("18685551234", "Other"),  # Trinidad and Tobago
    ("16715551234", "Other"),  # Guam
    ("79161234567", "Russia"),
    ("77011234567", "Kazakhstan"),
    ("4915112345678", "Germany"),
    ("447400123456", "United Kingdom"),
    ("447781123456", "Other"),  # Guernsey
    ("393331234567", "Italy"),
    ("390669812345", "Other"),  # Vatican
    ("4791234567", "Rest of Western Europe"),
    ("4779123456", "Other"),  # Svalbard
    ("33612345678", "France"),
    ("590690001234", "Other"),  # Guadeloupe
    ("212650123456", "Morocco"),
    ("212528812345", "Morocco"),  # Western Sahara: the library leaves the whole code to Morocco
    ("8801712345678", "Bangladesh"),
    ("881612345678", "Other"),  # a satellite phone
    ("IN.2323", "India"),
    ("US.ENT.13491208655302741918", "North America"),
    ("US.8765551234", "North America"),  # its digits are no phone number
    ("PR.1349", "Rest of Latin America"),
    ("ZZ.1", "Other"),
    ("1", "North America"),
    ("999123", "Other"),
    ("", "Other"),
]


@pytest.mark.parametrize(("user", "market"), USERS)
def test_a_user_is_in_the_market_of_the_country(user: str, market: str) -> None:
    assert on(OCTOBER).of(user) == market


# country, day -> market. Sources: Meta's changelog items 384 and 399, the pricing page's list of updates.
MOVES = [
    ("ZW", date(2025, 9, 30), "Other"),
    ("ZW", date(2025, 10, 1), "Rest of Africa"),
    ("HK", date(2026, 6, 30), "Rest of Asia Pacific"),
    ("HK", JULY, "Hong Kong"),
    ("HU", JULY, "Hungary"),
    ("PL", JULY, "Poland"),
    ("QA", JULY, "Qatar"),
    ("RO", JULY, "Romania"),
    ("SG", JULY, "Singapore"),
    ("QA", date(2026, 6, 30), "Rest of Middle East"),
    ("RO", date(2026, 6, 30), "Rest of Central & Eastern Europe"),
    ("BD", date(2026, 9, 30), "Rest of Asia Pacific"),
    ("BD", OCTOBER, "Bangladesh"),
    ("IQ", date(2026, 9, 30), "Rest of Middle East"),
    ("IQ", OCTOBER, "Iraq"),
    ("KZ", date(2026, 9, 30), "Other"),
    ("KZ", OCTOBER, "Kazakhstan"),
    ("KW", OCTOBER, "Kuwait"),
    ("MA", date(2026, 9, 30), "Rest of Africa"),
    ("MA", OCTOBER, "Morocco"),
    ("NP", OCTOBER, "Nepal"),
    ("OM", OCTOBER, "Oman"),
    ("LK", OCTOBER, "Sri Lanka"),
    ("UA", date(2026, 9, 30), "Rest of Central & Eastern Europe"),
    ("UA", OCTOBER, "Ukraine"),
    ("DE", date(2023, 6, 1), "Germany"),
    ("XX", OCTOBER, "Other"),
    ("", OCTOBER, "Other"),
]


@pytest.mark.parametrize(("country", "day", "market"), MOVES)
def test_a_country_moves_on_the_day_of_a_card(country: str, day: date, market: str) -> None:
    assert on(day).of_country(country) == market


@pytest.mark.parametrize("card", CARDS, ids=lambda file: file.name)
def test_every_market_of_a_cards_date_is_on_the_card_and_no_other(card: Path) -> None:
    day = date.fromisoformat((card.stem.split("_")[2] + "-01")[:10])
    assert f"# effective_from: {day}" in card.read_text()
    on_card = [cells["market"] for cells in table(card)]
    assert len(on_card) == len(set(on_card))
    assert set(on_card) == {row.market for row in ROWS if row.on(day)}


@pytest.mark.parametrize(("day", "count"), [(date(2025, 10, 1), 32), (JULY, 38), (OCTOBER, 47)])
def test_the_number_of_markets_is_that_of_metas_cards(day: date, count: int) -> None:
    assert len({row.market for row in ROWS if row.on(day)}) == count


def test_the_volume_tiers_name_markets_of_their_card() -> None:
    (tiers,) = (TARIFFS / "rates").glob("*_volume_tiers.csv")
    day = date.fromisoformat(tiers.stem.split("_")[2])
    assert {cells["market"] for cells in table(tiers)} <= {row.market for row in ROWS if row.on(day)}


def test_a_country_is_in_one_market_at_a_time_and_never_in_none_between_two() -> None:
    for country in {row.country for row in ROWS if row.country}:
        rows = sorted((row for row in ROWS if row.country == country), key=lambda row: row.valid_from)
        assert rows[-1].valid_to is None
        assert all(earlier.valid_to == later.valid_from for earlier, later in pairwise(rows)), country


def test_the_prefixes_of_the_table_are_those_of_the_country() -> None:
    for row in ROWS:
        if not row.country:
            assert (row.market, row.prefixes) == (OTHER, ())
            continue
        assert row.country in SUPPORTED_REGIONS
        assert row.prefixes
        assert all(prefix.startswith(str(country_code_for_region(row.country))) for prefix in row.prefixes), row
        # What Meta prints and what the numbering plan says agree, but for the codes that several countries share.
        for prefix in row.prefixes:
            market = on(row.valid_from).of(prefix + "2345678")
            assert market == row.market or row.country == "CA" or prefix == "76", (prefix, market)


def without_market() -> str:
    """Return the countries that were "Other" on the day of any card, with their calling codes and the days."""
    lines = ["# Countries that the numbering plans know and markets.csv does not, on the days of the cards."]
    for country in sorted(SUPPORTED_REGIONS):
        days = [str(day) for day in DATES if on(day).of_country(country) == OTHER]
        if days:
            when = "always" if len(days) == len(DATES) else " ".join(days)
            lines.append(f"{country} +{country_code_for_region(country)} {when}")
    return "\n".join(lines) + "\n"


def test_the_countries_without_a_market_are_those_on_record() -> None:
    assert without_market() == GOLDEN.read_text(), "if this is meant: python tests/core/test_market.py"


if __name__ == "__main__":
    GOLDEN.write_text(without_market())
