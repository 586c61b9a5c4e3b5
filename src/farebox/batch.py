"""Group commit: what many callers ask for during one turn of the event loop goes to a store as one batch.

While a batch is under way, the next one gathers. So an idle gateway adds no wait, and a busy one pays for one round
trip where it would have paid for a hundred. What nobody waits for may gather a moment longer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate, takewhile
from typing import Generic, TypeVar

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")


GATHER_S = 0.01  # how long what nobody waits for may gather: a round trip costs as much as some hundred asks


class OverloadedError(Exception):
    """More is waiting than the queue may hold: nothing was taken, the caller should try again later."""


class Batcher(Generic[Ask, Answer]):
    """Hands asks to `flush` in batches; each caller gets the answer (or the exception) at its place.

    A batch is `max_batch` asks, or as many as together weigh so much: at least one, whatever it weighs.

    What `flush` raises is raised for all of them; an exception among its answers for that one. One event loop's.
    """

    def __init__(
        self,
        flush: Callable[[list[Ask]], Awaitable[Sequence[Answer | Exception]]],
        *,
        max_batch: int,
        max_waiting: int,
        observe: Callable[[int, int], None] | None = None,
        weigh: Callable[[Ask], int] | None = None,
    ) -> None:
        # Kept, because to be told which loop runs is a call of the system each time, and a send has three asks.
        self._loop = asyncio.get_running_loop()
        self._weigh = weigh
        self._observe = observe  # told of every batch: its size, and how many wait for the next
        self._flush = flush
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: list[tuple[Ask, asyncio.Future[Answer]]] = []
        self._last: asyncio.Future[Answer] | None = None  # of all that was handed over
        self._pressing = False  # somebody waits for one of the waiting, or they fill a batch
        self._runner: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def submit(self, ask: Ask) -> Answer:
        """Wait for the answer to one ask. Raises OverloadedError at once where too many wait."""
        return await self.hand_over(ask)

    def hand_over(self, ask: Ask, *, may_gather: bool = False) -> "asyncio.Future[Answer]":
        """Return what will be the answer to one ask, soon where it `may_gather` others first.

        Raises OverloadedError at once where too many wait.
        """
        if len(self._waiting) >= self._max_waiting:
            raise OverloadedError
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting.append((ask, future))
        self._last = future
        if not may_gather or len(self._waiting) >= self._max_batch:
            self._pressing = True
        if self._runner is None:
            self._begin()
        return future

    async def caught_up(self) -> None:
        """Wait until everything that was handed over before has its answer; nothing of it gathers any longer."""
        if self._last is not None and not self._last.done():
            self._pressing = bool(self._waiting)
            if self._runner is None:
                self._begin()
            await asyncio.wait([self._last])

    async def idle(self) -> None:
        """Wait until everything that was handed over has its answer; nothing gathers any longer."""
        while self._waiting or self._runner is not None:
            self._pressing = bool(self._waiting)
            if self._runner is None:
                self._begin()
            assert self._runner is not None, "a pressing batch has just begun"
            await asyncio.wait([self._runner])

    def _begin(self) -> None:
        if self._pressing:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._runner = self._loop.create_task(self._run())
        elif self._timer is None:
            self._timer = self._loop.call_later(GATHER_S, self._gathered)

    def _gathered(self) -> None:
        self._timer = None
        self._pressing = bool(self._waiting)
        if self._pressing and self._runner is None:
            self._begin()

    async def _run(self) -> None:
        try:
            while self._pressing:
                size = self._next()
                batch, self._waiting = self._waiting[:size], self._waiting[size:]
                self._pressing = bool(self._waiting)
                if self._observe is not None:
                    self._observe(len(batch), len(self._waiting))
                await self._answer(batch)
        finally:
            self._runner = None
        if self._waiting:
            self._begin()

    def _next(self) -> int:
        """Return how many of those that wait are the next batch."""
        if self._weigh is None:
            return self._max_batch
        weights = accumulate(self._weigh(ask) for ask, _ in self._waiting)
        return max(1, sum(1 for _ in takewhile(lambda weight: weight <= self._max_batch, weights)))

    async def _answer(self, batch: list[tuple[Ask, "asyncio.Future[Answer]"]]) -> None:
        try:
            answers = await self._flush([ask for ask, _ in batch])
        except Exception as error:
            # Each caller of the batch decides what a broken store means to it.
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
