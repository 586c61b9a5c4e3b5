"""What the slowest sends wait for: the event loop, the batches of the group commit, the disk, the other store."""

import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from statistics import median, quantiles

import aiohttp
import asyncpg
from redis.asyncio import Redis

from benchmarks.load import closed_loop, open_loop
from benchmarks.processes import Running
from benchmarks.report import Section, say, table
from benchmarks.stage import Stage, open_stage

RATE = 200
CONNECTIONS = 128
SECONDS = 5
ALONE = 300  # commits and calls that are made one after the other
QUEUES = ("take", "record", "accept")


async def figures_of(gateway: Running) -> dict[str, float]:
    """Return the gateway's metrics: name and labels -> value."""
    admin = re.search(r"admin (http://\S+)", gateway.said)
    assert admin is not None, gateway.said
    async with aiohttp.ClientSession() as session, session.get(f"{admin[1]}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    samples = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


async def one_by_one(call: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Return the median and the 99th percentile of a call's milliseconds, nothing beside it."""
    took = []
    for _ in range(ALONE):
        started = time.perf_counter()
        await call()
        took.append((time.perf_counter() - started) * 1000)
    return median(took), quantiles(took, n=100)[98]


async def stores_alone(stage: Stage) -> list[tuple[str, str, str]]:
    """Return what a durable commit and a call of Valkey take while nothing else happens."""
    ledger = await asyncpg.connect(stage.stores.database_url)
    await ledger.execute("CREATE TABLE bench_commit (n int)")
    commit = await one_by_one(lambda: ledger.execute("INSERT INTO bench_commit VALUES (1)"))
    read = await one_by_one(lambda: ledger.fetchval("SELECT 1"))
    await ledger.close()
    async with Redis.from_url(stage.stores.redis_url) as client:
        call = await one_by_one(lambda: client.incr("bench"))
    rows = {"one row committed to the disk": commit, "PostgreSQL, nothing written": read, "Valkey, one write": call}
    return [(name, f"{p50:.2f}", f"{p99:.2f}") for name, (p50, p99) in rows.items()]


def batches(before: Mapping[str, float], after: Mapping[str, float], seconds: float) -> list[tuple[str, str, str]]:
    """Return the mean size of a queue's batches, and the milliseconds from one to the next."""
    rows = []
    for queue in QUEUES:
        names = [f'farebox_batch_size_{part}{{queue="{queue}"}}' for part in ("count", "sum")]
        count, sends = (after.get(name, 0) - before.get(name, 0) for name in names)
        rows.append((queue, f"{sends / max(count, 1):.1f}", f"{1000 * seconds / max(count, 1):.2f}"))
    return rows


def lateness(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[str, str]:
    """Return the bound of the longest block that was seen in milliseconds, and the share of looks of 10 ms or more."""
    name = "farebox_loop_late_seconds"
    grown = {
        float(bound[1]): value - before.get(key, 0)
        for key, value in after.items()
        if (bound := re.fullmatch(rf'{name}_bucket{{le="(.+)"}}', key))
    }
    looks = grown[math.inf]
    longest_s = min(bound for bound, count in grown.items() if count == looks)
    return f"{1000 * longest_s:g}", f"{100 * (1 - grown[0.01] / looks):.1f} %"


async def measure() -> Section:
    """Look at the stores alone, then at a gateway at a steady rate, then at one that is as fast as it can be."""
    async with open_stage() as stage:
        alone = await stores_alone(stage)
        gateway = await stage.gateway()
        await closed_loop(gateway.url, connections=CONNECTIONS, seconds=1, pids={})
        blocks, tables = [], []
        for name in ("steady", "full"):
            before = await figures_of(gateway)
            if name == "steady":
                load = await open_loop(gateway.url, rate=RATE, seconds=SECONDS, pids={})
            else:
                load = await closed_loop(gateway.url, connections=CONNECTIONS, seconds=SECONDS, pids={})
            after = await figures_of(gateway)
            what = f"{RATE} sends a second" if name == "steady" else f"{CONNECTIONS} connections"
            blocks.append((what, *lateness(before, after), f"{load.p99_ms:.1f}"))
            head = (f"queue, at {what}", "sends in a batch", "ms from a batch to the next")
            tables += ["", *table(head, batches(before, after, load.seconds))]
            say(f"  {what}: the event loop was blocked for up to {blocks[-1][1]} ms, p99 {load.p99_ms:.1f} ms")
    details = [
        *table(
            ("load", "longest block of the event loop, ms, up to", "looks 10 ms late or more", "p99 of sends, ms"),
            blocks,
        ),
        *tables,
        "",
        *table(("a store alone, ms", "median", "p99"), alone),
    ]
    notes = ["While a batch is under way the next one gathers, so a send waits for at most two of them in each queue."]
    return Section("The tail", [], details, notes)
