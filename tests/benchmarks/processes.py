"""Processes that the benchmark starts, and what they cost: CPU seconds and resident memory, descendants included."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

START_S = 90  # a gateway with 100,000 numbers on a busy machine
STOP_S = 30  # past that it is killed
POLL_S = 0.05
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
MIB = 2**20
LEASH = ("setpriv", "--pdeathsig", "TERM", "--")  # however the benchmark ends, what it started ends too


@dataclass(frozen=True, slots=True)
class Running:
    """A process that serves, and where."""

    pid: int
    url: str
    said: str  # all that it said until it served


@asynccontextmanager
async def start(
    name: str, command: Sequence[str | Path], folder: Path, *, ready: str, more: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """Start a program and wait until it has printed what `ready` matches; the URL is the pattern's first group."""
    log = folder / f"{name}.log"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("FAREBOX_")}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *LEASH,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**clean, **(more or {})},
        )
    try:
        async with asyncio.timeout(START_S):
            while (found := re.search(ready, text := log.read_text(errors="replace"))) is None:
                assert process.returncode is None, f"{name} ended before it served:\n{text[-2000:]}"
                await asyncio.sleep(POLL_S)
        yield Running(process.pid, found[1], text)
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of ours."""
    return [sys.executable, "-m", module, *arguments]


def tree(pid: int) -> Iterator[int]:
    """Return a process and all that descend from it."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in children.read_text().split():
                yield from tree(int(child))


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and its descendants, of those too that have ended."""
    ticks = 0
    for each in tree(pid):
        with suppress(OSError):
            # After the name, which may hold anything: state, ..., utime, stime, and both of children that ended.
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS_A_SECOND


def largest_mib(pid: int) -> float:
    """Return the resident memory of the largest of a process and its descendants: of a gateway, its worker."""
    pages = 0
    for each in tree(pid):
        with suppress(OSError):
            pages = max(pages, int(Path(f"/proc/{each}/statm").read_text().split()[1]))
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB
