"""What more of everything costs: speed, latency and rebuild against numbers, windows, holds and ledger rows.

make bench-growth          up to 100,000 numbers, 500,000 windows, 100,000 holds, 2 million rows; ten minutes
make bench-growth FULL=1   up to 100,000 numbers, 5 million windows, 1 million holds, 50 million rows; hours

Writes tests/benchmarks/results/growth.md and growth.png. Flat lines are what they should be.
"""

import argparse
import asyncio
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from redis.asyncio import Redis

from benchmarks.designs import cpu
from benchmarks.load import closed_loop, generator, open_loop
from benchmarks.population import FIRST_ID
from benchmarks.report import say, table, today
from benchmarks.stage import Stage, open_stage

PAGE = Path(__file__).parent / "results" / "growth.md"
PLOT = PAGE.with_suffix(".png")
CONNECTIONS = 128
RATE = 200
SECONDS = 4
WARM_S = 1
NUMBERS = 1_000  # that windows, holds and rows are spread over
CHUNK = 100_000  # rows that are written by one statement

SMALL = {
    "numbers": (1, 1_000, 10_000, 100_000),
    "open windows": (0, 50_000, 500_000),
    "open holds": (0, 10_000, 100_000),
    "ledger rows": (0, 200_000, 2_000_000),
}
FULL = {
    "numbers": (1, 1_000, 10_000, 100_000),
    "open windows": (0, 500_000, 5_000_000),
    "open holds": (0, 100_000, 1_000_000),
    "ledger rows": (0, 5_000_000, 50_000_000),
}

# $1 and $2 are the first and the last place n. Holds are of this month, whose partitions are there.
_NUMBER = f"({FIRST_ID} + n % {NUMBERS})::text"
_AT = "date_trunc('month', now()) + (now() - date_trunc('month', now())) * ((n % 1000003) / 1000003::float8)"
_HOLD = (
    "INSERT INTO hold (hold_id, number_id, epoch, class, fare_micros, regime, category, market, why, rate_source, "
    "state_evidence, recipient, wamid, created_at, expires_at, state, billed_micros, ended_by, ended_at, usage_day) "
    "SELECT overlay(first_hold_id(at)::text placing lpad(to_hex(n), 12, '0') from 25)::uuid, "
    f"{_NUMBER}, 0, 'paid', 3400, 'pmp-2026-10', 'utility', 'North America', 'a template outside the window is paid', "
    "'', '', '16505551234', 'wamid.' || md5(n::text), at, now() + interval '20 days', "
)
FILL = {
    # Users that no send of the load is for: in a window those would be free.
    "open windows": "INSERT INTO open_window (number_id, user_id, kind, ends_at_ms) SELECT "
    f"{_NUMBER}, (491511000000000 + n)::text, 'csw', (extract(epoch FROM now()) * 1000)::bigint + 80000000 "
    "FROM generate_series($1::bigint, $2::bigint) n",
    "open holds": f"{_HOLD} 'accepted', null, null, null, null "
    f"FROM (SELECT n, {_AT} AS at FROM generate_series($1::bigint, $2::bigint) n) made",
    # Of two rows one is a hold that was settled, and one its entry.
    "ledger rows": f"WITH held AS ({_HOLD} 'settled', 3400, 'deliver', at, at::date "
    f"FROM (SELECT n, {_AT} AS at FROM generate_series($1::bigint / 2 + 1, $2::bigint / 2) n) made RETURNING *) "
    "INSERT INTO entry (number_id, kind, from_book, into_book, amount_micros, hold_id, at) "
    "SELECT number_id, 'settle', 'number', 'usage', billed_micros, hold_id, ended_at FROM held",
}


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured at one size."""

    size: int
    a_second: float
    p99_ms: float
    rebuild_s: float  # until every wallet serves, its users' windows included


async def fill(database_url: str, what: str, first: int, last: int) -> None:
    """Write rows into the ledger, without the triggers that would check each."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("SET synchronous_commit = off")
        for at in range(first, last, CHUNK):
            await connection.execute(FILL[what], at + 1, min(at + CHUNK, last))
        await connection.execute("ANALYZE")
        await connection.execute("CHECKPOINT")  # now, and not while something is measured
    finally:
        await connection.close()


