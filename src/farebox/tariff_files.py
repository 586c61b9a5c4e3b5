"""Reads `config/tariffs/`: regimes (TOML), rate cards and markets (CSV). Everything is checked before it is served.

A regime names its cards by their first word; every file `rates/<word>_<currency>_<date>.csv` is one, in force from its
date on. So a new rate card is dropped into the folder, with a future date if need be.
"""

import re
import tomllib
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from farebox.card_files import CATEGORIES, read_cards, read_markets
from farebox.core.market import MarketRow, Markets
from farebox.core.tariff import HOUR_MS, Card, Class, Tariff, TermRule, When

AUTO = "auto"  # a number's regime: the one in force on the day, in the number's time zone
KINDS = frozenset({"reaction", "direct_utility", "direct_authentication", "call", *CATEGORIES})


Cuts = tuple[tuple[date, Markets], ...]


class TariffError(ValueError):
    """Tariff files are wrong. Each mistake names the file, the line where there is one, and what to do."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        more = len(mistakes) - 1
        suffix = f" ({more} more; farebox check lists them all)" if more else ""
        super().__init__(mistakes[0] + suffix)
        self.mistakes = tuple(mistakes)


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
    """Load and check every tariff of a folder; raises TariffError with all mistakes that can be told apart."""
    mistakes: list[str] = []
    rows = list(read_markets(folder / "markets.csv", mistakes))
    cuts = _cuts(rows)
    files = sorted(folder.glob("*.toml"))
    if not files:
        mistakes.append(f"{folder}: there is no tariff (*.toml) in this folder")
    tariffs = [tariff for file in files if (tariff := _load(file, folder, rows, cuts, mistakes)) is not None]
    mistakes += _same_twice(tariffs)
    if mistakes:
        # Several tariffs share a card, whose mistakes are found once for each.
        raise TariffError(list(dict.fromkeys(mistakes)))
    return tariffs


def _cuts(rows: list[MarketRow]) -> Cuts:
    days = {day for row in rows for day in (row.valid_from, row.valid_to) if day is not None}
    return tuple((day, Markets(rows, day)) for day in sorted(days, reverse=True))


def _load(file: Path, folder: Path, rows: list[MarketRow], cuts: Cuts, mistakes: list[str]) -> Tariff | None:
    """Read a tariff; None where it is so wrong that nothing more can be said."""
    text = file.read_text()
    try:
        regime = _Regime.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        mistakes.append(f"{file}: not valid TOML: {error}")
        return None
    except ValidationError as error:
        mistakes += [
            f"{file}{toml_line(text, each['loc'])}: {'.'.join(map(str, each['loc']))}: {each['msg']}"
            for each in error.errors()
        ]
        return None
    wrong = list(_wrong_terms(file, text, regime))
    mistakes += wrong
    before = len(mistakes)
    cards = read_cards(
        file,
        folder,
        name=regime.cards.name,
        since=regime.cards.since,
        without=regime.cards.without,
        mistakes=mistakes,
    )
    if wrong or len(mistakes) > before:  # a rate that can not be read would also be missed
        return None
    rules = {kind: regime.rules(kind) for kind in KINDS}
    mistakes += _missing_rates(file, cards, rules, rows)
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


def _same_twice(tariffs: list[Tariff]) -> Iterator[str]:
    """Find tariffs that could not be told apart: of two with one name or one date, only one would ever be used."""
    seen: set[object] = set()
    for tariff in tariffs:
        for value, what in ((tariff.name, "name"), (tariff.effective_from, "effective_from")):
            if value in seen:
                yield f"two tariffs have the {what} {value}; each needs one of its own"
            seen.add(value)


def toml_line(text: str, place: Sequence[int | str]) -> str:
    """Return ":<line>" of a key in a TOML file, "" where it is not found. TOML parsers do not tell lines."""
    lines, found = text.splitlines(), 0
    for step in place:
        if isinstance(step, int):  # an element of a list, one to a line in our files
            at = [number for number, line in enumerate(lines, 1) if number > found and line.lstrip().startswith("{")]
            found = at[step] if step < len(at) else found
            continue
        key = re.compile(rf"\s*(?:\[{re.escape(step)}\]|{re.escape(step)}\s*=)")
        found = next((number for number, line in enumerate(lines, 1) if number > found and key.match(line)), found)
    return f":{found}" if found else ""


def _wrong_terms(file: Path, text: str, regime: _Regime) -> Iterator[str]:
    if set(regime.terms) != KINDS:
        wrong = sorted(set(regime.terms) ^ KINDS)
        yield f"{file}: terms must name exactly {', '.join(sorted(KINDS))}; look at {', '.join(wrong)}"
    for kind, terms in regime.terms.items():
        place = f"{file}{toml_line(text, ('terms', kind))}: terms.{kind}"
        if isinstance(terms, str):
            if not isinstance(regime.terms.get(terms), list):
                yield f"{place} is like {terms}, which has no terms of its own"
            continue
        if not terms or terms[-1].when is not When.ALWAYS or terms[-1].within:
            yield f'{place} must end with a term that always holds (when = "always")'
        for index, term in enumerate(terms):
            for mistake in _wrong_term(term):
                yield f"{file}{toml_line(text, ('terms', kind, index))}: terms.{kind}: {mistake}"


def _wrong_term(term: _Term) -> Iterator[str]:
    for rate in (term.rate, term.or_rate):
        if rate is not None and rate not in CATEGORIES:
            yield f"rate must be one of {', '.join(CATEGORIES)}"
    if (term.message_class is Class.PAID) != (term.rate is not None or term.unpriced):
        yield "a paid term needs a rate, and only a paid one has one"
    if (term.when is When.CONVERSATION) != (term.message_class is None):
        yield "every term has a class, but one that rides a conversation is as that is"
    if (term.when is When.CONVERSATION) != bool(term.of):
        yield 'when = "conversation" goes with of = [the conversations that it may ride]'


def _missing_rates(
    file: Path, cards: dict[str, tuple[Card, ...]], rules: dict[str, tuple[TermRule, ...]], rows: list[MarketRow]
) -> Iterator[str]:
    """Check that whatever a term may ask of a card is there: a message must not be met without a price."""
    asked = sorted({(rule.rate, rule.or_rate or rule.rate) for terms in rules.values() for rule in terms if rule.rate})
    for card in (card for dated in cards.values() for card in dated):
        for market in sorted({row.market for row in rows if row.on(card.valid_from)}):
            for rate, or_rate in asked:
                if (market, rate) not in card.rates and (market, or_rate) not in card.rates:
                    yield f"{file}: the card in {card.currency} of {card.valid_from} has no {rate} rate for {market}"
