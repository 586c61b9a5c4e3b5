"""The life of a conversation, beside that of the hold that opened it.

Conversation-based pricing charges the message that opens a conversation; the others of its 24 hours ride it. The wallet
knows a conversation as pending from the moment its first message is taken, and as open from its delivery. If that
message fails, the next one that is on its way carries the fare. What failed may be delivered after all: then a user
has two holds that opened a conversation of one category, and only one of them is in the wallet. When that one goes, the
other is read from the ledger.
"""

from uuid import UUID

from farebox.clock import Clock
from farebox.core.hold import Event
from farebox.core.tariff import FREE_ENTRY_POINT, Class
from farebox.ledger import Ledger
from farebox.rebuild import Rebuild
from farebox.rows import KnownHold, Resolution, conversation_state, known_conversation
from farebox.tariffs import Tariffs
from farebox.wallet import Wallet


class Conversations:
    """Opens, hands on and forgets conversations."""

    def __init__(self, wallet: Wallet, ledger: Ledger, clock: Clock, rebuild: Rebuild) -> None:
        self._wallet = wallet
        self._ledger = ledger
        self._clock = clock
        self._rebuild = rebuild

    async def move(self, event: Event, resolution: Resolution) -> None:
        """Open a conversation at its delivery; hand it on, or forget it, if its first message does not arrive."""
        hold = resolution.hold
        if resolution.conversation is not None:
            category, until_ms = resolution.conversation
            state = conversation_state(until_ms, hold.hold_id, paid=hold.message_class == Class.PAID)
            await self._write(hold, category, hold.hold_id, state)
        if hold.opens is None or (resolution.conversation is not None and resolution.conversation[0] == hold.opens):
            return
        state = await self._opened_by_another(hold)
        # A delivery that names no conversation (charged by the message, or at the end of its hold because its price
        # never came) was charged itself: whoever rides it must not carry that fare a second time.
        rider = None if state or event is Event.DELIVER else await self._ledger.next_rider(hold.hold_id)
        if rider is None:
            await self._write(hold, hold.opens, hold.hold_id, state)
        else:
            await self._hand_on(hold, hold.opens, rider)

    async def close_free_entry_point(self, hold: KnownHold, tariffs: Tariffs) -> None:
        """Close the window that an answer opened which did not arrive; the next answer to the click may open it.

        Its end tells whose it is: one that a delivery proved, or that another answer opened, stays open.
        """
        if hold.opened_free_entry_point:
            kind, ends_ms = FREE_ENTRY_POINT, hold.created_ms + tariffs.free_entry_point_ms(hold.regime)
            if await self._ledger.fetch("close_window_of", hold.number_id, hold.recipient, kind, ends_ms):
                await self._wallet.close_windows(hold.number_id, [hold.recipient], [kind])

    async def _opened_by_another(self, hold: KnownHold) -> str:
        """Return the conversation that is open by the ledger though this hold does not open it, "" where there is none.

        Nobody needs to carry its fare: what rides it is delivered within it.
        """
        rows = await self._ledger.fetch("conversations_of", hold.number_id, [hold.recipient], self._clock.now_ms())
        return next((known_conversation(row) for row in reversed(rows) if row["category"] == hold.opens), "")

    async def _hand_on(self, opener: KnownHold, category: str, rider: KnownHold) -> None:
        """Let the next message of a conversation carry the fare of the one that failed.

        A free conversation hands on its free unit, which the failure has just given back. Wallet first, like every
        dearer bill: the money, so that a crash after it leaves too little there, for the sweep; then whose conversation
        it is. Once the ledger knows that too, whoever ends the rider writes what becomes of it: nothing may be written
        after that. (A wallet that reads the user anew in between misses what is handed on. It then sets a fare too much
        aside, not one too little.)
        """

        async def extend(epoch: int | None) -> int | None:
            return await self._wallet.extend(
                rider.number_id,
                rider.hold_id,
                opener.fare_micros,
                epoch,
                aside=rider.aside,
                category=rider.category,
                key_id=rider.key_id,
                pool=opener.pool,
            )

        taken = await extend(None)
        pending = conversation_state(0, rider.hold_id, paid=opener.message_class == Class.PAID)
        await self._write(opener, category, opener.hold_id, pending)
        carried = await self._ledger.carry(opener, rider, taken)
        if carried is None:
            # The rider ended meanwhile, and its end knows nothing of what it took over; or the wallet is another now.
            if taken is not None:
                self._rebuild.later(rider.number_id, taken)
            await self._write(opener, category, rider.hold_id, await self._opened_by_another(opener))
        elif taken is None:
            await extend(carried)  # no wallet was there; if one is now, it may have been written before that

    async def _write(self, hold: KnownHold, category: str, opener: UUID, state: str) -> None:
        """Tell the wallet what became of a conversation, where it is pending for this opener or not there."""
        await self._wallet.converse(
            hold.number_id,
            hold.recipient,
            category=category,
            opener=str(opener),
            state=state,
            now_ms=self._clock.now_ms(),
        )
