"""A number's month: what it began with, what came in, what was charged day by day, what it ended with.

Read from the roll-up and from the few entries that are no charges, so a month of a million messages is as quick as one
of ten; and exact: start + moved - charged = end, and the end of a month is the start of the next. Days and months turn
where the number is. Micro-units of its currency.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import asyncpg

from farebox.directory import Number
from farebox.gate import Gate

MAX_MOVES = 2_000  # of a month: top-ups and corrections are few


@dataclass(frozen=True, slots=True)
class Move:
    """A movement that is no charge: a top-up, a refund, a correction."""

    at: datetime
    kind: str
    micros: int  # above zero: into the balance
    about: str
    topup_id: str | None


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the month, and the balance at its end."""

    day: date
    messages: int
    charged_micros: int
    moves: tuple[Move, ...]
    ends_micros: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A month of a number."""

    number: Number
    month: date
    start_micros: int
    days: tuple[Day, ...]
    fee_micros: int  # paid beside the balance, not from it
    fee_tax_micros: int

    @property
    def end_micros(self) -> int:
        """The balance at the end of the month, or now."""
        return self.days[-1].ends_micros if self.days else self.start_micros

    @property
    def added_micros(self) -> int:
        """What came in by top-ups."""
        return sum(move.micros for move in self.moves if move.kind == "topup")

    @property
    def other_micros(self) -> int:
        """Refunds, disputes and corrections."""
        return sum(move.micros for move in self.moves if move.kind != "topup")

    @property
    def charged_micros(self) -> int:
        """What messages cost."""
        return sum(day.charged_micros for day in self.days)

    @property
    def messages(self) -> int:
        """How many were delivered."""
        return sum(day.messages for day in self.days)

    @property
    def moves(self) -> list[Move]:
        """All that is no charge, oldest first."""
        return [move for day in self.days for move in day.moves]


def month_after(month: date) -> date:
    """Return the first day of the next month."""
    return (month.replace(day=1) + timedelta(days=32)).replace(day=1)


def midnight(number: Number, day: date) -> datetime:
    """Return when a day begins where the number is."""
    return datetime.combine(day, time(), number.zone)


async def read_statement(gate: Gate, number: Number, month: date) -> Statement:
    """Read a number's month, until now where it is not over."""
    after, id_ = month_after(month), number.number_id
    start, end = midnight(number, month), midnight(number, after)
    before = await gate.ledger.fetch_one("moved_before", id_, start, month)
    fees = await gate.ledger.fetch_one("fees_paid", id_, start, end)
    assert before is not None, "a sum has its row"
    assert fees is not None, "a sum has its row"
    moves = await gate.ledger.fetch("moved", id_, start, end, MAX_MOVES)
    charged = await gate.ledger.fetch("spent_by_day", [id_], month, after)
    today = datetime.fromtimestamp(gate.clock.now_ms() / 1000, number.zone).date()
    start_micros = before["moved_micros"] - before["charged_micros"]
    shown = (min(after, today + timedelta(days=1)) - month).days
    dates = [month + timedelta(days=index) for index in range(shown)]
    days = tuple(_days(dates, _moves(number, moves), charged, start_micros))
    return Statement(number, month, start_micros, days, fees["fee_micros"], fees["tax_micros"])


def _moves(number: Number, rows: Sequence[asyncpg.Record]) -> dict[date, list[Move]]:
    """Return what was no charge, day by day."""
    by_day: dict[date, list[Move]] = {}
    for row in rows:
        micros = row["amount_micros"] if row["into_book"] == "number" else -row["amount_micros"]
        about = row["reason"] or row["reference"] or ""
        move = Move(row["at"], row["kind"], micros, about, str(row["topup_id"]) if row["topup_id"] else None)
        by_day.setdefault(row["at"].astimezone(number.zone).date(), []).append(move)
    return by_day


def _days(
    days: Iterable[date], moves: Mapping[date, Sequence[Move]], charged: Sequence[asyncpg.Record], balance_micros: int
) -> Iterator[Day]:
    """Yield the days, each with the balance at its end."""
    used = {row["day"]: (row["messages"], row["billed_micros"]) for row in charged}
    for day in days:
        messages, micros = used.get(day, (0, 0))
        moved = tuple(moves.get(day, ()))
        balance_micros += sum(move.micros for move in moved) - micros
        yield Day(day, messages, micros, moved, balance_micros)
