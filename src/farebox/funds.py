"""The only file that moves money between the wallet and the ledger.

The law of the two stores: take from the wallet first, give to the wallet last. Wherever a crash cuts one of these
functions, the wallet then shows too little and never too much:

    reserve   wallet takes            | ledger records the hold | (bytes may leave)
    resolve   wallet takes what a dearer bill needs | ledger ends the hold | wallet gives the rest back
    credit    ledger books the top-up | wallet adds it

What a crash leaves behind is a difference between the two, and one thing mends every difference: `rebuild.py` writes
the wallet anew from the ledger under the number's row lock, with the next epoch. A hold taken from the wallet before
that is refused by the ledger, because its epoch is no longer the number's.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from farebox import metrics
from farebox.asks import Ask, Mode
from farebox.batch import OverloadedError
from farebox.clock import Clock
from farebox.core.fare import Priced
from farebox.core.hold import GIVES_UNIT_BACK, Event, new_hold_id, step
from farebox.core.message import Message
from farebox.core.money import MICROS_PER_UNIT
from farebox.core.tariff import FREE_ENTRY_POINT, OPENS_FREE_ENTRY_POINT, Class
from farebox.directory import Number
from farebox.ledger import Ledger, LedgerUnavailableError
from farebox.rebuild import Rebuild
from farebox.rows import End, Ended, KnownHold, NewHold, conversation_state
from farebox.tariffs import Tariffs
from farebox.wallet import Wallet, WalletUnavailableError

log = logging.getLogger(__name__)

MAX_TRIES = 3  # a send may meet a missing wallet and then a fenced one; a third time is a fault worth an error


@dataclass(frozen=True, slots=True)
class Reserved:
    """A hold that both stores know: the message may leave."""

    hold_id: UUID
    message_class: Class
    fare_micros: int
    available_micros: int
    overdrawn: bool  # shadow mode: enforcement would have refused it


@dataclass(frozen=True, slots=True)
class Refused:
    """There are not enough funds; nothing was changed."""

    available_micros: int


@dataclass(frozen=True, slots=True)
class Resolution:
    """A hold that is to end: what it is billed, and the status that says so."""

    hold: KnownHold
    billed_micros: int
    webhook: dict[str, Any] | None = None
    wamid: str | None = None
    conversation_id: str | None = None
    drift: dict[str, Any] | None = None
    conversation: tuple[str, int] | None = None  # the category that is open from now on, and until when in ms


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

    async def reserve(self, number: Number, message: Message, priced: Priced) -> Reserved | Refused:
        """Take the fare of a message and record it.

        Raises WalletUnavailableError, LedgerUnavailableError or OverloadedError; nothing may be sent then.
        """
        for _ in range(MAX_TRIES):
            now_ms = self._clock.now_ms()
            hold_id = new_hold_id(now_ms)
            decision = await self._wallet.take(
                Ask(
                    hold_id=str(hold_id),
                    number_id=number.number_id,
                    user=message.user,
                    offer=priced.offer.wire,
                    block_at_micros=number.block_at_micros,
                    cover=number.funds_rule == "cover",
                    mode=Mode.SHADOW if number.mode == "shadow" else Mode.ENFORCE,
                    now_ms=now_ms,
                )
            )
            if decision is None:
                await self._rebuild(number, stale_epoch=None)
                continue
            if not decision.taken:
                return Refused(decision.available_micros)
            term = priced.offer.terms[decision.term]
            opens_window = term.rule.opens == OPENS_FREE_ENTRY_POINT
            hold = NewHold(
                hold_id=hold_id,
                number_id=number.number_id,
                epoch=decision.epoch,
                message_class=Class.PAID if decision.paid else Class.FREE,
                fare_micros=term.fare_micros,
                regime=priced.offer.regime,
                category=priced.offer.category,
                market=priced.offer.market,
                why=term.rule.why,
                rate_source=term.rate_source,
                state_evidence=decision.evidence,
                pool=term.pool,
                recipient=message.user,
                template=f"{message.template_name} {message.template_language}" if message.template_name else None,
                note=priced.note,
                client_reference=message.client_reference or None,
                created_ms=now_ms,
                expires_ms=now_ms + priced.ttl_ms + self._grace_ms,
                opens=None if opens_window else term.rule.opens,
                rides=UUID(decision.rides) if decision.rides else None,
                overdrawn=decision.overdrawn,
                rate_micros=term.split.rate_micros,
                markup_micros=term.split.markup_micros,
                tax_micros=term.split.tax_micros,
            )
            if await self._record(hold, opens_free_entry_point=opens_window):
                return Reserved(
                    hold_id,
                    Class(hold.message_class),
                    term.fare_micros,
                    decision.available_micros,
                    decision.overdrawn,
                )
            # Fenced: the wallet was lost or rebuilt since. What was taken from the old one is gone with it.
            await self._rebuild(number, stale_epoch=decision.epoch)
        raise WalletUnavailableError(
            f"the wallet of number {number.number_id} changed {MAX_TRIES} times while a send tried"
        )

    async def accept(self, hold_id: UUID, wamid: str | None, wa_id: str | None) -> None:
        """Note that the upstream took the message of a hold, and whom it took it for."""
        await self._ledger.accept(hold_id, wamid, wa_id)

    async def resolve(self, event: Event, resolutions: Sequence[Resolution]) -> list[Ended]:
        """End holds by one event, each charged what it is billed; return those that this call ended.

        An event that the life of a hold does not allow (a repeated status) changes nothing.
        """
        asked = [resolution for resolution in resolutions if step(resolution.hold.state, event) is not None]
        taken = {
            resolution.hold.hold_id: await self._wallet.extend(
                resolution.hold.number_id, resolution.hold.hold_id, resolution.billed_micros, None
            )
            for resolution in asked
            if _needs_more(resolution)
        }
        ended = await self._ledger.end(
            event,
            [
                End(
                    hold_id=r.hold.hold_id,
                    number_id=r.hold.number_id,
                    billed_micros=r.billed_micros,
                    webhook=r.webhook,
                    wamid=r.wamid,
                    conversation_id=r.conversation_id,
                    conversation_until_ms=r.conversation[1] if r.conversation else None,
                    drift=r.drift,
                )
                for r in asked
            ],
            self._clock.now_ms(),
        )
        by_number: dict[str, list[tuple[UUID, int, bool]]] = {}
        for end in ended:
            if end.hold_id in taken and taken[end.hold_id] != end.epoch:
                # The wallet was rebuilt between our taking and the ledger's booking, and what we took went with it.
                await self._wallet.extend(end.number_id, end.hold_id, end.billed_micros, end.epoch)
            by_number.setdefault(end.number_id, []).append((end.hold_id, end.billed_micros, event in GIVES_UNIT_BACK))
        for number_id, ends in by_number.items():
            await self._wallet.close(number_id, ends)
        changed = {end.hold_id for end in ended}
        for resolution in asked:
            if resolution.hold.hold_id in changed and (resolution.hold.opens or resolution.conversation):
                await self._move_conversation(resolution)
        return ended

    async def reject(self, reserved: Reserved) -> None:
        """Give back the hold of a message that the upstream did not take."""
        holds = await self._ledger.find_holds([reserved.hold_id], [])
        await self.resolve(Event.REJECT, [Resolution(hold, 0) for hold in holds])

    async def credit(self, number: Number, *, topup_id: UUID, amount_micros: int, reference: str, method: str) -> bool:
        """Book a top-up and add it to the wallet; False where the reference was booked before."""
        row = await self._ledger.fetch_one(
            "credit_topup", topup_id, number.number_id, reference, method, amount_micros, self._clock.now_ms()
        )
        if row is None:
            return False
        try:
            added = await self._wallet.credit(number.number_id, topup_id, amount_micros, row["epoch"])
            if added is None:
                await self._rebuild(number, stale_epoch=None)
        except WalletUnavailableError:
            # It is booked, so it is the number's. The wallet is behind until the sweep compares the two.
            log.warning(
                "top-up %s is booked, the wallet of number %s follows with the sweep", topup_id, number.number_id
            )
        return True

    async def _move_conversation(self, resolution: Resolution) -> None:
        """Open a conversation at its delivery; hand it on, or forget it, if its first message does not arrive."""
        hold, now_ms = resolution.hold, self._clock.now_ms()
        opener = str(hold.hold_id)
        if resolution.conversation is not None:
            category, until_ms = resolution.conversation
            state = conversation_state(until_ms, hold.hold_id, paid=hold.message_class == Class.PAID)
            await self._wallet.converse(
                hold.number_id, hold.recipient, category=category, opener=opener, state=state, now_ms=now_ms
            )
        if hold.opens is None or (resolution.conversation is not None and resolution.conversation[0] == hold.opens):
            return
        state = "" if resolution.conversation is not None else await self._carry(hold)
        await self._wallet.converse(
            hold.number_id, hold.recipient, category=hold.opens, opener=opener, state=state, now_ms=now_ms
        )

    async def _carry(self, opener: KnownHold) -> str:
        """Let the next message of a conversation carry the fare of the one that failed; return the wallet's new state.

        Wallet first, like every dearer bill. A crash in between leaves too little in the wallet, for the sweep.
        """
        assert opener.opens is not None, "only a message that opens a conversation hands one on"
        rider = await self._ledger.next_rider(opener.hold_id)
        if rider is None:
            return ""
        if opener.fare_micros:
            await self._wallet.extend(rider.number_id, rider.hold_id, opener.fare_micros, None)
        carried = await self._ledger.carry(opener, rider)
        if not carried:
            return ""
        return conversation_state(0, rider.hold_id, paid=opener.message_class == Class.PAID)

    async def _record(self, hold: NewHold, *, opens_free_entry_point: bool) -> bool:
        """Record a hold in the ledger; False where its epoch is fenced off."""
        try:
            recorded = await self._ledger.record(hold)
            if recorded and opens_free_entry_point:
                await self._remember_free_entry_point(hold)
        except OverloadedError:  # nobody recorded it
            await self._wallet.close(hold.number_id, [(hold.hold_id, 0, True)])
            raise
        except LedgerUnavailableError:
            await self._abandon(hold)
            raise
        return recorded

    async def _remember_free_entry_point(self, hold: NewHold) -> None:
        """Write down the window that the wallet opened with this answer, so that a rebuilt wallet knows it."""
        ends_at_ms = hold.created_ms + self._tariffs.by_name(hold.regime).free_entry_point_ms
        await self._ledger.fetch("open_windows", [hold.number_id], [hold.recipient], [FREE_ENTRY_POINT], [ends_at_ms])

    async def _abandon(self, hold: NewHold) -> None:
        """Give back a hold whose message will not leave, if the ledger turns out to have it.

        Otherwise the INSERT may still be on its way, and giving back would show too much. The difference stays for the
        sweep, whose rebuild fences it off.
        """
        try:
            ended = await self._ledger.end(Event.REJECT, [End(hold.hold_id, hold.number_id, 0)], self._clock.now_ms())
            if ended:
                await self._wallet.close(hold.number_id, [(hold.hold_id, 0, True)])
        except (WalletUnavailableError, LedgerUnavailableError) as error:
            log.warning("hold %s is left to the sweep: %s", hold.hold_id, error)


def _needs_more(resolution: Resolution) -> bool:
    """Tell whether the bill takes more than is set aside: dearer than its hold, or the hold had already ended."""
    open_micros = resolution.hold.fare_micros if resolution.hold.open else 0
    return resolution.billed_micros > open_micros


def count_spend(currency: str, category: str, billed_micros: int) -> None:
    """Count a charge in the metrics, which are floats; the money itself never is."""
    metrics.SPEND.labels(currency, category).inc(billed_micros / MICROS_PER_UNIT)
