"""Load: as many sends as so many connections can carry (wrk, or the generator here where wrk is not installed)."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmarks.processes import cpu_s

SCRIPT = Path(__file__).parent / "peers" / "send.lua"
UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
APART = 1_000_000  # recipients of one run and of the next
_runs = count()


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of load saw."""

    answers: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failures: int  # answers that were not 2xx, and connections that broke
    cpu_s: Mapping[str, float]  # by process, the generator's own included

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


def closed_loop(url: str, *, connections: int, seconds: float, pids: Mapping[str, int], numbers: int = 1) -> Load:
    """Send on every connection as soon as its answer is here. `pids` are the processes whose CPU time is counted."""
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    own = _children_cpu_s()
    make = _wrk if generator() == "wrk" else _ours
    answers, took_s, p50, p99, failures = make(url, connections, seconds, numbers)
    spent = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
    return Load(answers, took_s, p50, p99, failures, {**spent, "generator": _children_cpu_s() - own})


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _wrk(url: str, connections: int, seconds: float, numbers: int) -> tuple[int, float, float, float, int]:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "10s", "--latency"]
    more = {"BENCH_NUMBERS": str(numbers), "BENCH_FIRST": str(next(_runs) * APART)}
    done = subprocess.run(
        [*command, "-s", str(SCRIPT), url], capture_output=True, text=True, check=True, env={**os.environ, **more}
    )
    said = done.stdout

    def ms(percentile: int) -> float:
        found = re.search(rf"{percentile}% +([\d.]+)(us|ms|s)\b", said)
        assert found is not None, said
        return float(found[1]) * UNITS_MS[found[2]]

    total = re.search(r"(\d+) requests in ([\d.]+)s", said)
    assert total is not None, said
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    failures = (int(refused[1]) if refused else 0) + (sum(map(int, broken.groups())) if broken else 0)
    return int(total[1]), float(total[2]), ms(50), ms(99), failures


def _ours(url: str, connections: int, seconds: float, numbers: int) -> tuple[int, float, float, float, int]:
    order = {"url": url, "connections": connections, "seconds": seconds, "numbers": numbers}
    return _generate({**order, "first": next(_runs) * APART})


def _generate(order: Mapping[str, object]) -> tuple[int, float, float, float, int]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.generator"],
        input=json.dumps(order),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seen = json.loads(done.stdout)
    return seen["answers"], seen["seconds"], seen["p50_ms"], seen["p99_ms"], seen["failures"]
