"""What is left over: holds past their time, early statuses, wallets that differ from the ledger, users of long ago.

The sweep repairs with the same functions as everybody else. One worker at a time runs a pass: an advisory lock elects
it. What fails is logged, counted and passed over: one bad hold must not keep the others waiting.
"""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from uuid import UUID

from farebox import metrics, quarantine, unmatched
from farebox.core.hold import Event
from farebox.forgetting import Forgetting
from farebox.gate import Gate
from farebox.idempotency import forget_keys
from farebox.ledger import LedgerUnavailableError
from farebox.partitions import make_partitions
from farebox.rows import KnownHold, Resolution
from farebox.wallet import Position, WalletUnavailableError

log = logging.getLogger(__name__)

MAX_EXPIRED = 1_000  # holds ended in one statement
MAX_FAILED = 1_000  # holds that a pass may fail to end: past that something else is wrong than a hold
MAX_COMPARED = 1_000  # wallets compared in one pass; the next pass goes on where this one ended
LOOK_AGAIN_S = 1  # of a single pass: between the two looks at a wallet, which a send under way needs milliseconds of
SWEEP_LOCK = 0x7377_6565_70  # "sweep"
AWAY = (
    LedgerUnavailableError,
    WalletUnavailableError,
)  # no single hold's fault: the pass ends, the next one tries again


@dataclass(frozen=True, slots=True)
class Swept:
    """What a pass did, and how much it had to pass over."""

    expired: int
    decided: int
    rebuilt: int
    failed: int


class Sweep:
    """Passes over the stores; remembers between two passes which wallets looked wrong."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._suspects: dict[str, tuple[Position, int, int]] = {}
        self._after = ""
        self._failed = 0
        self._forgetting = Forgetting(gate.wallet, gate.clock, grace_ms=gate.settings.late_webhook_grace_s * 1000)

    async def run(self, *, whole: bool = False) -> Swept | None:
        """Make one pass; None where another worker is making one.

        A `whole` pass compares all wallets, twice, instead of the next few against what the pass before saw.
        """
        async with self._gate.ledger.elected(SWEEP_LOCK) as elected:
            if not elected:
                return None
            self._failed = 0
            swept = Swept(
                expired=await self._expire(),
                decided=await self._part("unmatched", unmatched.retry(self._gate)),
                rebuilt=await (self._compare_all() if whole else self._compare()),
                failed=self._failed,
            )
            await make_partitions(self._gate.ledger, self._gate.clock.now_ms())
            await forget_keys(self._gate)
            await self._gate.ledger.fetch("forget_windows", self._gate.clock.now_ms())
            await quarantine.forget(self._gate.ledger, self._gate.clock.now_ms())
            row = await self._gate.ledger.fetch_one("overdue", self._gate.clock.now_ms())
            metrics.OVERDUE.set(0 if row is None or row["overdue_ms"] is None else row["overdue_ms"] / 1000)
            metrics.OLDEST_HOLD.set(0 if row is None or row["age_ms"] is None else row["age_ms"] / 1000)
            await self._part("forget", self._forgetting.turn())
        if any((swept.expired, swept.decided, swept.rebuilt, swept.failed)):
            log.info("sweep: %s", swept)
        return swept

    async def _expire(self) -> int:
        """End holds whose message was not heard of in its time to live. A delivery without a price is charged."""
        total = 0
        failed: list[UUID] = []
        while len(failed) < MAX_FAILED:
            rows = await self._gate.ledger.fetch("expired_holds", self._gate.clock.now_ms(), MAX_EXPIRED, failed)
            ids = {row["hold_id"] for row in rows}
            found = await self._gate.ledger.find_holds(ids, [])
            holds = [hold for hold in found if hold.hold_id in ids]
            for event in (Event.DELIVER, Event.TIME_OUT):
                mine = [hold for hold in holds if hold.delivered is (event is Event.DELIVER)]
                total += await self._end(event, mine, failed)
            if len(rows) < MAX_EXPIRED:
                break
        return total

    async def _end(self, event: Event, holds: Sequence[KnownHold], failed: list[UUID]) -> int:
        """End holds together, or one by one where one of them can not be ended; `failed` gets those."""
        resolutions = [Resolution(hold, hold.fare_micros if event is Event.DELIVER else 0) for hold in holds]
        try:
            return await self._resolve(event, resolutions)
        except AWAY:
            raise
        except Exception as error:
            log.warning("sweep: %d holds could not be ended together, trying one by one: %r", len(holds), error)
        ended = 0
        for resolution in resolutions:
            try:
                ended += await self._resolve(event, [resolution])
            except AWAY:
                raise
            except Exception:
                failed.append(resolution.hold.hold_id)
                self._passed_over("expire", f"hold {resolution.hold.hold_id} was not ended")
        return ended

    async def _resolve(self, event: Event, resolutions: Sequence[Resolution]) -> int:
        ended = await self._gate.funds.resolve(event, resolutions)
        holds = {resolution.hold.hold_id: resolution.hold for resolution in resolutions}
        for end in ended:
            number = self._gate.directory.numbers.get(end.number_id)
            if end.billed_micros and number is not None:
                hold = holds[end.hold_id]
                metrics.count_spend(number.currency, hold.category, hold.market, end.billed_micros)
        return len(ended)

    async def _part(self, part: str, work: Awaitable[int]) -> int:
        """Do a part of a pass; where it fails the other parts go on."""
        try:
            return await work
        except AWAY:
            raise
        except Exception:
            self._passed_over(part, "the rest of this part waits for the next pass")
            return 0

    def _passed_over(self, part: str, what: str) -> None:
        """Count and log what failed; called while the exception is handled."""
        self._failed += 1
        metrics.SWEEP_FAILURES.labels(part).inc()
        log.exception("sweep, %s: %s", part, what)

    async def _compare_all(self) -> int:
        """Compare every wallet with the ledger, twice."""
        rebuilt = 0
        for look in range(2):
            if look:
                await asyncio.sleep(LOOK_AGAIN_S)
            self._after, first = "", True
            while first or self._after:
                first = False
                rebuilt += await self._compare()
        return rebuilt

    async def _compare(self) -> int:
        """Rebuild wallets that differ from the ledger in the same way in two looks.

        One look is not enough: a send that has taken and not yet recorded differs too, and is none of our business.
        """
        rows = await self._gate.ledger.fetch("expected_positions", self._after, MAX_COMPARED)
        self._after = rows[-1]["number_id"] if len(rows) == MAX_COMPARED else ""
        rebuilt = 0
        positions = await self._gate.wallet.positions([row["number_id"] for row in rows])
        for row, position in zip(rows, positions, strict=True):
            number_id = row["number_id"]
            wanted = (row["balance_micros"] - row["held_micros"], row["held_micros"])
            if position is None or (position.available_micros, position.held_micros) == wanted:
                self._suspects.pop(number_id, None)
            elif self._suspects.get(number_id) != (position, *wanted):
                self._suspects[number_id] = (position, *wanted)
            else:
                del self._suspects[number_id]
                rebuilt += await self._part("compare", self._rebuild(number_id, position, wanted))
        return rebuilt

    async def _rebuild(self, number_id: str, position: Position, wanted: tuple[int, int]) -> int:
        log.warning(
            "the wallet of number %s has available %d and held %d micro-units, the ledger %d and %d: rebuilding it",
            number_id,
            position.available_micros,
            position.held_micros,
            *wanted,
        )
        if number_id not in self._gate.directory.numbers:
            return 0
        await self._gate.rebuild(self._gate.directory.numbers[number_id], stale_epoch=position.epoch)
        return 1
