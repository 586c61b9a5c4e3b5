"""What becomes of the speed when the load is spread: over two workers, and over a hundred thousand numbers."""

import os
from collections.abc import Mapping
from statistics import median

from benchmarks.load import Load, closed_loop
from benchmarks.processes import Running
from benchmarks.report import Figure, Section, say, table
from benchmarks.stage import Stage, open_stage

CONNECTIONS = 128
SECONDS = 2
WARM_S = 2
ROUNDS = 6  # many short ones, as of sends
NUMBERS = 100_000
WORKER_BARS = (1.5, 1.8)
NUMBER_BARS = (0.8, 0.9)
PROCESSES = ("gateway", "postgresql", "valkey", "upstream", "generator")


async def measure_workers() -> Section:
    """Measure a gateway of two workers and one of one worker, on the same stores, in turn."""
    async with open_stage() as stage:
        one, two = await stage.gateway(workers=1), await stage.gateway(workers=2)
        runs = await _in_turn({"one worker": (stage, one, 1), "two workers": (stage, two, 1)})
    name = f"two workers over one, at {CONNECTIONS} connections"
    notes = ["Gateways, stores, upstream and generator share the machine's cores.", _room(*runs.values())]
    return _section("Two workers", name, runs, WORKER_BARS, notes)


async def measure_numbers() -> Section:
    """Measure a gateway with many numbers, and one with a single number on stores of its own, in turn."""
    async with open_stage() as small, open_stage(numbers=NUMBERS) as large:
        one, many = await small.gateway(), await large.gateway()
        runs = await _in_turn({"1 number": (small, one, 1), f"{NUMBERS:,} numbers": (large, many, NUMBERS)})
    notes = ["Every second send is of one hot number, the others of all numbers in turn, each with a key of its own."]
    return _section("Many numbers", f"{NUMBERS:,} numbers over one", runs, NUMBER_BARS, notes)


async def _in_turn(targets: Mapping[str, tuple[Stage, Running, int]]) -> dict[str, list[Load]]:
    runs: dict[str, list[Load]] = {name: [] for name in targets}
    for number in range(ROUNDS + 1):  # the first one warms up
        for name, (stage, gateway, numbers) in targets.items():
            pids = {**stage.store_pids(), "upstream": stage.upstream.pid, "gateway": gateway.pid}
            seconds = SECONDS if number else WARM_S
            load = await closed_loop(gateway.url, connections=CONNECTIONS, seconds=seconds, pids=pids, numbers=numbers)
            if number:
                runs[name].append(load)
                say(f"  round {number} of {ROUNDS}: {name}: {load.a_second:,.0f}/s")
    return runs


def _room(one: list[Load], two: list[Load]) -> str:
    """Say how much of the machine both use, and how much faster two could be if they used all of it."""
    cores = os.cpu_count() or 1
    busy = [median(sum(load.cpu_s.values()) / load.seconds for load in loads) for loads in (one, two)]
    most = cores / busy[1] * median(ours.a_second / of_one.a_second for ours, of_one in zip(two, one, strict=True))
    return (
        f"Of {cores} cores one worker and all around it keep {busy[0]:.2f} busy, two {busy[1]:.2f}: with all of them "
        f"two would be {most:.2f} of one."
    )


def _section(
    title: str, name: str, runs: dict[str, list[Load]], bars: tuple[float, float], notes: list[str]
) -> Section:
    base, spread = runs.values()
    ratios = [ours.a_second / one.a_second for ours, one in zip(spread, base, strict=True)]
    head = ("median of the rounds", "sends a second", "p99 ms", "MiB a worker", *PROCESSES)
    rows = []
    for what, loads in runs.items():
        spent = (f"{median(load.cpu_ms_per_message(process) for load in loads):.3f}" for process in PROCESSES)
        speed, p99 = median(load.a_second for load in loads), median(load.p99_ms for load in loads)
        memory = max(load.peak_mib["gateway"] for load in loads)
        rows.append((what, f"{speed:,.0f}", f"{p99:.1f}", f"{memory:.0f}", *spent))
    details = [*table(head, rows), "", "The last five columns are CPU seconds per 1,000 messages, by process."]
    failures = sum(load.failures for loads in runs.values() for load in loads)
    return Section(title, [Figure(name, ratios, *bars)], details, notes, failed=failures > 0)
