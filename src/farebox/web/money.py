"""What an account has, by currency, and how long it lasts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from farebox.admin.estimates import read_pace_of
from farebox.admin.numbers import Number
from farebox.core.forecast import Lasts, TooLittle, lasts
from farebox.gate import Gate


@dataclass(frozen=True, slots=True)
class Purse:
    """The numbers of an account that share a currency, and what they have together (micro-units)."""

    currency: str
    numbers: tuple[Number, ...]

    @property
    def available_micros(self) -> int:
        """What may be spent."""
        return sum(number.balance.available for number in self.numbers)

    @property
    def held_micros(self) -> int:
        """What is set aside for messages whose fate is open."""
        return sum(number.balance.held for number in self.numbers)

    @property
    def balance_micros(self) -> int:
        """All that is there: available and held."""
        return self.available_micros + self.held_micros

    @property
    def pending_micros(self) -> int:
        """What was paid and has not arrived."""
        return sum(number.balance.pending for number in self.numbers)


def purses(numbers: Sequence[Number]) -> list[Purse]:
    """Sort numbers by their currency."""
    currencies = sorted({number.currency for number in numbers})
    return [Purse(currency, tuple(n for n in numbers if n.currency == currency)) for currency in currencies]


def is_empty(number: Number) -> bool:
    """Tell whether paid messages of a number are refused."""
    return number.mode == "enforce" and number.balance.available <= number.block_at


async def forecast(gate: Gate, numbers: Sequence[Number], now: datetime) -> Lasts | TooLittle:
    """Tell how long the money of some numbers lasts, in the local time of the first."""
    local = now.astimezone(ZoneInfo(numbers[0].timezone))
    used = [gate.directory.numbers[n.phone_number_id] for n in numbers if n.phone_number_id in gate.directory.numbers]
    pace = await read_pace_of(gate, used, local)
    if isinstance(pace, TooLittle):
        return pace
    return lasts(pace, sum(number.balance.available for number in numbers), local)
