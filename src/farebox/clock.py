"""The one clock: the database's time plus an offset that only a sandbox sets.

Windows, pools, tariffs and holds ask it, so that gateways with wrong clocks agree and a test clock moves everything.
Between two looks at the database the process's own steady clock carries the time on; while the database is away it
keeps doing so.
"""

import time

from farebox.ledger import Ledger


class Clock:
    """Milliseconds since 1970, as the database counts them."""

    def __init__(self) -> None:
        self._ahead_ms = time.time_ns() // 1_000_000 - _steady_ms()
        self.offset_ms = 0

    def now_ms(self) -> int:
        """Return the time now."""
        return _steady_ms() + self._ahead_ms

    async def sync(self, ledger: Ledger) -> None:
        """Take over the database's time and the sandbox's offset."""
        before = _steady_ms()
        row = await ledger.fetch_one("now")
        assert row is not None, "the clock table has its one row"
        # The database looked at its clock somewhere between our question and its answer: the middle is the best guess.
        self._ahead_ms = row["now_ms"] - (before + _steady_ms()) // 2
        self.offset_ms = row["offset_ms"]


def _steady_ms() -> int:
    return time.monotonic_ns() // 1_000_000
