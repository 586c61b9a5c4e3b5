"""Moves money between the wallet and the ledger, with `settlement.py`, which ends what is begun here, and `moves.py`.

The law of the two stores: take from the wallet first, give to the wallet last. Wherever a crash cuts one of these
functions, the wallet then shows too little and never too much:

    reserve   wallet takes            | ledger records the hold | (bytes may leave)
    resolve   wallet takes what a dearer bill needs | ledger ends the hold | wallet gives the rest back
    credit    ledger books the top-up | wallet adds it

What a crash leaves behind is a difference between the two, and one thing mends every difference: `rebuild.py` writes
the wallet anew from the ledger under the number's row lock, with the next epoch. A hold taken from the wallet before
that is refused by the ledger, because its epoch is no longer the number's.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from farebox import metrics
from farebox.asks import Ask, Closing, Decision, Gap, Mode, Part, Sent, Taken
from farebox.batch import OverloadedError
from farebox.clock import Clock
from farebox.core import topup
from farebox.core.fare import Priced
from farebox.core.hold import Event
from farebox.core.limits import Reached, key_counter
from farebox.core.message import Message
from farebox.core.tariff import FREE_ENTRY_POINT, OPENS_FREE_ENTRY_POINT, Class
from farebox.directory import Key, Number
from farebox.ledger import Ledger, LedgerUnavailableError
from farebox.moves import Moves
from farebox.rebuild import Rebuild
from farebox.rows import NewHold, Resolution, new_hold_id
from farebox.settlement import Settlement
from farebox.tariffs import Tariffs, local_day
from farebox.traces import traced
from farebox.wallet import UNIT_BACK, Wallet, WalletUnavailableError

log = logging.getLogger(__name__)

# A send may meet a missing wallet, a recipient that was not read yet, and then a fence; twice that is worth an error.
MAX_TRIES = 6


class Fare(NamedTuple):
    """What is to be paid for one recipient: the user, the offer, and whose windows count (the group's, in a group)."""

    user: str
    priced: Priced
    windows_of: str


class Reserved(NamedTuple):
    """Holds that both stores know (one, or one for each member of a group): the message may leave."""

    hold_ids: tuple[UUID, ...]
    message_class: Class
    fare_micros: int
    available_micros: int
    overdrawn: bool  # shadow mode: enforcement would have refused it
    leaves_at_ms: int  # by our clock: it may wait for its turn

    @property
    def hold_id(self) -> UUID:
        """The id that speaks for the send."""
        return self.hold_ids[0]


class Refused(NamedTuple):
    """There are not enough funds, a spend limit would be exceeded, or it comes too fast; nothing was changed."""

    available_micros: int
    reached: Reached | None = None
    wait_ms: int = 0  # it comes too fast, and its turn would come after that


class Funds:
    """Reserve, resolve and credit."""

    def __init__(
        self, wallet: Wallet, ledger: Ledger, clock: Clock, tariffs: Tariffs, rebuild: Rebuild, *, grace_ms: int
    ) -> None:
        self._wallet = wallet
        self._ledger = ledger
        self._clock = clock
        self._tariffs = tariffs
        self._rebuild = rebuild
        self._grace_ms = grace_ms
        self.resolve = Settlement(wallet, ledger, clock, tariffs, rebuild).resolve
        self.moves = Moves(wallet, ledger, clock, rebuild)

    @traced("reserve")
    async def reserve(
        self,
        number: Number,
        message: Message,
        fares: Sequence[Fare],
        *,
        sent: Sent | None = None,
        claim: UUID | None = None,
        key: Key | None = None,
    ) -> Reserved | Refused:
        """Take the fare of a message, as a whole or not at all, and record it. What has been `sent` is not refused.

        The limits of the key that sends count beside the number's. With the claim of an Idempotency-Key it is recorded
        only while the claim stands. Raises WalletUnavailableError, LedgerUnavailableError, OverloadedError, or
        ClaimLostError where it does not: nothing may be sent then.
        """
        limited = key if key is not None and key.limits else None
        for _ in range(MAX_TRIES):
            now_ms = sent.at_ms if sent else self._clock.now_ms()
            ids = [sent.hold_id] if sent else [new_hold_id(now_ms) for _ in fares]
            ask = _ask(number, ids, fares, now_ms, key=limited, has_left=sent is not None)
            decision = await self._wallet.take(ask)
            if isinstance(decision, Gap):
                await self._rebuild.close(decision, number, [fare.windows_of for fare in fares])
                continue
            if not decision.taken:
                return Refused(decision.available_micros, decision.reached, decision.wait_ms)
            holds, opening = [], []
            for hold_id, fare, taken in zip(ids, fares, decision.parts, strict=True):
                hold = self._new_hold(
                    number=number,
                    message=message,
                    fare=fare,
                    decision=decision,
                    taken=taken,
                    hold_id=hold_id,
                    first=ids[0],
                    claim_id=claim,
                    key_id=limited.key_id if limited else None,
                    now_ms=now_ms,
                )
                holds.append(hold)
                if fare.priced.offer.terms[taken.term].rule.opens == OPENS_FREE_ENTRY_POINT:
                    opening.append(hold)
            if await self._record(holds, opening):
                for hold in holds:
                    metrics.count_fare(number.currency, hold.category, hold.market, hold.fare_micros, hold.pool)
                return Reserved(
                    hold_ids=tuple(ids),
                    message_class=Class.PAID if any(taken.paid for taken in decision.parts) else Class.FREE,
                    fare_micros=sum(hold.fare_micros for hold in holds),
                    available_micros=decision.available_micros,
                    overdrawn=decision.overdrawn,
                    leaves_at_ms=now_ms + decision.wait_ms,
                )
            # Fenced: the wallet or the claim was lost since. What was taken from the old wallet is gone with it.
            await self._rebuild(number, stale_epoch=decision.epoch)
            await self._ledger.check_claim(claim)
        raise WalletUnavailableError(f"the wallet of number {number.number_id} changed {MAX_TRIES} times under a send")

    def accept(
        self, reserved: Reserved, wamid: str | None, wa_id: str | None, *, may_gather: bool
    ) -> "asyncio.Future[Any]":
        """Begin to note that the upstream took a message, and whom for; that may gather where nobody waits for it."""
        if len(reserved.hold_ids) == 1:
            return self._ledger.accept(reserved.hold_id, wamid, wa_id, may_gather=may_gather)
        accept = partial(self._ledger.accept, wamid=wamid, wa_id=None, may_gather=may_gather)  # it names the group
        return asyncio.gather(*map(accept, reserved.hold_ids))

    async def reject(self, reserved: Reserved) -> None:
        """Give back the hold of a message that the upstream did not take."""
        await self._give_back(reserved.hold_ids)

    async def credit(self, number: Number, *, topup_id: UUID, amount_micros: int, reference: str, method: str) -> bool:
        """Book a top-up and add it to the wallet; False where the reference was booked before."""
        row = await self._ledger.fetch_one(
            "credit_topup", topup_id, number.number_id, reference, method, amount_micros, self._clock.now_ms()
        )
        if row is None:
            return False
        await self.moves.add(number, topup_id, amount_micros, row["epoch"])
        return True

    async def confirm(self, number: Number, topup_id: UUID) -> bool:
        """Credit a top-up that was on its way; False where it is credited already, or was never on its way."""
        row = await self._ledger.fetch_one(
            "confirm_topup", topup_id, number.number_id, topup.sources(topup.Event.SUCCEED), self._clock.now_ms()
        )
        if row is None:
            return False
        await self.moves.add(number, topup_id, row["amount_micros"], row["epoch"])
        return True

    def _new_hold(
        self,
        *,
        number: Number,
        message: Message,
        fare: Fare,
        decision: Decision,
        taken: Taken,
        hold_id: UUID,
        first: UUID,
        claim_id: UUID | None,
        key_id: UUID | None,
        now_ms: int,
    ) -> NewHold:
        offer = fare.priced.offer
        term = offer.terms[taken.term]
        return NewHold(
            hold_id=hold_id,
            number_id=number.number_id,
            epoch=decision.epoch,
            message_class=Class.PAID if taken.paid else Class.FREE,
            fare_micros=term.fare_micros,
            regime=offer.regime,
            category=offer.category,
            market=offer.market,
            why=term.rule.why,
            rate_source=term.rate_source,
            state_evidence=taken.evidence,
            pool=term.pool,
            recipient=fare.user,
            template=f"{message.template_name} {message.template_language}" if message.template_name else None,
            note=fare.priced.note,
            client_reference=message.client_reference or None,
            created_ms=now_ms,
            expires_ms=now_ms + fare.priced.ttl_ms + self._grace_ms,
            opens=None if term.rule.opens == OPENS_FREE_ENTRY_POINT else term.rule.opens,
            rides=UUID(taken.rides) if taken.rides else None,
            overdrawn=decision.overdrawn,
            rate_micros=term.split.rate_micros,
            markup_micros=term.split.markup_micros,
            tax_micros=term.split.tax_micros,
            sent_with=None if hold_id == first else first,
            claim_id=claim_id,
            key_id=key_id,
        )

    async def _record(self, holds: list[NewHold], opening: list[NewHold]) -> bool:
        """Record the holds of a send, and the free entry points that some open; False where they are fenced off."""
        ids = [hold.hold_id for hold in holds]
        try:
            if len(holds) == 1:
                recorded = await self._ledger.record(holds[0])
            else:
                recorded = all(await asyncio.gather(*(self._ledger.record(hold) for hold in holds)))
            if not recorded:
                await self._give_back(ids)  # the members of a group that went before the fence
                return False
            for hold in opening:
                await self._remember_free_entry_point(hold)
        except OverloadedError:
            if len(holds) == 1:  # nobody recorded it; of several some may be recorded, which the ledger knows
                (hold,) = holds
                closing = Closing(
                    hold_id=hold.hold_id,
                    billed_micros=0,
                    unit=UNIT_BACK,
                    older=False,
                    aside_micros=0,
                    pool=None,
                    category=hold.category,
                    day=None,
                    key_id=hold.key_id,
                )
                await self._wallet.close(hold.number_id, [closing], hold.epoch)
            else:
                await self._abandon(ids)
            raise
        except LedgerUnavailableError:
            await self._abandon(ids)
            raise
        return True

    async def _remember_free_entry_point(self, hold: NewHold) -> None:
        """Write down the window that the wallet opened with this answer, so that a rebuilt wallet knows it."""
        ends_at_ms = hold.created_ms + self._tariffs.free_entry_point_ms(hold.regime)
        window = (hold.number_id, hold.recipient, FREE_ENTRY_POINT, ends_at_ms, None)
        await self._ledger.fetch("open_windows", *([field] for field in window))

    async def _give_back(self, hold_ids: Sequence[UUID]) -> None:
        holds = await self._ledger.find_alone(hold_ids)
        await self.resolve(Event.REJECT, [Resolution(hold, 0) for hold in holds])

    async def _abandon(self, hold_ids: Sequence[UUID]) -> None:
        """Give back holds whose message will not leave, if the ledger turns out to have them.

        Otherwise the INSERT may still be on its way, and giving back would show too much. The difference stays for the
        sweep, whose rebuild fences it off.
        """
        try:
            await self._give_back(hold_ids)
        except (WalletUnavailableError, LedgerUnavailableError) as error:
            log.warning("holds %s are left to the sweep: %s", ", ".join(map(str, hold_ids)), error)


def _ask(
    number: Number, ids: Sequence[UUID], fares: Sequence[Fare], now_ms: int, *, key: Key | None, has_left: bool
) -> Ask:
    """Return what the wallet is asked about a send, by the number's rules and the limits of its key."""
    limits = number.limits + key.limits if key else number.limits
    return Ask(
        number_id=number.number_id,
        parts=tuple(
            [
                Part(str(hold_id), fare.windows_of, fare.priced.offer.category, fare.priced.offer.wire)
                for hold_id, fare in zip(ids, fares, strict=True)
            ]
        ),
        block_at_micros=number.block_at_micros,
        cover=number.funds_rule == "cover",
        mode=Mode.SHADOW if has_left or number.mode == "shadow" else Mode.ENFORCE,
        now_ms=now_ms,
        limits=limits,
        today=local_day(now_ms, number.zone) if limits else None,
        key=key_counter(key.key_id) if key else "",
        per_second=number.throughput,
    )
