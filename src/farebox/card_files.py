"""Reads the tables of `config/tariffs/`: rate cards, their volume tiers, markets (CSV).

A mistake is added to a list, with its file and line, so that all of them are found at once.
"""

import csv
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from farebox.core.market import MarketRow
from farebox.core.money import AmountError, parse_micros
from farebox.core.tariff import Card, Rate, Tier

CATEGORIES = ("marketing", "utility", "authentication", "authentication_international", "service")
_CARD_NAME = re.compile(r"([a-z]+)_([a-z]{3})_(\d{4}-\d{2}-\d{2})")


def read_cards(
    regime: Path, folder: Path, *, name: str, since: date, without: tuple[str, ...], mistakes: list[str]
) -> dict[str, tuple[Card, ...]]:
    """Read the rate cards of a name from a day on, the latest first; `without` are columns that do not count."""
    found: dict[str, list[Card]] = {}
    for path in sorted((folder / "rates").glob(f"{name}_*.csv"), reverse=True):
        match = _CARD_NAME.fullmatch(path.stem)
        if match is None:
            continue  # volume tiers and other tables beside the cards
        currency, day = match[2].upper(), date.fromisoformat(match[3])
        if day >= since:
            rates = _rates(path, folder, currency, without, mistakes)
            tiers = _tiers(path.with_name(f"{path.stem}_volume_tiers.csv"), folder, currency, rates, mistakes)
            found.setdefault(currency, []).append(Card(currency, day, rates, tiers))
    if not found:
        mistakes.append(f"{regime}: there is no rate card {folder}/rates/{name}_<currency>_<date>.csv")
    return {currency: tuple(cards) for currency, cards in found.items()}


def _rates(
    file: Path, folder: Path, currency: str, without: tuple[str, ...], mistakes: list[str]
) -> dict[tuple[str, str], Rate]:
    """Read a rate card. A blank cell is no rate, not a rate of zero."""
    source = file.relative_to(folder)
    rates: dict[tuple[str, str], Rate] = {}
    for line, row in _rows(file, ("market", "currency", *CATEGORIES), mistakes):
        if row["currency"] != currency:
            mistakes.append(f"{file}:{line}: the currency is {row['currency']}, the file's name says {currency}")
        for category in CATEGORIES:
            if not row[category] or category in without:
                continue
            try:
                micros = parse_micros(row[category])
            except AmountError as error:
                mistakes.append(f"{file}:{line}: {error}")
                continue
            if micros < 0:
                mistakes.append(f"{file}:{line}: a rate can not be negative")
            rates[row["market"], category] = Rate(micros, f"{source}:{line}")
    return rates


def _tiers(
    file: Path, folder: Path, currency: str, rates: dict[tuple[str, str], Rate], mistakes: list[str]
) -> dict[tuple[str, str], tuple[Tier, ...]]:
    """Read the volume tiers of a rate card, where there are any. Their rates are Meta's own, rounded by it."""
    found: dict[tuple[str, str], list[Tier]] = {}
    if not file.exists():
        return {}
    source = file.relative_to(folder)
    next_lower: dict[tuple[str, str], int | None] = {}  # None: the last tier goes up to MAX
    for line, row in _rows(file, ("market", "category", "currency", "tier_from", "tier_to", "rate"), mistakes):
        place, key = f"{file}:{line}", (row["market"], row["category"])
        try:
            lower, rate = int(row["tier_from"]), parse_micros(row["rate"])
            upper = None if row["tier_to"] == "MAX" else int(row["tier_to"])
        except ValueError as error:
            mistakes.append(f"{place}: {error}")
            continue
        tiers = found.setdefault(key, [])
        if row["currency"] != currency or key not in rates:
            mistakes.append(f"{place}: the card beside it has no {key[1]} rate for {key[0]} in {row['currency']}")
            continue
        if lower != next_lower.get(key, 0) or (upper is not None and upper < lower):
            mistakes.append(f"{place}: a tier must begin where the one before it ended, the first one at 0")
        if not 0 <= rate <= (tiers[-1].rate.micros if tiers else rate):
            mistakes.append(f"{place}: a higher tier can not be dearer")
        if not tiers and rate != rates[key].micros:
            mistakes.append(f"{place}: the first tier's rate must be the card's list rate")
        tiers.append(Tier(lower, Rate(rate, f"{source}:{line}")))
        next_lower[key] = None if upper is None else upper + 1
    for (market, category), missing in next_lower.items():
        if missing is not None:
            mistakes.append(f"{file}: the last tier of {market}, {category} must go up to MAX")
    return {key: tuple(tiers) for key, tiers in found.items()}


def read_markets(file: Path, mistakes: list[str]) -> Iterator[MarketRow]:
    """Read which country is in which market, and since when."""
    for line, row in _rows(file, ("market", "iso", "calling_prefixes", "valid_from", "valid_to"), mistakes):
        prefixes = tuple(row["calling_prefixes"].split())
        if not all(prefix.isdigit() for prefix in prefixes):
            mistakes.append(f"{file}:{line}: calling_prefixes must be digits, separated by spaces")
        try:
            valid_from = date.fromisoformat(row["valid_from"])
            valid_to = date.fromisoformat(row["valid_to"]) if row["valid_to"] else None
        except ValueError as error:
            mistakes.append(f"{file}:{line}: {error}")
            continue
        yield MarketRow(row["market"], row["iso"], prefixes, valid_from, valid_to)


def _rows(file: Path, columns: tuple[str, ...], mistakes: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield a CSV file's rows with their line numbers; lines that start with # are comments."""
    try:
        lines = file.read_text().splitlines()
    except OSError as error:
        mistakes.append(f"{file}: {error.strerror}")
        return
    numbered = [(number, text) for number, text in enumerate(lines, 1) if text and not text.startswith("#")]
    reader = csv.DictReader(text for _, text in numbered)
    missing = set(columns) - set(reader.fieldnames or ())
    if missing:
        mistakes.append(f"{file}: the column {', '.join(sorted(missing))} is missing")
        return
    for (number, _), row in zip(numbered[1:], reader, strict=True):
        if None in row or None in row.values():
            mistakes.append(f"{file}:{number}: the row has not as many cells as the header")
            continue
        yield number, row
