"""What a send takes longer through the gateway than on the direct way, at a constant rate far below its limit."""

from statistics import median

from benchmarks.load import Load, open_loop
from benchmarks.report import Figure, Section, say, table
from benchmarks.stage import open_stage

RATE = 200
SECONDS = 8
WARM_S = 2
ROUNDS = 3
BARS_MS = {"p50": (1.5, 0.5), "p99": (8, 3)}


async def measure() -> Section:
    """Measure both ways in turn."""
    async with open_stage() as stage:
        gateway = await stage.gateway()
        pids = {**stage.store_pids(), "gateway": gateway.pid}
        ways = {"direct": (stage.upstream.url, {}), "farebox": (gateway.url, pids)}
        runs: dict[str, list[Load]] = {name: [] for name in ways}
        await open_loop(gateway.url, rate=RATE, seconds=WARM_S, pids={})
        for number in range(1, ROUNDS + 1):
            for name, (url, watched) in ways.items():
                load = await open_loop(url, rate=RATE, seconds=SECONDS, pids=watched)
                runs[name].append(load)
                say(f"  round {number} of {ROUNDS}: {name}: p50 {load.p50_ms:.2f} ms, p99 {load.p99_ms:.2f} ms")
    pairs = list(zip(runs["farebox"], runs["direct"], strict=True))
    added = {
        "p50": [ours.p50_ms - direct.p50_ms for ours, direct in pairs],
        "p99": [ours.p99_ms - direct.p99_ms for ours, direct in pairs],
    }
    figures = [
        Figure(f"added {name} at {RATE} sends a second, ms", added[name], *bars, more_is_better=False)
        for name, bars in BARS_MS.items()
    ]
    rows = [
        (
            name,
            *(f"{median(values):.2f}" for values in zip(*((load.p50_ms, load.p99_ms) for load in loads), strict=True)),
        )
        for name, loads in runs.items()
    ]
    notes = [f"An open loop: {RATE} sends a second for {SECONDS} s, each timed from the moment at which it was due."]
    failures = sum(load.failures for loads in runs.values() for load in loads)
    return Section(
        "Latency", figures, table(("median of the rounds", "p50 ms", "p99 ms"), rows), notes, failed=failures > 0
    )
