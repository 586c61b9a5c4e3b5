"""Money that moves otherwise than by messages and top-ups: refunds, transfers, adjustments, disputes.

    out of a number    wallet takes            | ledger books it, if the wallet is still the number's
    into a number      ledger books it         | wallet adds it
    from one to another  wallet takes          | ledger books both | the other wallet adds it

Wherever a crash cuts one of these, the wallets show too little and never too much, and the sweep rebuilds them. A
movement has a reference: repeated under it, it is the same movement.
"""

import logging
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from farebox.clock import Clock
from farebox.core.topup import State
from farebox.directory import Number
from farebox.ledger import Ledger, LedgerUnavailableError
from farebox.rebuild import Rebuild
from farebox.wallet import Wallet, WalletUnavailableError

log = logging.getLogger(__name__)

MAX_TRIES = 4  # a movement may meet a missing wallet, and then a fence; twice that is worth an error


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A movement to be made. `micros` are above zero; the function says in which direction they go."""

    kind: str  # refund, transfer, adjustment or dispute
    micros: int
    reason: str
    reference: str
    below_zero: bool = False  # out of a number: whether it may take more than is available
    topup_id: UUID | None = None
    from_states: tuple[State, ...] = ()  # of the top-up: where it must be
    refunded_micros: int = 0  # by how much more of the top-up is given back; below zero: less
    sent: bool = False  # of a refund: its provider has paid it out already
    to_state: State | None = None  # of the top-up afterwards; None: refunded where all of it is, else succeeded


@dataclass(frozen=True, slots=True)
class Moved:
    """A movement that is booked. `new`: by this call."""

    movement_id: UUID
    amount_micros: int
    new: bool


@dataclass(frozen=True, slots=True)
class Short:
    """There is not so much available; nothing was changed."""

    available_micros: int


@dataclass(frozen=True, slots=True)
class Unfit:
    """The top-up is not in a state for this, or not so much of it is left; nothing was changed."""


class Moves:
    """Moves money out of numbers, into numbers, and between them."""

    def __init__(self, wallet: Wallet, ledger: Ledger, clock: Clock, rebuild: Rebuild) -> None:
        self._wallet = wallet
        self._ledger = ledger
        self._clock = clock
        self._rebuild = rebuild

    async def out_of(self, number: Number, move: Move, *, into: Number | None = None) -> Moved | Short | Unfit:
        """Take money out of a number, once per reference, and give it to another number of the same currency, if any.

        Raises WalletUnavailableError or LedgerUnavailableError: then repeat it under the same reference.
        """
        assert into is None or (into.currency, into.account_id) == (number.currency, number.account_id)
        movement_id = uuid4()
        for _ in range(MAX_TRIES):
            if (known := await self._known(number, move)) is not None:
                return known
            floor = None if move.below_zero else 0
            debit = await self._wallet.debit(number.number_id, movement_id, move.micros, floor)
            if debit is None:
                await self._rebuild(number, stale_epoch=None)
                continue
            if not debit.taken:
                return Short(debit.available_micros)
            row = await self._book(number, move, movement_id, -move.micros, epoch=debit.epoch, into=into)
            if row is not None:
                if into is not None:
                    await self.add(into, movement_id, move.micros, row["into_epoch"])
                return Moved(movement_id, -move.micros, new=True)
            # Not booked: another was faster, the top-up does not fit, or the wallet is not the number's any more.
            current = await self._ledger.fetch_one("number_epoch", number.number_id)
            fenced = current is None or current["epoch"] != debit.epoch
            if not fenced:
                await self._wallet.credit(number.number_id, uuid4(), move.micros, debit.epoch)
                return await self._known(number, move) or Unfit()
            await self._rebuild(number, stale_epoch=debit.epoch)
            movement_id = uuid4()
        raise WalletUnavailableError(
            f"the wallet of number {number.number_id} changed {MAX_TRIES} times under a movement"
        )

    async def into(self, number: Number, move: Move) -> Moved | Unfit:
        """Give money to a number, once per reference."""
        movement_id = uuid4()
        row = await self._book(number, move, movement_id, move.micros, epoch=None, into=None)
        if row is None:
            return await self._known(number, move) or Unfit()
        await self.add(number, movement_id, move.micros, row["epoch"])
        return Moved(movement_id, move.micros, new=True)

    async def add(self, number: Number, mark: UUID, micros: int, epoch: int) -> None:
        """Give the wallet what the ledger has booked in an epoch."""
        try:
            if await self._wallet.credit(number.number_id, mark, micros, epoch) is None:
                await self._rebuild(number, stale_epoch=None)
        except (WalletUnavailableError, LedgerUnavailableError):
            # It is booked, so it is the number's. The wallet is behind until it is rebuilt.
            log.warning("%s is booked, the wallet of number %s follows later", mark, number.number_id)
            self._rebuild.later(number.number_id, epoch)

    async def _known(self, number: Number, move: Move) -> Moved | None:
        row = await self._ledger.fetch_one("movement_by_reference", number.number_id, move.reference)
        return None if row is None else Moved(row["movement_id"], row["amount_micros"], new=False)

    async def _book(
        self,
        number: Number,
        move: Move,
        movement_id: UUID,
        amount_micros: int,
        *,
        epoch: int | None,
        into: Number | None,
    ) -> Any:
        return await self._ledger.fetch_one(
            "book_movement",
            movement_id,
            number.number_id,
            move.kind,
            amount_micros,
            move.reason,
            move.reference,
            move.topup_id,
            None if into is None else into.number_id,
            epoch,
            self._clock.now_ms(),
            [state.value for state in move.from_states],
            move.refunded_micros,
            None if move.to_state is None else move.to_state.value,
            move.sent,
        )
