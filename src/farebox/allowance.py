"""What paid sends may cost a number while a store is away: a bound over all workers of this machine.

Each of the first slots of the spool has an even share. What left is in the slot's file until it is accounted, so a
worker that starts after a crash goes on counting where the dead one stopped. Accounted, it counts from zero again:
then the balance itself knows.
"""

import asyncio
from collections.abc import Iterable
from uuid import UUID

from farebox.news import Kind, Piece


class Allowance:
    """One worker's share for every number, in micro-units of the number's currency."""

    def __init__(self, share_micros: int) -> None:
        self._share_micros = share_micros
        self.counting = asyncio.Lock()  # one reads the files, the others wait for what they say
        self.slot: int | None = None  # whose file was counted
        self._spent: dict[str, int] = {}  # on the disk
        self._under_way: dict[str, int] = {}  # taken, and not on the disk yet

    def take(self, number_id: str, micros: int) -> bool:
        """Take from a number's share; False where it is not enough, and nothing is taken."""
        spent_micros = self._spent.get(number_id, 0) + self._under_way.get(number_id, 0)
        if spent_micros + micros > self._share_micros:
            return False
        self._under_way[number_id] = self._under_way.get(number_id, 0) + micros
        return True

    def spend(self, number_id: str, micros: int) -> None:
        """Note that what was taken is on the disk."""
        self._under_way[number_id] -= micros
        self._spent[number_id] = self._spent.get(number_id, 0) + micros

    def give_back(self, number_id: str, micros: int) -> None:
        """Give back what was taken for a message that did not leave."""
        self._under_way[number_id] -= micros

    def accounted(self) -> None:
        """Count from zero: everything that is on the disk has been accounted."""
        self._spent.clear()

    def remember(self, pieces: Iterable[Piece]) -> None:
        """Count what is on the disk, of this worker and of earlier ones."""
        self._spent.clear()
        sends: dict[UUID, tuple[str, int]] = {}
        for piece in pieces:
            if piece.kind is Kind.SEND:
                sends[UUID(piece.content["hold_id"])] = piece.about, piece.content["most_micros"]
            elif piece.kind is Kind.NOT_TAKEN:
                sends.pop(UUID(piece.content["hold_id"]), None)
        for number_id, micros in sends.values():
            self._spent[number_id] = self._spent.get(number_id, 0) + micros
