"""A child process whose life is tied to ours: how it starts, how it stops, what it said last."""

import asyncio
import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from farebox.embedded.errors import EmbeddedError

# A store that was killed replays at most its last gigabyte of log, which takes a slow disk about half of this.
READY_TIMEOUT_S = 60.0
_POLL_S = 0.01

# Enough for the last complaint and what led to it, little enough for one line of an error.
_TAIL_LINES = 5
_TAIL_BYTES = 2000

# The kernel sends the parent-death signal only from the moment it was asked to. Of a parent that died before that,
# the child learns by its parent's process id, which is then another one.
_UNLESS_ORPHANED = '[ "$PPID" = "$0" ] && exec "$@"'


@dataclass(frozen=True, slots=True)
class Leash:
    """What ties a child to us: `setpriv` options for its user and rights, and the lock it keeps held while it lives."""

    privileges: tuple[str, ...]
    lock_fd: int


@dataclass(frozen=True, slots=True)
class StopStep:
    """A signal and the time it is given to work."""

    signal: signal.Signals
    timeout_s: float


class Child:
    """A running child process."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, log: Path, stop_steps: Sequence[StopStep]
    ) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._log = log
        self._stop_steps = stop_steps

    async def wait(self) -> int:
        """Wait until the child ends; return its exit code, negative for a signal."""
        return await self._process.wait()

    async def wait_until(self, answers: Callable[[], Awaitable[bool]]) -> None:
        """Wait until the child answers; raise when it ends before, or takes too long."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                while not await answers():
                    if self._process.returncode is not None:
                        raise EmbeddedError(self.obituary())
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise EmbeddedError(
                f"{self.name} does not answer after {READY_TIMEOUT_S:.0f} s; {self._last_words()}"
            ) from None

    async def finish(self, timeout_s: float) -> None:
        """Wait until the child has done its work and ended; raise when it fails, or takes too long."""
        try:
            async with asyncio.timeout(timeout_s):
                code = await self.wait()
        except TimeoutError:
            raise EmbeddedError(f"{self.name} has not ended after {timeout_s:.0f} s; {self._last_words()}") from None
        finally:
            await self.stop()
        if code != 0:
            raise EmbeddedError(self.obituary())

    async def stop(self) -> None:
        """Send one signal after the other until the child has ended. Does nothing when it already has."""
        for step in self._stop_steps:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(step.signal)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(step.timeout_s):
                    await self.wait()
                    return
        raise EmbeddedError(
            f"{self.name} (process {self.pid}) does not end, not even by {self._stop_steps[-1].signal.name}."
        )

    def obituary(self) -> str:
        """Say in one line how the child ended and what it logged last."""
        code = self._process.returncode
        assert code is not None, "the child is alive"
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"{self.name} ended {how}; {self._last_words()}"

    def _last_words(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()][-_TAIL_LINES:]
        return f"the end of {self._log}: {' | '.join(said) or '(empty)'}"


async def spawn(
    name: str, command: Sequence[str | Path], *, leash: Leash, log: Path, stop_steps: Sequence[StopStep]
) -> Child:
    """Start a child that gets the first of its stop signals when we die, however we die."""
    # The parent of the parent-death signal is the thread that forked, not the process: a child of a worker thread would
    # be stopped when that thread ends.
    assert threading.current_thread() is threading.main_thread(), "stores are started from the main thread"
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedError(
            "The program setpriv is missing: install util-linux,"
            " or set FAREBOX_DATABASE_URL and FAREBOX_REDIS_URL to stores of your own."
        )
    death_signal = stop_steps[0].signal.name.removeprefix("SIG")
    log_fd = _open_log(log)
    try:
        process = await asyncio.create_subprocess_exec(
            setpriv,
            *leash.privileges,
            *("--pdeathsig", death_signal),
            *("/bin/sh", "-c", _UNLESS_ORPHANED, str(os.getpid())),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log_fd,
            stderr=log_fd,
            # Not our folder: the stores' user may have no way into it.
            cwd="/",
            # Not our environment: it may hold secrets, which the stores' user could read in /proc, and PG* variables,
            # which would change what the server does.
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            # A Ctrl-C in the terminal reaches its whole process group. The stores must outlast it: farebox still
            # needs them while it ends, and stops them last.
            start_new_session=True,
            pass_fds=(leash.lock_fd,),
        )
    finally:
        os.close(log_fd)
    return Child(name, process, log, stop_steps)


def _open_log(path: Path) -> int:
    """Start a new log and keep only the one before: a crash can still be read, and old runs do not pile up."""
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_name(path.name + ".1"))
    # A new file and nothing else: as root, we must not append to what a link put here points to.
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
