"""What is left over: holds past their time, statuses that came too early, wallets that differ from the ledger.

The sweep repairs with the same functions as everybody else. One worker at a time runs a pass: an advisory lock elects
it.
"""

import logging
from dataclasses import dataclass

from farebox.bookkeeping import retry_unmatched
from farebox.core.hold import Event
from farebox.gate import Gate
from farebox.rows import Resolution
from farebox.wallet import Position

log = logging.getLogger(__name__)

MAX_EXPIRED = 1_000  # holds ended in one statement
MAX_UNMATCHED = 500  # statuses tried again in one pass
MAX_COMPARED = 1_000  # wallets compared in one pass; the next pass goes on where this one ended
SWEEP_LOCK = 0x7377_6565_70  # "sweep"


@dataclass(frozen=True, slots=True)
class Swept:
    """What a pass did."""

    expired: int
    decided: int
    rebuilt: int


class Sweep:
    """Passes over the stores; remembers between two passes which wallets looked wrong."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._suspects: dict[str, tuple[Position, int, int]] = {}
        self._after = ""

    async def run(self) -> Swept | None:
        """Make one pass; None where another worker is making one."""
        async with self._gate.ledger.elected(SWEEP_LOCK) as elected:
            if not elected:
                return None
            swept = Swept(
                expired=await self._expire(),
                decided=await retry_unmatched(self._gate, MAX_UNMATCHED),
                rebuilt=await self._compare(),
            )
            await self._gate.ledger.fetch("forget_windows", self._gate.clock.now_ms())
        if any((swept.expired, swept.decided, swept.rebuilt)):
            log.info("sweep: %s", swept)
        return swept

    async def _expire(self) -> int:
        """End holds whose message was not heard of in its time to live. A delivery without a price is charged."""
        total = 0
        while True:
            rows = await self._gate.ledger.fetch("expired_holds", self._gate.clock.now_ms(), MAX_EXPIRED)
            holds = await self._gate.ledger.find_holds([row["hold_id"] for row in rows], [])
            delivered = [Resolution(hold, hold.fare_micros) for hold in holds if hold.delivered]
            silent = [Resolution(hold, 0) for hold in holds if not hold.delivered]
            total += len(await self._gate.funds.resolve(Event.DELIVER, delivered))
            total += len(await self._gate.funds.resolve(Event.TIME_OUT, silent))
            if len(rows) < MAX_EXPIRED:
                return total

    async def _compare(self) -> int:
        """Rebuild wallets that differ from the ledger in the same way in two passes.

        One look is not enough: a send that has taken and not yet recorded differs too, and is none of our business.
        """
        rows = await self._gate.ledger.fetch("expected_positions", self._after, MAX_COMPARED)
        self._after = rows[-1]["number_id"] if len(rows) == MAX_COMPARED else ""
        rebuilt = 0
        for row in rows:
            number_id = row["number_id"]
            position = await self._gate.wallet.position(number_id)
            wanted = (row["balance_micros"] - row["held_micros"], row["held_micros"])
            if position is None or (position.available_micros, position.held_micros) == wanted:
                self._suspects.pop(number_id, None)
                continue
            seen = (position, *wanted)
            if self._suspects.get(number_id) != seen:
                self._suspects[number_id] = seen
                continue
            del self._suspects[number_id]
            log.warning(
                "the wallet of number %s has available %d and held %d micro-units, the ledger %d and %d: rebuilding it",
                number_id,
                position.available_micros,
                position.held_micros,
                *wanted,
            )
            if number_id in self._gate.directory.numbers:
                await self._gate.rebuild(self._gate.directory.numbers[number_id], stale_epoch=position.epoch)
                rebuilt += 1
        return rebuilt