async def measure(stage: Stage, size: int, numbers: int) -> Point:
    """Lose all wallets and write them anew, then load a new gateway."""
    async with Redis.from_url(stage.stores.redis_url) as client:
        await client.flushall()
    started = time.perf_counter()
    await stage.rebuild_wallets()
    rebuild_s = time.perf_counter() - started
    async with stage.serving() as gateway:
        await closed_loop(gateway.url, connections=CONNECTIONS, seconds=WARM_S, pids={}, numbers=numbers)
        speed = await closed_loop(gateway.url, connections=CONNECTIONS, seconds=SECONDS, pids={}, numbers=numbers)
        steady = await open_loop(gateway.url, rate=RATE, seconds=SECONDS, pids={}, numbers=numbers)
    return Point(size, speed.a_second, steady.p99_ms, rebuild_s)


async def grow(what: str, sizes: Sequence[int]) -> list[Point]:
    """Measure at each size."""
    points = []
    if what == "numbers":
        for size in sizes:
            async with open_stage(numbers=size) as stage:
                points.append(await measure(stage, size, size))
            say(f"  {what}: {points[-1]}")
        return points
    async with open_stage(numbers=NUMBERS) as stage:
        for before, size in zip((0, *sizes), sizes, strict=False):
            await fill(stage.stores.database_url, what, before, size)
            points.append(await measure(stage, size, NUMBERS))
            say(f"  {what}: {points[-1]}")
    return points


def draw(found: dict[str, list[Point]]) -> None:
    """Draw a row of plots for each of speed, latency and rebuild."""
    import matplotlib as mpl  # noqa: PLC0415  of the extra `bench`, which no test needs
    from matplotlib import pyplot  # noqa: PLC0415

    mpl.use("agg")
    rows = (("sends a second", "a_second"), ("p99 ms at 200 a second", "p99_ms"), ("rebuild, s", "rebuild_s"))
    figure, axes = pyplot.subplots(len(rows), len(found), figsize=(4 * len(found), 8), squeeze=False)
    for column, (what, points) in enumerate(found.items()):
        sizes = [max(point.size, 1) for point in points]  # an axis of powers has no zero
        for row, (name, field) in enumerate(rows):
            plot = axes[row][column]
            plot.plot(sizes, [getattr(point, field) for point in points], marker="o")
            plot.set_xscale("log")
            plot.set_ylim(bottom=0)
            plot.set_ylabel(name)
            plot.set_xlabel(what)
            plot.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(PLOT, dpi=80)


def page(found: dict[str, list[Point]], *, full: bool) -> list[str]:
    """Return the lines of the page."""
    machine = f"{cpu()}, {os.cpu_count()} cores, Python {platform.python_version()}, load by {generator()}"
    target = "make bench-growth FULL=1" if full else "make bench-growth"
    head = ("", "size", "sends a second", "p99 ms", "rebuild s")
    rows = [
        (what, f"{point.size:,}", f"{point.a_second:,.0f}", f"{point.p99_ms:.1f}", f"{point.rebuild_s:.1f}")
        for what, points in found.items()
        for point in points
    ]
    return [
        "# What more of everything costs",
        "",
        f"Written by `{target}` on {today()}. {machine}.",
        "",
        f"Sends a second at {CONNECTIONS} connections; p99 at {RATE} sends a second, an open loop; windows, holds and "
        f"rows over {NUMBERS:,} numbers, every second send of a hot one. The rebuild writes all wallets after the "
        "store was emptied, and reads all open windows; opening what does it is a part of its time. The caches of a "
        "gateway that has just started are empty: with 100,000 numbers that is what is seen here. "
        "`make bench` measures them warm. What scatters without a trend is the machine.",
        "",
        *table(head, rows),
        "",
        f"![plots]({PLOT.name})",
    ]


async def run(sizes: dict[str, Sequence[int]]) -> dict[str, list[Point]]:
    """Measure along every axis."""
    found = {}
    for what, steps in sizes.items():
        say(f"{what}:")
        found[what] = await grow(what, steps)
    return found


def main() -> None:
    """Measure, draw, write."""
    parser = argparse.ArgumentParser(prog="bench-growth")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", help="one of numbers, open windows, open holds, ledger rows")
    options = parser.parse_args()
    sizes = FULL if options.full else SMALL
    found = asyncio.run(run({what: steps for what, steps in sizes.items() if options.only in (None, what)}))
    draw(found)
    lines = page(found, full=options.full)
    PAGE.write_text("\n".join(lines) + "\n")
    say("\n" + "\n".join(lines))
    say(f"\nwritten to {os.path.relpath(PAGE)} and {os.path.relpath(PLOT)}")


if __name__ == "__main__":
    main()
