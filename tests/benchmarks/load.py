"""Load: as many sends as connections carry (wrk; our own generator where it is missing), or so many a second."""

import asyncio
import json
import os
import re
import resource
import shutil
import sys
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmarks.population import FIRST_ID
from benchmarks.processes import cpu_s, largest_mib, python

SCRIPT = Path(__file__).parent / "peers" / "send.lua"
UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1_000.0, "m": 60_000.0}  # as wrk writes them
APART = 1_000_000  # recipients of one run and of the next
OPEN_CONNECTIONS = 64  # of the open loop: at 200 sends a second enough for answers that take 300 ms
LOOK_S = 0.2  # between two looks at the memory of what is measured
_runs = count()

Seen = tuple[int, float, float, float, int]  # answers, seconds, p50 and p99 in milliseconds, failures


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of load saw."""

    answers: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failures: int  # answers that were not 2xx, and connections that broke
    cpu_s: Mapping[str, float]  # by process, the generator's own included
    peak_mib: Mapping[str, float]  # resident memory of the largest process, by the process it descends from

    @property
    def a_second(self) -> float:
        """Return answers a second."""
        return self.answers / self.seconds

    def cpu_ms_per_message(self, *names: str) -> float:
        """Return milliseconds of CPU a message: which is seconds per 1,000 messages."""
        return 1000 * sum(self.cpu_s[name] for name in names) / max(self.answers, 1)


def generator() -> str:
    """Return the name of what makes the load."""
    return "wrk" if shutil.which("wrk") else "benchmarks.generator"


async def closed_loop(url: str, *, connections: int, seconds: int, pids: Mapping[str, int], numbers: int = 1) -> Load:
    """Send on every connection as soon as its answer is here. `pids` are the processes that are watched."""
    order = {"url": url, "connections": connections, "seconds": seconds, "numbers": numbers}
    return await _watched(pids, _wrk(order) if generator() == "wrk" else _ours(order))


async def open_loop(url: str, *, rate: int, seconds: int, pids: Mapping[str, int], numbers: int = 1) -> Load:
    """Send at a constant rate, whatever the answers take; times count from the moment at which a send was due."""
    order = {"url": url, "connections": OPEN_CONNECTIONS, "seconds": seconds, "numbers": numbers, "rate": rate}
    return await _watched(pids, _ours(order))


async def _watched(pids: Mapping[str, int], load: Coroutine[None, None, Seen]) -> Load:
    before, own = {name: cpu_s(pid) for name, pid in pids.items()}, _children_cpu_s()
    peak_mib = dict.fromkeys(pids, 0.0)
    running = asyncio.create_task(load)
    while not running.done():
        for name, pid in pids.items():
            peak_mib[name] = max(peak_mib[name], largest_mib(pid))
        await asyncio.wait({running}, timeout=LOOK_S)
    spent = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
    return Load(*running.result(), {**spent, "generator": _children_cpu_s() - own}, peak_mib)


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


async def _output_of(command: Sequence[str], *, given: str = "", more: Mapping[str, str] | None = None) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **(more or {})}
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment
    )
    output, _ = await process.communicate(given.encode())
    assert process.returncode == 0, f"{command[0]} ended with {process.returncode}: {output.decode()}"
    return output.decode()


async def _wrk(order: Mapping[str, object]) -> Seen:
    command = ["wrk", "-t1", f"-c{order['connections']}", f"-d{order['seconds']}s", "--timeout", "10s", "--latency"]
    numbers, first = str(order["numbers"]), str(next(_runs) * APART)
    more = {"BENCH_NUMBERS": numbers, "BENCH_FIRST": first, "BENCH_FIRST_ID": str(FIRST_ID)}
    said = await _output_of([*command, "-s", str(SCRIPT), str(order["url"])], more=more)

    def ms(percentile: int) -> float:
        found = re.search(rf"{percentile}% +([\d.]+)(us|ms|s|m)\b", said)
        assert found is not None, said
        return float(found[1]) * UNITS_MS[found[2]]

    total = re.search(r"(\d+) requests in ([\d.]+)(s|m)\b", said)
    assert total is not None, said
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    failures = (int(refused[1]) if refused else 0) + (sum(map(int, broken.groups())) if broken else 0)
    return int(total[1]), float(total[2]) * UNITS_MS[total[3]] / 1000, ms(50), ms(99), failures


async def _ours(order: Mapping[str, object]) -> Seen:
    given = json.dumps({**order, "first": next(_runs) * APART})
    seen = json.loads(await _output_of(python("benchmarks.generator"), given=given))
    return seen["answers"], seen["seconds"], seen["p50_ms"], seen["p99_ms"], seen["failures"]
