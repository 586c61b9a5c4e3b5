"""How holds end: ledger first, wallet last, and what a dearer bill needs taken from the wallet before (`funds.py`)."""

import logging
from collections.abc import Mapping, Sequence
from uuid import UUID

from farebox.asks import Closing
from farebox.clock import Clock
from farebox.conversations import Conversations
from farebox.core.hold import GIVES_UNIT_BACK, Event, sources
from farebox.ledger import Ledger, LedgerUnavailableError
from farebox.rebuild import Rebuild
from farebox.rows import End, Ended, Resolution
from farebox.tariffs import Tariffs
from farebox.wallet import UNIT_BACK, Wallet, WalletUnavailableError

log = logging.getLogger(__name__)


class Settlement:
    """Ends holds."""

    def __init__(self, wallet: Wallet, ledger: Ledger, clock: Clock, tariffs: Tariffs, rebuild: Rebuild) -> None:
        self._wallet = wallet
        self._ledger = ledger
        self._clock = clock
        self._tariffs = tariffs
        self._rebuild = rebuild
        self._conversations = Conversations(wallet, ledger, clock, rebuild)

    async def resolve(self, event: Event, resolutions: Sequence[Resolution]) -> list[Ended]:
        """End holds by one event, each charged what it is billed; return those that this call ended.

        An event that the life of a hold does not allow (a repeated status) changes nothing.
        """
        before = sources(event)
        asked = [resolution for resolution in resolutions if resolution.hold.state in before]
        taken = {
            resolution.hold.hold_id: await self._extend(resolution, None)
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
                    wamid=r.wamid if r.hold.wamid is None else None,  # a hold keeps the one it has: need not be told
                    conversation_id=r.conversation_id,
                    conversation_until_ms=r.conversation[1] if r.conversation else None,
                    pool=r.pool,
                    drift=r.drift,
                    opens=r.conversation[0] if r.conversation else None,
                )
                for r in asked
            ],
            self._clock.now_ms(),
        )
        by_id = {resolution.hold.hold_id: resolution for resolution in asked}
        by_number: dict[tuple[str, int], list[Ended]] = {}  # and epoch
        for end in ended:
            by_number.setdefault((end.number_id, end.epoch), []).append(end)
        for (number_id, epoch), ends in by_number.items():
            try:
                await self._give(event, ends, by_id, taken)
            except (WalletUnavailableError, LedgerUnavailableError) as error:
                # They have ended, so this is no failure. The wallet shows too little until it is rebuilt. Then a
                # conversation that could not be handed on is not pending there: the next message opens another.
                log.warning("%d ends of number %s reach its wallet later: %s", len(ends), number_id, error)
                self._rebuild.later(number_id, epoch)
        return ended

    async def _give(
        self,
        event: Event,
        ends: Sequence[Ended],
        by_id: Mapping[UUID, Resolution],
        taken: Mapping[UUID, int | None],
    ) -> None:
        """Let a number's wallet follow what the ledger has ended in one epoch."""
        number_id, epoch = ends[0].number_id, ends[0].epoch
        gives_unit_back = event in GIVES_UNIT_BACK
        closings = []
        for end in ends:
            resolution = by_id[end.hold_id]
            if end.hold_id in taken and taken[end.hold_id] != end.epoch:
                # The wallet was rebuilt between our taking and the ledger's booking, and what we took went with it.
                await self._extend(resolution, end.epoch)
            if end.late and resolution.hold.open:
                # It ended otherwise while we looked: nothing was set aside any more, and the wallet is wrong by that.
                self._rebuild.later(number_id, epoch)
            unit = UNIT_BACK if gives_unit_back else resolution.pool or ""
            closings.append(
                Closing(
                    hold_id=end.hold_id,
                    billed_micros=end.billed_micros,
                    unit=unit,
                    older=end.older,
                    aside_micros=end.aside_micros,
                    pool=end.pool,
                    category=end.category,
                    day=end.day,
                    key_id=end.key_id,
                )
            )
        await self._wallet.close(number_id, closings, epoch)
        for end in ends:
            resolution = by_id[end.hold_id]
            if gives_unit_back:
                await self._conversations.close_free_entry_point(resolution.hold, self._tariffs)
            if end.opens and resolution.hold.opens is None:
                resolution = await self._read_again(resolution)
            if resolution.hold.opens or resolution.conversation:
                await self._conversations.move(event, resolution)

    async def _read_again(self, resolution: Resolution) -> Resolution:
        """Return an end with its hold as it is now: it was handed a conversation after it was read."""
        (hold,) = await self._ledger.find_alone([resolution.hold.hold_id])
        return resolution._replace(hold=hold)

    async def _extend(self, resolution: Resolution, epoch: int | None) -> int | None:
        hold = resolution.hold
        return await self._wallet.extend(
            hold.number_id,
            hold.hold_id,
            resolution.billed_micros,
            epoch,
            aside=hold.aside,
            category=hold.category,
            key_id=hold.key_id,
        )


def _needs_more(resolution: Resolution) -> bool:
    """Tell whether the bill takes more than is set aside: dearer than its hold, or the hold had already ended."""
    open_micros = resolution.hold.fare_micros if resolution.hold.open else 0
    return resolution.billed_micros > open_micros
