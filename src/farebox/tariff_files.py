"""Reads `config/tariffs/`: regimes (TOML), rate cards and markets (CSV). Everything is checked before it is served.

A regime names its cards by their first word; every file `rates/<word>_<currency>_<date>.csv` is one, in force from its
date on. So a new rate card is dropped into the folder, with a future date if need be.
"""

import csv
import re
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from farebox.core.market import MarketRow, Markets
from farebox.core.money import AmountError, parse_micros
from farebox.core.tariff import HOUR_MS, Card, Class, Rate, Tariff, TermRule, Tier, When

AUTO = "auto"  # a number's regime: the one in force on the day, in the number's time zone
CATEGORIES = ("marketing", "utility", "authentication", "authentication_international", "service")
KINDS = frozenset({"reaction", "direct_utility", "direct_authentication", "call", *CATEGORIES})
_CARD_NAME = re.compile(r"([a-z]+)_([a-z]{3})_(\d{4}-\d{2}-\d{2})")


Cuts = tuple[tuple[date, Markets], ...]


class TariffError(ValueError):
    """A tariff file is wrong. The text names the file, the line where there is one, and what to do."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Term(_Model):
    when: When
    message_class: Class | None = Field(None, alias="class")
    rate: str | None = None
    or_rate: str | None = None
    of: tuple[str, ...] = ()
    within: str | None = Field(None, pattern="^customer_service$")
    opens: str | None = None
    unpriced: bool = False
    why: str

    def rule(self) -> TermRule:
        """Return the term as the core reads it."""
        return TermRule(
            when=self.when,
            message_class=self.message_class,
            rate=self.rate,
            or_rate=self.or_rate,
            of=self.of,
            within_window=self.within is not None,
            opens=self.opens,
            why=self.why,
            unpriced=self.unpriced,
        )


class _Windows(_Model):
    customer_service_h: int = Field(gt=0)
    free_entry_point_h: int = Field(gt=0)
    free_entry_point_answer_h: int = Field(gt=0)
    conversation_h: int = Field(24, gt=0)


class _Pool(_Model):
    name: str
    size: int = Field(ge=0)


class _Cards(_Model):
    name: str
    since: date = date.min  # older cards of that name lack what this regime needs
    without: tuple[str, ...] = ()  # columns that do not count, because the card is of another time
    changes: tuple[date, ...] = ()  # when Meta changed its rates: between these a card is current


class _Regime(_Model):
    name: str
    effective_from: date
    charges: str = Field(pattern="^(message|conversation)$")
    windows: _Windows
    pool: _Pool
    cards: _Cards
    terms: dict[str, list[_Term] | str]  # a text: the same terms as that kind

    def rules(self, kind: str) -> tuple[TermRule, ...]:
        """Return the terms of a kind of message."""
        terms = self.terms[kind]
        return self.rules(terms) if isinstance(terms, str) else tuple(term.rule() for term in terms)


def load_folder(folder: Path) -> list[Tariff]:
    """Load and check every tariff of a folder; raises TariffError with the file and line of the first mistake."""
    rows = list(_market_rows(folder / "markets.csv"))
    cuts = _cuts(rows)
    tariffs = [_load(file, folder, rows, cuts) for file in sorted(folder.glob("*.toml"))]
    if not tariffs:
        raise TariffError(f"{folder}: there is no tariff (*.toml) in this folder")
    return tariffs


def _cuts(rows: list[MarketRow]) -> Cuts:
    days = {day for row in rows for day in (row.valid_from, row.valid_to) if day is not None}
    return tuple((day, Markets(rows, day)) for day in sorted(days, reverse=True))


def _load(file: Path, folder: Path, rows: list[MarketRow], cuts: Cuts) -> Tariff:
    try:
        regime = _Regime.model_validate(tomllib.loads(file.read_text()))
    except tomllib.TOMLDecodeError as error:
        raise TariffError(f"{file}: not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise TariffError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    _check_terms(file, regime)
    cards = _cards(file, folder, regime.cards)
    rules = {kind: regime.rules(kind) for kind in KINDS}
    _check_cards(file, cards, rules, rows)
    return Tariff(
        name=regime.name,
        effective_from=regime.effective_from,
        conversations=regime.charges == "conversation",
        customer_service_ms=regime.windows.customer_service_h * HOUR_MS,
        free_entry_point_ms=regime.windows.free_entry_point_h * HOUR_MS,
        free_entry_point_answer_ms=regime.windows.free_entry_point_answer_h * HOUR_MS,
        conversation_ms=regime.windows.conversation_h * HOUR_MS,
        pool_name=regime.pool.name,
        pool_size=regime.pool.size,
        rules=rules,
        cards_name=regime.cards.name,
        cards=cards,
        card_changes=tuple(sorted(regime.cards.changes, reverse=True)),
        markets=cuts,
    )


def _check_terms(file: Path, regime: _Regime) -> None:
    if set(regime.terms) != KINDS:
        wrong = sorted(set(regime.terms) ^ KINDS)
        raise TariffError(f"{file}: terms must name exactly {', '.join(sorted(KINDS))}; look at {', '.join(wrong)}")
    for kind, terms in regime.terms.items():
        if isinstance(terms, str):
            if not isinstance(regime.terms.get(terms), list):
                raise TariffError(f"{file}: terms.{kind} is like {terms}, which has no terms of its own")
            continue
        if not terms or terms[-1].when is not When.ALWAYS or terms[-1].within:
            raise TariffError(f'{file}: terms.{kind} must end with a term that always holds (when = "always")')
        for term in terms:
            _check_term(f"{file}: terms.{kind}", term)


def _check_term(place: str, term: _Term) -> None:
    for rate in (term.rate, term.or_rate):
        if rate is not None and rate not in CATEGORIES:
            raise TariffError(f"{place}: rate must be one of {', '.join(CATEGORIES)}")
    if (term.message_class is Class.PAID) != (term.rate is not None or term.unpriced):
        raise TariffError(f"{place}: a paid term needs a rate, and only a paid one has one")
    if (term.when is When.CONVERSATION) != (term.message_class is None):
        raise TariffError(f"{place}: every term has a class, but one that rides a conversation is as that is")
    if (term.when is When.CONVERSATION) != bool(term.of):
        raise TariffError(f'{place}: when = "conversation" goes with of = [the conversations that it may ride]')


def _cards(file: Path, folder: Path, named: _Cards) -> dict[str, tuple[Card, ...]]:
    found: dict[str, list[Card]] = {}
    for path in sorted((folder / "rates").glob(f"{named.name}_*.csv"), reverse=True):
        match = _CARD_NAME.fullmatch(path.stem)
        if match is None:
            continue  # volume tiers and other tables beside the cards
        currency, day = match[2].upper(), date.fromisoformat(match[3])
        if day >= named.since:
            rates = _rates(path, folder, currency, named.without)
            tiers = _tiers(path.with_name(f"{path.stem}_volume_tiers.csv"), folder, currency, rates)
            found.setdefault(currency, []).append(Card(currency, day, rates, tiers))
    if not found:
        raise TariffError(f"{file}: there is no rate card {folder}/rates/{named.name}_<currency>_<date>.csv")
    return {currency: tuple(cards) for currency, cards in found.items()}


def _check_cards(
    file: Path, cards: dict[str, tuple[Card, ...]], rules: dict[str, tuple[TermRule, ...]], rows: list[MarketRow]
) -> None:
    """Check that whatever a term may ask of a card is there: a message must not be met without a price."""
    asked = sorted({(rule.rate, rule.or_rate or rule.rate) for terms in rules.values() for rule in terms if rule.rate})
    for card in (card for dated in cards.values() for card in dated):
        for market in sorted({row.market for row in rows if row.on(card.valid_from)}):
            for rate, or_rate in asked:
                if (market, rate) not in card.rates and (market, or_rate) not in card.rates:
                    raise TariffError(
                        f"{file}: the card in {card.currency} of {card.valid_from} has no {rate} rate for {market}"
                    )


def _rates(file: Path, folder: Path, currency: str, without: tuple[str, ...]) -> dict[tuple[str, str], Rate]:
    """Read a rate card. A blank cell is no rate, not a rate of zero."""
    source = file.relative_to(folder)
    rates: dict[tuple[str, str], Rate] = {}
    for line, row in _rows(file, ("market", "currency", *CATEGORIES)):
        if row["currency"] != currency:
            raise TariffError(f"{file}:{line}: the currency is {row['currency']}, the file's name says {currency}")
        for category in CATEGORIES:
            if not row[category] or category in without:
                continue
            try:
                micros = parse_micros(row[category])
            except AmountError as error:
                raise TariffError(f"{file}:{line}: {error}") from error
            if micros < 0:
                raise TariffError(f"{file}:{line}: a rate can not be negative")
            rates[row["market"], category] = Rate(micros, f"{source}:{line}")
    return rates


def _tiers(
    file: Path, folder: Path, currency: str, rates: dict[tuple[str, str], Rate]
) -> dict[tuple[str, str], tuple[Tier, ...]]:
    """Read the volume tiers of a rate card, where there are any. Their rates are Meta's own, rounded by it."""
    found: dict[tuple[str, str], list[Tier]] = {}
    if not file.exists():
        return {}
    source = file.relative_to(folder)
    next_lower: dict[tuple[str, str], int | None] = {}  # None: the last tier goes up to MAX
    for line, row in _rows(file, ("market", "category", "currency", "tier_from", "tier_to", "rate")):
        place, key = f"{file}:{line}", (row["market"], row["category"])
        try:
            lower, rate = int(row["tier_from"]), parse_micros(row["rate"])
            upper = None if row["tier_to"] == "MAX" else int(row["tier_to"])
        except ValueError as error:
            raise TariffError(f"{place}: {error}") from error
        tiers = found.setdefault(key, [])
        if row["currency"] != currency or key not in rates:
            raise TariffError(f"{place}: the card beside it has no {key[1]} rate for {key[0]} in {row['currency']}")
        if lower != next_lower.get(key, 0) or (upper is not None and upper < lower):
            raise TariffError(f"{place}: a tier must begin where the one before it ended, the first one at 0")
        if not 0 <= rate <= (tiers[-1].rate.micros if tiers else rate):
            raise TariffError(f"{place}: a higher tier can not be dearer")
        if not tiers and rate != rates[key].micros:
            raise TariffError(f"{place}: the first tier's rate must be the card's list rate")
        tiers.append(Tier(lower, Rate(rate, f"{source}:{line}")))
        next_lower[key] = None if upper is None else upper + 1
    for (market, category), missing in next_lower.items():
        if missing is not None:
            raise TariffError(f"{file}: the last tier of {market}, {category} must go up to MAX")
    return {key: tuple(tiers) for key, tiers in found.items()}


