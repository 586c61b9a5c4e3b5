"""A provider of payments whose conduct is drawn, and whose own books say what was charged."""

import random
from dataclasses import dataclass, field
from uuid import UUID

from farebox.core.charge import Terms
from farebox.payments import Fate, Payment, Standing
from farebox.payments.sandbox import DECLINED, LATE, SILENT, STUCK, Sandbox

AT_ONCE = ""
# In a hundred payments.
CONDUCT = {AT_ONCE: 60, LATE: 15, SILENT: 10, DECLINED: 10, STUCK: 5}


@dataclass
class Provider(Sandbox):
    """Play money. A payment that is stuck stays pending until `free` is called; its events are drawn by the storm."""

    dice: random.Random = field(default_factory=random.Random)
    drawn: dict[str, int] = field(default_factory=dict)  # how often each conduct was
    always_declined: set[str] = field(default_factory=set)  # numbers
    declined_last: set[str] = field(default_factory=set)
    number_of: dict[UUID, str] = field(default_factory=dict)

    def __init__(self, dice: random.Random) -> None:
        super().__init__(Terms(percent_ppm=40_000, min_micros=10_000))
        self.dice, self.drawn, self.always_declined, self.declined_last, self.number_of = dice, {}, set(), set(), {}

    async def charge(self, payment: Payment) -> Standing:
        """Draw what becomes of a payment, once; a number is not declined twice in a row, or it would wait for hours."""
        if payment.topup_id not in self.payments:
            number_id = payment.number_id
            (conduct,) = self.dice.choices(list(CONDUCT), list(CONDUCT.values()))
            if conduct == DECLINED and number_id in self.declined_last:
                conduct = AT_ONCE
            if number_id in self.always_declined:
                conduct = DECLINED
            (self.declined_last.add if conduct == DECLINED else self.declined_last.discard)(number_id)
            self.number_of[payment.topup_id] = number_id
            self.drawn[conduct] = self.drawn.get(conduct, 0) + 1
            self.next.append(conduct)
        return await super().charge(payment)

    def free(self, topup_id: UUID) -> None:
        """Let a stuck payment succeed."""
        if self.payments[topup_id].conduct == STUCK:
            self.confirm(topup_id)

    def charged_micros(self, number_id: str) -> int:
        """What it has taken from the payer of a number, by its own books."""
        return sum(
            kept.total_micros
            for topup_id, kept in self.payments.items()
            if self.number_of[topup_id] == number_id and kept.standing.fate is Fate.SUCCEEDED
        )
