"""make bench: what enforcement costs, in ratios to a proxy that enforces nothing, measured in the same run.

make bench ONLY=sends        one benchmark, or several: ONLY=sends,latency
make bench ACCEPT=1          takes the figures over into the record even where CPU per message grew

Starts everything itself. Writes tests/benchmarks/results/bench.md, and a record that the next run is compared with.
"""

import argparse
import asyncio
import os
import platform
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace

from benchmarks import designs, latency, media, sends, spread, tail, webhooks
from benchmarks.designs import cpu
from benchmarks.report import PAGE, Section, alike, page, record, recorded, regressions, say, today

BENCHMARKS: dict[str, Callable[[], Awaitable[Section]]] = {
    "sends": sends.measure,
    "latency": latency.measure,
    "tail": tail.measure,
    "workers": spread.measure_workers,
    "numbers": spread.measure_numbers,
    "webhooks": webhooks.measure,
    "media": media.measure,
    "designs": designs.measure,
}


LONGEST_S = 240  # of one benchmark; on a slow machine none takes two thirds of it
ALL_S = 690  # of all of them: with start and end less than twelve minutes


def machine() -> str:
    """Return what it is measured on, and what else it was doing."""
    stores = "PostgreSQL 18 (fsync and synchronous_commit on), Valkey 9 (append-only file, fsync every second)"
    return f"{cpu()}, {os.cpu_count()} cores, Python {platform.python_version()}, {stores}"


async def run(names: list[str]) -> dict[str, Section]:
    """Run benchmarks, one after the other."""
    found, began = {}, time.perf_counter()
    for name in names:
        say(f"{name}:")
        started, load = time.perf_counter(), os.getloadavg()[0]
        try:
            async with asyncio.timeout(min(LONGEST_S, began + ALL_S - started)):
                section = await BENCHMARKS[name]()
        except Exception as error:  # the others are worth having all the same
            traceback.print_exc()
            section = Section(name, [], notes=[f"**Not measured: {type(error).__name__}.**"], failed=True)
        say(f"  took {time.perf_counter() - started:.0f} s; load of the machine before: {load:.1f}")
        found[name] = replace(section, machine=machine(), load=load, at=today())
    return found


def main() -> int:
    """Measure, print, compare, write."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--only", default=",".join(BENCHMARKS))
    parser.add_argument("--accept", action="store_true")
    options = parser.parse_args()
    names = [name for name in BENCHMARKS if name in options.only.split(",")]
    if not names:
        parser.error(f"--only takes of {', '.join(BENCHMARKS)}")
    found, before = asyncio.run(run(names)), recorded()
    say("\n" + "\n".join(page(found)))
    known = [name for name in found if name in before]
    comparable = [name for name in known if alike(before[name], found[name])]
    worse = [line for name in comparable for line in regressions(before[name].cpu, found[name].cpu)]
    if len(comparable) < len(known):
        say("The record was made on another machine: CPU per message is not compared with it.")
    for line in worse:
        say(f"REGRESSION: {line}")
    failed = [name for name, section in found.items() if section.failed]
    if failed:
        say(f"FAILED, so not recorded: {', '.join(failed)}; some answers were not what they should be")
    if worse and not options.accept:
        say("The record is left as it was; ACCEPT=1 takes these figures over.")
        return 1
    kept = {**before, **{name: section for name, section in found.items() if not section.failed}}
    record({name: kept[name] for name in BENCHMARKS if name in kept})
    say(f"\nwritten to {os.path.relpath(PAGE)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
