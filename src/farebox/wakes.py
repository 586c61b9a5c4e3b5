"""Numbers that somebody must look at now: a send has just seen that they have less than a level.

The wallet's answer to a send says what is left, so the crossing is known in the moment it happens. A look costs a
transaction, so many sends below a level ask for one look, and the next after a pause. What is missed here (a worker
that dies) the elected pass finds.
"""

import asyncio

AGAIN_MS = 60_000  # a balance that has not moved is looked at once more after that: for a backoff that is over


class Wakes:
    """The numbers of one worker that wait to be looked at."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()
        self._some = asyncio.Event()
        self._seen: dict[str, tuple[int, int]] = {}

    def saw(self, number_id: str, available_micros: int, *, watch_micros: int | None) -> None:
        """Take note of what a send has left available: below what somebody waits for, a look is asked for."""
        if watch_micros is not None and available_micros < watch_micros:
            self.low(number_id)

    def low(self, number_id: str) -> None:
        """Ask for a look at a number."""
        self._waiting.add(number_id)
        self._some.set()

    async def next(self) -> set[str]:
        """Wait until numbers are to be looked at, and take them."""
        await self._some.wait()
        self._some.clear()
        taken, self._waiting = self._waiting, set()
        return taken

    def is_news(self, number_id: str, available_micros: int, now_ms: int) -> bool:
        """Tell a pass whether a balance has moved since the last one, or was not looked at for long; remember it."""
        known = self._seen.get(number_id)
        if known is not None and known[0] == available_micros and 0 <= now_ms - known[1] < AGAIN_MS:
            return False
        self._seen[number_id] = (available_micros, now_ms)
        return True
