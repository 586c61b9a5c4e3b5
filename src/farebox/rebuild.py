"""Writes a number's wallet anew from the ledger: what mends every difference between the two stores.

One transaction of the ledger: the number's row is locked, so that nothing is recorded, ended or booked meanwhile; it
gets an epoch that no wallet ever had; the wallet is written; the transaction commits. What was taken from an older
wallet is refused from then on, and what is ended or booked later belongs to the new one. If the commit fails, the
wallet has an epoch that the ledger never heard of: nothing can be recorded on it, and it is rebuilt in turn.

A wallet is rebuilt when a send finds it missing, ahead of that for the busiest numbers once one was missed, and when it
turns out to differ from the ledger.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Sequence
from datetime import date
from itertools import islice
from typing import Any

from farebox import metrics
from farebox.asks import Gap, NewWallet
from farebox.clock import Clock
from farebox.core.limits import EVERYTHING, OF_KEY
from farebox.core.tariff import UnpricedError, month_of
from farebox.directory import Directory, Number
from farebox.ledger import Ledger, LedgerUnavailableError
from farebox.rows import Truth
from farebox.tariffs import Tariffs
from farebox.unread import Unread
from farebox.wallet import Position, Wallet, WalletUnavailableError

log = logging.getLogger(__name__)

AHEAD_LOCK = 0x6168_6561_64  # "ahead"
AHEAD_CHUNK = 100  # wallets in one transaction: a send of one of these numbers waits for it, some ten milliseconds
AHEAD_AFTER_S = 0.1  # the sends that were waiting when a store was lost come first: theirs are the busiest numbers
AHEAD_AT_ONCE = 3  # chunks under way: more than the two stores can work at in parallel gains nothing
FILLS_AT_ONCE = 2  # numbers whose users are read in the background: the ledger's other connections are for sends
MAX_BUSY = 10_000  # numbers that are put in order; the others follow as they come
MEND_PAUSE_S = 0.5  # between two tries to write, mend or fill wallets while a store is away
MAX_BEHIND = 100_000  # wallets remembered as behind the ledger; past that the sweep finds them
_AWAY = (WalletUnavailableError, LedgerUnavailableError)


class Rebuild:
    """Rebuilds wallets; one number at a time in each worker, many at once when a store was lost."""

    def __init__(self, wallet: Wallet, ledger: Ledger, clock: Clock, tariffs: Tariffs, directory: Directory) -> None:
        self._wallet = wallet
        self._ledger = ledger
        self._clock = clock
        self._tariffs = tariffs
        self._directory = directory
        self._unread = Unread(wallet, ledger, clock)
        self._under_way: dict[str, asyncio.Lock] = {}
        self._behind: dict[str, int] = {}  # number -> the epoch in which its wallet missed something
        self._to_fill: dict[str, int] = {}  # number -> the epoch of its wallet, which does not know all users yet
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def aclose(self) -> None:
        """Stop what runs in the background; whatever is left, the next worker's sends and sweep find."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def settled(self) -> None:
        """Wait until nothing runs in the background any more."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def __call__(self, number: Number, *, stale_epoch: int | None) -> None:
        """Write a number's wallet anew, unless another worker has just done so.

        `stale_epoch` is that of the wallet that is wrong; None where the wallet was missing.
        """
        lock = self._under_way.setdefault(number.number_id, asyncio.Lock())
        async with lock, self._ledger.numbers_locked([number.number_id]) as locked:
            position = await self._wallet.position(number.number_id)
            last_epoch = await locked.epoch(number.number_id)
            if position is not None and position.epoch == last_epoch != stale_epoch:
                return
            epochs = await locked.next_epochs()
            pool, today = self._month(number)
            truths = await locked.truths([pool], [today], self._clock.now_ms())
            await self._write(truths, epochs)
        for number_id, epoch in self._rebuilt(truths, epochs).items():
            self.fill(number_id, epoch)
        if position is None and last_epoch > 0:  # it had one: others may be lost as well
            self._in_background("ahead", self._ahead_soon())

    async def close(self, gap: Gap, number: Number, users: Sequence[str]) -> None:
        """Read from the ledger what a send found missing."""
        if gap is Gap.MISSING:
            await self(number, stale_epoch=None)
        else:
            await self._unread.read(number.number_id, users)

    def fill(self, number_id: str, epoch: int) -> None:
        """Read all users of a number in the background, after those of the numbers that were asked for before."""
        self._to_fill[number_id] = epoch
        for which in range(FILLS_AT_ONCE):
            self._in_background(f"fill {which}", self._fill())

    def later(self, number_id: str, epoch: int) -> None:
        """Remember a wallet that missed what the ledger did in an epoch; it is rebuilt as soon as the store answers."""
        if len(self._behind) < MAX_BEHIND:
            self._behind[number_id] = epoch
        self._in_background("mend", self._mend())

    async def ahead(self) -> int:
        """Rebuild all wallets that are missing, the busiest numbers first; return how many.

        One worker at a time does it; the others return at once.
        """
        async with self._ledger.elected(AHEAD_LOCK) as elected:
            if not elected:
                return 0
            busy = [row["number_id"] for row in await self._ledger.fetch("busy_numbers", MAX_BUSY)]
            order = iter(dict.fromkeys((*busy, *self._directory.numbers)))
            to_fill: dict[str, int] = {}  # number -> the epoch of a wallet that does not know all users yet
            try:
                counts = await asyncio.gather(*(self._chunks(order, to_fill) for _ in range(AHEAD_AT_ONCE)))
            finally:  # users are read once every number can send again; until then each on first use
                for number_id, epoch in to_fill.items():
                    self.fill(number_id, epoch)
        return sum(counts)

    async def _ahead_soon(self) -> None:
        pause_s = AHEAD_AFTER_S
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self.ahead()
            except _AWAY as error:
                log.warning("the wallets that are missing are not all written yet: %s", error)
                pause_s = MEND_PAUSE_S
            else:
                return

    async def _chunks(self, order: Iterator[str], to_fill: dict[str, int]) -> int:
        rebuilt = 0
        months: dict[tuple[str, str], tuple[str, date] | None] = {}  # by what they hang on; None: without a rate card

        def month(number: Number) -> tuple[str, date] | None:
            calendar = number.regime, number.zone.key
            if calendar not in months:
                try:
                    months[calendar] = self._month(number)
                except UnpricedError:
                    months[calendar] = None
            return months[calendar]

        while chunk := list(islice(order, AHEAD_CHUNK)):
            numbers = [self._directory.numbers[id_] for id_ in chunk if id_ in self._directory.numbers]
            positions = await self._wallet.positions([number.number_id for number in numbers])
            missing = {
                number.number_id: number
                for number, position in zip(numbers, positions, strict=True)
                if position is None and month(number) is not None
            }
            if not missing:
                continue
            async with self._ledger.numbers_locked(list(missing), wait=False) as locked:
                epochs = await locked.next_epochs()
                of = [found for id_ in locked.number_ids if (found := month(missing[id_])) is not None]
                pools, days = [pool for pool, _ in of], [day for _, day in of]
                truths = await locked.truths(pools, days, self._clock.now_ms())
                await self._write(truths, epochs)
            to_fill |= self._rebuilt(truths, epochs)
            rebuilt += len(truths)
        return rebuilt

    async def _write(self, truths: Sequence[Truth], epochs: dict[str, int]) -> None:
        await self._wallet.rebuild(
            [
                NewWallet(
                    number_id=truth.number_id,
                    position=Position(
                        epoch=epochs[truth.number_id],
                        available_micros=truth.balance_micros - truth.held_micros,
                        held_micros=truth.held_micros,
                        filled=not truth.open,
                    ),
                    counts=_counts(truth),
                )
                for truth in truths
            ]
        )

    def _rebuilt(self, truths: Sequence[Truth], epochs: dict[str, int]) -> dict[str, int]:
        """Count and log rebuilt wallets; return the epochs of those whose users are to be read."""
        metrics.REBUILDS.inc(len(truths))
        for truth in truths:
            log.info("wallet of number %s rebuilt, epoch %d", truth.number_id, epochs[truth.number_id])
        return {truth.number_id: epochs[truth.number_id] for truth in truths if truth.open}

    async def _fill(self) -> None:
        while self._to_fill:
            number_id = next(iter(self._to_fill))
            epoch = self._to_fill.pop(number_id)
            try:
                await self._unread.read_all(number_id, epoch)
            except _AWAY:
                self._to_fill.setdefault(number_id, epoch)
                await asyncio.sleep(MEND_PAUSE_S)

    async def _mend(self) -> None:
        while self._behind:
            number_id, epoch = next(iter(self._behind.items()))
            number = self._directory.numbers.get(number_id)
            try:
                if number is not None:
                    await self(number, stale_epoch=epoch)
            except _AWAY:
                await asyncio.sleep(MEND_PAUSE_S)
                continue
            if self._behind.get(number_id) == epoch:
                del self._behind[number_id]

    def _in_background(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        """Run something beside the sends, once at a time under its name."""
        if name in self._tasks:
            work.close()
            return

        async def run() -> None:
            try:
                await work
            except Exception:
                log.exception("%s failed", name)
            finally:
                del self._tasks[name]

        self._tasks[name] = asyncio.create_task(run())

    def _month(self, number: Number) -> tuple[str, date]:
        """Return the pool of a number's month, and its day."""
        tariff, day = self._tariffs.regime_at(number, self._clock.now_ms())
        return tariff.pool(month_of(day)), day


def _counts(truth: Truth) -> dict[str, str]:
    """Return what a wallet counts beside its money: units of the pool, and what was spent (lua/_shared.lua).

    What is not counted is nothing, as in most wallets most counts are.
    """
    counts = {f"held:{category}": str(micros) for category, micros in truth.held_by.items()}
    if truth.units:
        counts[f"pool:{truth.pool}"] = str(truth.units)
    for period, name, by in (("day", truth.day, truth.day_by), ("month", truth.day[:7], truth.month_by)):
        if by:
            counts |= {f"{period}:{category}": f"{name} {micros}" for category, micros in by.items()}
            all_micros = sum(micros for category, micros in by.items() if not category.startswith(OF_KEY))
            counts[f"{period}:{EVERYTHING}"] = f"{name} {all_micros}"
    return counts
