"""The scheduler: virtual time, processes that can be paused and killed, and one seed that decides everything.

Each process has an event loop of its own, in which handles run first in, first out as asyncio promises. Which process
runs next is the seed's choice, and so is how long each answer of a store takes. Nothing here waits for real.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import Any

SECOND_US = 1_000_000
KEPT_EVENTS = 60  # of the trace that a failing seed prints; a whole life is kept where somebody asks for it


class SimulationError(AssertionError):
    """Something that must never happen."""


class ProcessLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as the gateway's core needs."""

    def __init__(self, kernel: "Kernel", name: str) -> None:
        self._kernel = kernel
        self.name = name
        self.ready: deque[asyncio.Handle] = deque()
        self.paused = False
        self.killed = False

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self.killed:
            self.ready.append(handle)
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._kernel.at(round(when * SECOND_US), self._due, handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def _due(self, handle: asyncio.TimerHandle) -> None:
        if not handle.cancelled() and not self.killed:
            self.ready.append(handle)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing: a cancelled timer is passed over when it is due."""

    def time(self) -> float:
        return self._kernel.now_us / SECOND_US

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> "asyncio.Task[Any]":
        task = asyncio.Task(coro, loop=self, name=name or "task", context=context)
        task._log_destroy_pending = False  # a killed process leaves its tasks where they were
        self._kernel.tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._kernel.complaints.append(f"{self.name}: {context.get('exception') or context.get('message')!r}")

    def kill(self) -> None:
        """End the process where it stands: nothing that waits ever goes on, no `finally` runs."""
        self.killed = True
        self.ready.clear()


class Kernel:
    """Time, chance and the processes."""

    def __init__(self, seed: int, *, keep: int | None = KEPT_EVENTS) -> None:
        self.random = random.Random(seed)
        self.now_us = 0
        self.loops: list[ProcessLoop] = []
        self.tasks: list[asyncio.Task[Any]] = []  # kept to the end: what is collected would run its `finally`
        self.complaints: list[str] = []
        self.over = False
        self.events: deque[tuple[Any, ...]] = deque(maxlen=keep)
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._serial = 0
        self._running: ProcessLoop | None = None

    def between(self, low: int, high: int) -> int:
        """Draw a number, the higher end left out; much faster than `randrange`."""
        return low + int(self.random.random() * (high - low))

    def loop(self, name: str) -> ProcessLoop:
        """Start a process."""
        loop = ProcessLoop(self, name)
        self.loops.append(loop)
        return loop

    def at(self, when_us: int, callback: Callable[..., None], *args: Any) -> None:
        """Let something happen outside of every process: on a network, in a store."""
        self._serial += 1
        heapq.heappush(self._heap, (max(when_us, self.now_us), self._serial, callback, args))

    def after(self, delay_us: int, callback: Callable[..., None], *args: Any) -> None:
        """Let something happen some microseconds from now."""
        self.at(self.now_us + delay_us, callback, *args)

    def note(self, *words: Any) -> None:
        """Remember an event for the trace."""
        self.events.append((self.now_us, *words))

    def trace(self) -> str:
        """Return the last events, one a line."""
        return "\n".join(
            f"{at / SECOND_US:14.6f}  {' '.join(str(word) for word in words)}" for at, *words in self.events
        )

    def run(self, until_us: int) -> None:
        """Run everything up to a moment."""
        try:
            self._run(until_us)
        finally:
            self._running = None
            asyncio._set_running_loop(None)

    def _run(self, until_us: int) -> None:
        while True:
            runnable = [loop for loop in self.loops if loop.ready and not loop.paused]
            if runnable:
                loop = runnable[0] if len(runnable) == 1 else runnable[self.between(0, len(runnable))]
                handle = loop.ready.popleft()
                if not handle.cancelled():
                    if loop is not self._running:  # it asks the system for the process id, which is slow
                        self._running = loop
                        asyncio._set_running_loop(loop)
                    handle._run()
                continue
            if not self._heap or self._heap[0][0] > until_us:
                self.now_us = max(self.now_us, until_us)
                return
            when_us, _, callback, args = heapq.heappop(self._heap)
            self.now_us = when_us
            callback(*args)

    def close(self) -> None:
        """End the world: whatever still waits is dropped, and may not ask anybody anything while it goes."""
        self.over = True
        self._heap.clear()
        for loop in self.loops:
            loop.kill()
