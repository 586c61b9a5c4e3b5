"""Loads tariffs from `config/tariffs/`: regimes (TOML), rate cards and markets (CSV), all checked first."""

import csv
import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from farebox.core.market import MarketRow, Markets
from farebox.core.money import AmountError, parse_micros
from farebox.core.tariff import HOUR_MS, Class, Rate, Tariff, TermRule, UnpricedError, When

AUTO = "auto"  # a number's regime: the one in force on the day, in the number's time zone
CATEGORIES = ("marketing", "utility", "authentication", "authentication_international", "service")
KINDS = frozenset(
    {"reaction", "service", "utility", "marketing", "authentication", "direct_utility", "direct_authentication"}
)


class TariffError(ValueError):
    """A tariff file is wrong. The text names the file, the line where there is one, and what to do."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Term(_Model):
    when: When
    message_class: Class = Field(alias="class")
    rate: str | None = None
    why: str


class _Windows(_Model):
    customer_service_h: int = Field(gt=0)
    free_entry_point_h: int = Field(gt=0)
    free_entry_point_answer_h: int = Field(gt=0)


class _Pool(_Model):
    name: str
    size: int = Field(ge=0)


class _Regime(_Model):
    name: str
    effective_from: date
    windows: _Windows
    pool: _Pool
    cards: dict[str, str]
    terms: dict[str, list[_Term]]


class Tariffs:
    """All tariffs that are loaded, by name and by date."""

    def __init__(self, tariffs: list[Tariff]) -> None:
        self._by_date = sorted(tariffs, key=lambda tariff: tariff.effective_from, reverse=True)
        self._by_name = {tariff.name: tariff for tariff in tariffs}

    def __contains__(self, name: str) -> bool:
        return name == AUTO or name in self._by_name

    @property
    def names(self) -> list[str]:
        """Return the names of all tariffs, the latest first."""
        return [tariff.name for tariff in self._by_date]

    def by_name(self, name: str) -> Tariff:
        """Return a tariff by its name."""
        return self._by_name[name]

    def currencies(self, regime: str) -> set[str]:
        """Return the currencies that a regime has rate cards in."""
        tariffs = self._by_date if regime == AUTO else [self._by_name[regime]]
        return {currency for tariff in tariffs for currency in tariff.cards}

    def at(self, regime: str, now_ms: int, zone: ZoneInfo) -> tuple[Tariff, str]:
        """Return the tariff in force for a number and the number's month ("2026-11").

        Everything switches at midnight in the time zone of the WhatsApp Business Account. Before the first regime that
        is loaded, that one is taken. Raises UnpricedError where the number's own regime is not loaded.
        """
        local = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(zone)
        month = f"{local.year:04d}-{local.month:02d}"
        if regime != AUTO:
            if regime not in self._by_name:
                raise UnpricedError(f"the number is pinned to the regime {regime}, which is not loaded")
            return self._by_name[regime], month
        today = local.date()
        return next((t for t in self._by_date if t.effective_from <= today), self._by_date[-1]), month


def load_tariffs(folder: Path) -> Tariffs:
    """Load and check every tariff of a folder; raises TariffError with the file and line of the first mistake."""
    rows = list(_market_rows(folder / "markets.csv"))
    tariffs = [_load(file, folder, rows) for file in sorted(folder.glob("*.toml"))]
    if not tariffs:
        raise TariffError(f"{folder}: there is no tariff (*.toml) in this folder")
    return Tariffs(tariffs)


def _load(file: Path, folder: Path, rows: list[MarketRow]) -> Tariff:
    try:
        regime = _Regime.model_validate(tomllib.loads(file.read_text()))
    except tomllib.TOMLDecodeError as error:
        raise TariffError(f"{file}: not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise TariffError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    _check_terms(file, regime)
    cards = {currency: _card(folder / name, folder, currency) for currency, name in regime.cards.items()}
    _check_cards(file, regime, cards, {row.market for row in rows if row.on(regime.effective_from)})
    return Tariff(
        name=regime.name,
        effective_from=regime.effective_from,
        customer_service_ms=regime.windows.customer_service_h * HOUR_MS,
        free_entry_point_ms=regime.windows.free_entry_point_h * HOUR_MS,
        free_entry_point_answer_ms=regime.windows.free_entry_point_answer_h * HOUR_MS,
        pool_name=regime.pool.name,
        pool_size=regime.pool.size,
        rules={
            kind: tuple(TermRule(term.when, term.message_class, term.rate, term.why) for term in terms)
            for kind, terms in regime.terms.items()
        },
        cards=cards,
        markets=Markets(rows, regime.effective_from),
    )


def _check_terms(file: Path, regime: _Regime) -> None:
    if set(regime.terms) != KINDS:
        wrong = sorted(set(regime.terms) ^ KINDS)
        raise TariffError(f"{file}: terms must name exactly {', '.join(sorted(KINDS))}; look at {', '.join(wrong)}")
    for kind, terms in regime.terms.items():
        if not terms or terms[-1].when is not When.ALWAYS:
            raise TariffError(f'{file}: terms.{kind} must end with a term that always holds (when = "always")')
        for term in terms:
            if term.rate is not None and term.rate not in CATEGORIES:
                raise TariffError(f"{file}: terms.{kind}: rate must be one of {', '.join(CATEGORIES)}")
            if term.message_class is Class.PAID and term.rate is None:
                raise TariffError(f"{file}: terms.{kind}: a paid term needs a rate")


def _check_cards(file: Path, regime: _Regime, cards: dict[str, dict[tuple[str, str], Rate]], markets: set[str]) -> None:
    """Check that whatever a term may ask of a card is there: a message must not be met without a price."""
    rates = {term.rate for terms in regime.terms.values() for term in terms if term.rate is not None}
    for currency, card in cards.items():
        for market in sorted(markets):
            for rate in sorted(rates):
                if (market, rate) not in card:
                    raise TariffError(f"{file}: {regime.cards[currency]} has no {rate} rate for {market}")


def _card(file: Path, folder: Path, currency: str) -> dict[tuple[str, str], Rate]:
    """Read a rate card. A blank cell is no rate, not a rate of zero."""
    source = file.relative_to(folder)
    card: dict[tuple[str, str], Rate] = {}
    for line, row in _rows(file, ("market", "currency", *CATEGORIES)):
        if row["currency"] != currency:
            raise TariffError(f"{file}:{line}: the currency is {row['currency']}, the regime says {currency}")
        for category in CATEGORIES:
            if not row[category]:
                continue
            try:
                micros = parse_micros(row[category])
            except AmountError as error:
                raise TariffError(f"{file}:{line}: {error}") from error
            if micros < 0:
                raise TariffError(f"{file}:{line}: a rate can not be negative")
            card[row["market"], category] = Rate(micros, f"{source}:{line}")
    return card


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
