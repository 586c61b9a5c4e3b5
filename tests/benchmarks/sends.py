"""Paid sends a second, beside a proxy that enforces nothing and beside nginx with Lua; and what each process costs.

Neither of these writes a line of a log for a message, so the gateway they are compared with writes none either; what
the line of each send costs, which is on by default, has a row of its own.
"""

from statistics import median

from benchmarks.load import Load, closed_loop, generator
from benchmarks.peers.nginx import MISSING, is_installed
from benchmarks.report import Figure, Section, say, table
from benchmarks.stage import open_stage

CONNECTIONS = (32, 128)
BARS = {32: (0.7, 1.2), 128: (1.0, 1.7)}
MEMORY_BARS = (120, 80)
ROUNDS = 8  # many short ones: a machine that is shared changes its speed within seconds, and a ratio needs both alike
SECONDS = 2
WARM_S = 2
OURS = ("gateway", "postgresql", "valkey")  # what a message costs us; the upstream and the generator are not ours
BARE, GATEWAY, LOGGING, NGINX = "bare aiohttp proxy", "farebox", "farebox, logging each send", "nginx+Lua+Valkey"


async def measure() -> Section:
    """Measure all, in turn."""
    async with open_stage() as stage:
        stores = {**stage.store_pids(), "upstream": stage.upstream.pid}
        bare, gateway, logging = await stage.bare(), await stage.gateway(log_level="WARNING"), await stage.gateway()
        targets = {
            BARE: (bare.url, {**stores, "proxy": bare.pid}),
            GATEWAY: (gateway.url, {**stores, "gateway": gateway.pid}),
            LOGGING: (logging.url, {**stores, "gateway": logging.pid}),
        }
        if is_installed():
            nginx = await stage.nginx()
            targets[NGINX] = (nginx.url, {**stores, "proxy": nginx.pid})
        else:
            say(MISSING + ": the row is left out")
        runs: dict[tuple[str, int], list[Load]] = {}
        for name, (url, pids) in targets.items():
            warm = await closed_loop(url, connections=CONNECTIONS[-1], seconds=WARM_S, pids=pids)
            assert not warm.failures, f"{name}: {warm.failures} of {warm.answers} answers were no 2xx"
        for number in range(1, ROUNDS + 1):  # rounds outside, so that a busy minute hits all alike
            for connections in CONNECTIONS:
                for name, (url, pids) in targets.items():
                    load = await closed_loop(url, connections=connections, seconds=SECONDS, pids=pids)
                    runs.setdefault((name, connections), []).append(load)
                    failed = f", {load.failures} FAILED" if load.failures else ""
                    where = f"round {number} of {ROUNDS}: {name}, {connections} connections"
                    say(f"  {where}: {load.a_second:,.0f}/s{failed}")
    return _section(runs)


def _section(runs: dict[tuple[str, int], list[Load]]) -> Section:
    figures, cpu = [], {}
    for connections in CONNECTIONS:
        ours, bare = runs[GATEWAY, connections], runs[BARE, connections]
        ratios = [one.a_second / other.a_second for one, other in zip(ours, bare, strict=True)]
        figures.append(
            Figure(f"paid sends a second at {connections} connections, over the bare proxy", ratios, *BARS[connections])
        )
        logged = runs[LOGGING, connections]
        ratios = [one.a_second / other.a_second for one, other in zip(logged, bare, strict=True)]
        figures.append(Figure("the same with a line of the log for each send", ratios, None, None))
        if peer := runs.get((NGINX, connections)):
            ratios = [one.a_second / other.a_second for one, other in zip(ours, peer, strict=True)]
            figures.append(Figure(f"the same over {NGINX}", ratios, None, 1.0))
        for what, names in (("gateway", ("gateway",)), ("gateway and stores", OURS)):
            cpu[f"{what}, {connections} connections"] = median(
                one.cpu_ms_per_message(*names) / other.cpu_ms_per_message("proxy")
                for one, other in zip(ours, bare, strict=True)
            )
    peaks = [load.peak_mib["gateway"] for load in runs[GATEWAY, CONNECTIONS[-1]]]
    name = f"memory of a worker at {CONNECTIONS[-1]} connections, MiB"
    figures.append(Figure(name, peaks, *MEMORY_BARS, more_is_better=False))
    failures = sum(load.failures for loads in runs.values() for load in loads)
    notes = [f"Load by {generator()}; {ROUNDS} rounds of {SECONDS} s, all in turn."]
    if failures:
        notes.append(f"**{failures} answers were no 2xx: these figures do not count.**")
    return Section("Paid sends", figures, _tables(runs), notes, cpu, failed=failures > 0)


def _tables(runs: dict[tuple[str, int], list[Load]]) -> list[str]:
    processes = ("gateway", "proxy", "postgresql", "valkey", "upstream", "generator")
    head = ("median of the rounds", "connections", "sends a second", "p50 ms", "p99 ms", *processes)
    rows = []
    for (name, connections), loads in sorted(runs.items(), key=lambda run: run[0][1]):
        seen = ((load.a_second, load.p50_ms, load.p99_ms) for load in loads)
        speed, p50, p99 = (median(values) for values in zip(*seen, strict=True))
        spent = [
            f"{median(load.cpu_ms_per_message(process) for load in loads):.3f}" if process in loads[0].cpu_s else ""
            for process in processes
        ]
        rows.append((name, str(connections), f"{speed:,.0f}", f"{p50:.1f}", f"{p99:.1f}", *spent))
    return [*table(head, rows), "", "The last six columns are CPU seconds per 1,000 messages, by process."]
