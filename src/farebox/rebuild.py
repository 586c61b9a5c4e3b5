"""Writes a number's wallet anew from the ledger: what mends every difference between the two stores.

Under the number's row lock, so that nothing is recorded, ended or booked meanwhile; with an epoch of its own, committed
before the wallet is written, so that what was taken from an older wallet is refused for ever after.
"""

import asyncio
import logging

from farebox import metrics
from farebox.clock import Clock
from farebox.core.tariff import month_of
from farebox.directory import Number
from farebox.ledger import Ledger, LockedNumber
from farebox.tariffs import Tariffs
from farebox.wallet import Position, Wallet, WalletUnavailableError

log = logging.getLogger(__name__)

MAX_TRIES = 3  # look, claim the next epoch, write; another worker may come between once


class Rebuild:
    """Rebuilds wallets, one number at a time in each worker."""

    def __init__(self, wallet: Wallet, ledger: Ledger, clock: Clock, tariffs: Tariffs) -> None:
        self._wallet = wallet
        self._ledger = ledger
        self._clock = clock
        self._tariffs = tariffs
        self._under_way: dict[str, asyncio.Lock] = {}

    async def __call__(self, number: Number, *, stale_epoch: int | None) -> None:
        """Write a number's wallet anew, unless another worker has just done so.

        `stale_epoch` is that of the wallet that is wrong; None where the wallet was missing.
        """
        async with self._under_way.setdefault(number.number_id, asyncio.Lock()):
            claimed: int | None = None
            for _ in range(MAX_TRIES):
                async with self._ledger.number_locked(number.number_id) as locked:
                    position = await self._wallet.position(number.number_id)
                    if position is not None and position.epoch == locked.epoch and position.epoch != stale_epoch:
                        return
                    if claimed == locked.epoch:
                        await self._write_wallet(number, locked)
                        metrics.REBUILDS.inc()
                        log.info("wallet of number %s rebuilt, epoch %d", number.number_id, locked.epoch)
                        return
                claimed = await self._ledger.next_epoch(number.number_id, locked.epoch)
        raise WalletUnavailableError(f"the wallet of number {number.number_id} could not be rebuilt")

    async def _write_wallet(self, number: Number, locked: LockedNumber) -> None:
        now_ms = self._clock.now_ms()
        truth = await locked.truth([self._pool(number, now_ms)])
        await self._wallet.rebuild(
            number.number_id,
            Position(locked.epoch, truth.balance_micros - truth.held_micros, truth.held_micros),
            holds=truth.holds,
            pools=truth.pools,
            windows=await locked.windows(now_ms),
            conversations=await locked.conversations(now_ms),
        )

    def _pool(self, number: Number, now_ms: int) -> str:
        tariff, day = self._tariffs.regime_at(number, now_ms)
        return tariff.pool(month_of(day))
