"""Group commit: what many callers ask for during one turn of the event loop goes to a store as one batch.

While a batch is under way, the next one gathers. So an idle gateway adds no wait, and a busy one pays for one round
trip where it would have paid for a hundred.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")


class OverloadedError(Exception):
    """More is waiting than the queue may hold: nothing was taken, the caller should try again later."""


class Batcher(Generic[Ask, Answer]):
    """Hands asks to `flush` in batches; each caller gets the answer (or the exception) at its place.

    What `flush` raises is raised for all of them; an exception among its answers for that one.
    """

    def __init__(
        self,
        flush: Callable[[list[Ask]], Awaitable[Sequence[Answer | Exception]]],
        *,
        max_batch: int,
        max_waiting: int,
        observe: Callable[[int, int], None] | None = None,
    ) -> None:
        self._observe = observe  # told of every batch: its size, and how many wait for the next
        self._flush = flush
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: list[tuple[Ask, asyncio.Future[Answer]]] = []
        self._runner: asyncio.Task[None] | None = None

    async def submit(self, ask: Ask) -> Answer:
        """Wait for the answer to one ask. Raises OverloadedError at once where too many wait."""
        return await self.hand_over(ask)

    def hand_over(self, ask: Ask) -> "asyncio.Future[Answer]":
        """Return what will be the answer to one ask. Raises OverloadedError at once where too many wait."""
        if len(self._waiting) >= self._max_waiting:
            raise OverloadedError
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((ask, future))
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        return future

    async def idle(self) -> None:
        """Wait until everything that was handed over has its answer."""
        while self._runner is not None:
            await asyncio.wait([self._runner])

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
                if self._observe is not None:
                    self._observe(len(batch), len(self._waiting))
                try:
                    answers = await self._flush([ask for ask, _ in batch])
                except Exception as error:
                    # Each caller of the batch decides what a broken store means to it.
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                else:
                    for (_, future), answer in zip(batch, answers, strict=True):
                        if future.done():
                            continue
                        if isinstance(answer, Exception):
                            future.set_exception(answer)
                        else:
                            future.set_result(answer)
        finally:
            self._runner = None
