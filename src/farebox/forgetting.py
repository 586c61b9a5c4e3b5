"""Forgets users of whom everything has long ended, so that the wallets' store does not grow for ever.

A user's hash has no expiry: one would cost an eighth of its memory, and would know nothing of what is pending. Instead
the sweep comes by here and looks at some of the keys, again and again until it has seen all of them; `lua/forget.lua`
decides about each in one step. A pass that is cut short goes on where it was; what it misses the next one finds.

Each worker remembers its own place. Of several that sweep in turn each passes over all keys, and they are looked at so
many times a day: at five microseconds a key nobody notices.
"""

import logging

from farebox.clock import Clock
from farebox.core.hold import TTL_MS
from farebox.core.tariff import LONGEST_WINDOW_MS
from farebox.wallet import Wallet, WalletUnavailableError

log = logging.getLogger(__name__)

# From the end of what a user had open until it is forgotten. A status may come late and tell of a free entry point that
# began while the one before was open: it is no new one (lua/open.lua), and after so long it would be over anyway.
KEEP_MS = LONGEST_WINDOW_MS
# Pages of one server in a turn, one after the other with room for sends between them. At a turn every 20 s these are
# 17 million keys a day, and five million take seven hours.
PAGES_A_TURN = 80
PASS_MS = 86_400_000  # from the beginning of a pass to the next one: nothing ends faster than in a day


class Forgetting:
    """Passes over the users in the wallets' store, a few at a time."""

    def __init__(self, wallet: Wallet, clock: Clock, *, grace_ms: int) -> None:
        """`grace_ms` is how long holds outlive their messages' time to live."""
        self._wallet = wallet
        self._clock = clock
        self._longest_hold_ms = TTL_MS + grace_ms
        self._places: dict[str, int] = {}  # server -> the page at which the pass goes on
        self._began_ms: int | None = None
        self._forgotten = 0

    async def turn(self) -> int:
        """Go on with the pass, or begin the next one when it is time; return how many users were forgotten.

        A server that is away does not keep the others waiting. Raises WalletUnavailableError after them.
        """
        now_ms = self._clock.now_ms()
        if not self._places and self._began_ms is not None and 0 <= now_ms - self._began_ms < PASS_MS:
            return 0
        servers = await self._wallet.servers()
        if not self._places:
            self._places, self._began_ms, self._forgotten = dict.fromkeys(servers, 0), now_ms, 0
        before, away = self._forgotten, None
        for server in list(self._places):
            if server not in servers:  # its numbers are elsewhere by now
                del self._places[server]
                continue
            try:
                await self._pages(server, now_ms)
            except WalletUnavailableError as error:
                away = error
        forgotten = self._forgotten - before
        if away is not None:
            raise away
        if not self._places and self._forgotten:
            log.info("%d users were forgotten, of whom everything had long ended", self._forgotten)
        return forgotten

    async def _pages(self, server: str, now_ms: int) -> None:
        ended_by_ms = now_ms - KEEP_MS
        times = now_ms, ended_by_ms, ended_by_ms - self._longest_hold_ms
        for _ in range(PAGES_A_TURN):
            following, forgotten = await self._wallet.forget(server, self._places[server], times)
            self._forgotten += forgotten
            if not following:
                del self._places[server]
                return
            self._places[server] = following