def _market_rows(file: Path) -> Iterator[MarketRow]:
    for line, row in _rows(file, ("market", "iso", "calling_prefixes", "valid_from", "valid_to")):
        prefixes = tuple(row["calling_prefixes"].split())
        if not all(prefix.isdigit() for prefix in prefixes):
            raise TariffError(f"{file}:{line}: calling_prefixes must be digits, separated by spaces")
        try:
            valid_from = date.fromisoformat(row["valid_from"])
            valid_to = date.fromisoformat(row["valid_to"]) if row["valid_to"] else None
        except ValueError as error:
            raise TariffError(f"{file}:{line}: {error}") from error
        yield MarketRow(row["market"], row["iso"], prefixes, valid_from, valid_to)


def _rows(file: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield a CSV file's rows with their line numbers; lines that start with # are comments."""
    try:
        lines = file.read_text().splitlines()
    except OSError as error:
        raise TariffError(f"{file}: {error.strerror}") from error
    numbered = [(number, text) for number, text in enumerate(lines, 1) if text and not text.startswith("#")]
    reader = csv.DictReader(text for _, text in numbered)
    missing = set(columns) - set(reader.fieldnames or ())
    if missing:
        raise TariffError(f"{file}: the column {', '.join(sorted(missing))} is missing")
    for (number, _), row in zip(numbered[1:], reader, strict=True):
        if None in row or None in row.values():
            raise TariffError(f"{file}:{number}: the row has not as many cells as the header")
        yield number, row
