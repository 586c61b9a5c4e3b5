"""A worker that can be killed, or stopped for a while, between any two steps of its event loop.

It has a loop, a gate and connections of its own, in a thread, on the same stores as everybody. Killed, it is as after
`kill -9`: its tasks, the batchers' included, never run again, so no `finally` and no `except` does; its sockets are
closed by the kernel, and the stores finish what they were asked before.
"""

import asyncio
import contextlib
import contextvars
import ctypes
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from farebox.config import Settings
from farebox.gate import Gate, open_gate

Work = Callable[[Gate], Awaitable[Any]]


class Halted(KeyboardInterrupt):
    """The steps are used up. Of this kind, because the event loop lets it out where it catches everything else."""


class SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop that counts the steps of its tasks: from one `await` that waits to the next."""

    def __init__(self) -> None:
        super().__init__()
        self.steps_left: int | None = None

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        return super().call_soon(self._step, callback, args, context=context)

    def _step(self, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if self.steps_left is not None and isinstance(getattr(callback, "__self__", None), asyncio.Task):
            if self.steps_left == 0:
                # Not run, and next in turn should the loop go on.
                self._ready.remove(handle := super().call_soon(self._step, callback, args))  # type: ignore[attr-defined]
                self._ready.appendleft(handle)  # type: ignore[attr-defined]
                raise Halted
            self.steps_left -= 1
        callback(*args)


class Doomed:
    """One such worker. Its methods are called from the loop of the test."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = SteppedLoop()
        self._stack = AsyncExitStack()
        self._gate: Gate | None = None
        self._work: asyncio.Future[Any] | None = None

    async def run(self, work: Work, *, steps: int) -> bool:
        """Work for so many steps; tell whether the work came to its end."""
        return await asyncio.to_thread(self._run, work, steps)

    async def go_on(self) -> Any:
        """Finish the work that was halted, and end in peace."""
        return await asyncio.to_thread(self._go_on)

    def unsent_bytes(self) -> int:
        """How much of what it wrote to the network has not reached the other side: a busy kernel takes a while."""
        total = 0
        for key in list(self._loop._selector.get_map().values()):  # type: ignore[attr-defined]
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(key.fd)) as left:
                if left.family == socket.AF_INET:
                    total += struct.unpack("i", fcntl.ioctl(left, termios.TIOCOUTQ, bytes(4)))[0]
        return total

    async def kill(self) -> None:
        """Be gone; returns when the database has finished with the connections."""
        assert self._gate is not None
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))  # the dead do not clean up: nobody may collect them
        ledger = self._gate.ledger
        holders = [*ledger._pool._holders, *ledger._by_key._holders]
        connections = [holder._con for holder in holders if holder._con is not None]
        pids = [connection.get_server_pid() for connection in connections if not connection.is_closed()]
        for key in list(self._loop._selector.get_map().values()):  # type: ignore[attr-defined]
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(key.fd)) as left:
                left.shutdown(socket.SHUT_RDWR)
        self._pids = pids

    @property
    def server_pids(self) -> list[int]:
        """The database's processes that worked for it."""
        return self._pids

    def _run(self, work: Work, steps: int) -> bool:
        loop = self._loop
        self._gate = loop.run_until_complete(self._stack.enter_async_context(open_gate(self._settings)))
        self._work = loop.create_task(work(self._gate))  # type: ignore[arg-type]
        loop.steps_left = steps
        try:
            loop.run_until_complete(self._work)
        except Halted:
            return False
        loop.steps_left = None
        self._end()
        return True

    def _go_on(self) -> Any:
        assert self._work is not None
        self._loop.steps_left = None
        result = self._loop.run_until_complete(self._work)
        self._end()
        return result

    def _end(self) -> None:
        self._loop.run_until_complete(self._stack.aclose())
        self._loop.close()
