"""The same concurrency for three designs of a prepaid balance: what they overspend and how fast they are.

make bench-designs

Starts stores of its own, durable as in production, and writes the table to tests/benchmarks/results/designs.md.
"""

import asyncio
import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import asyncpg
from redis.asyncio import Redis

from benchmarks.report import Section, say
from benchmarks.straw.designs import CONNECTIONS, DESIGNS, FARE_MICROS, READERS
from benchmarks.straw.race import WORKERS, Heat, race
from farebox.config import Settings
from farebox.core.money import format_micros
from farebox.embedded import EmbeddedStores
from farebox.migrate import migrate

RESULT = Path(__file__).parent / "results" / "designs.md"
FEW = 137  # fares there is money for where money is short: odd, and far below what any batch carries
# (sends at once, fares that there is money for)
RUNS = ((1_000, FEW), (5_000, FEW), (5_000, 5_000))
FEWER_ROUNDS = 2  # as a part of all benchmarks
ROUNDS = 5  # the fastest counts, since whatever else runs on the machine only slows; of overspends the worst


def table(results: list[list[Heat]]) -> list[str]:
    """Return the table's lines; each element holds the rounds of one design in one run."""
    lines = [
        "| design | sends at once | money for | accepted | should be | overspend | 503 | sends a second | of ours |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for _, group in groupby(results, key=lambda heats: (heats[0].sends, heats[0].funded)):
        rows = list(group)
        speed = {heats[0].design: max(heat.sends_a_second for heat in heats) for heats in rows}
        for heats in rows:
            heat = max(heats, key=lambda heat: (heat.overspend_micros, heat.unavailable, -heat.accepted))
            cells = (
                heat.design,
                f"{heat.sends:,}",
                f"{heat.funded:,}",
                f"{heat.accepted:,}",
                f"{heat.allowed:,}",
                f"{format_micros(heat.overspend_micros)} USD",
                f"{heat.unavailable:,}",
                f"{speed[heat.design]:,.0f}",
                f"{speed[heat.design] / speed['ours']:.2f}",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def cpu() -> str:
    """Return the model of this machine's processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")


async def versions(stores: EmbeddedStores) -> str:
    """Return what the stores are."""
    connection = await asyncpg.connect(stores.database_url)
    postgres = connection.get_server_version()
    await connection.close()
    async with Redis.from_url(stores.redis_url) as client:
        valkey = (await client.info("server")).get("valkey_version", "(Redis)")
    return f"PostgreSQL {postgres.major}.{postgres.minor} (fsync and synchronous_commit on), Valkey {valkey}"


def page(measured_on: str, lines: list[str]) -> str:
    """Return the result as a page."""
    day = datetime.now(UTC).date().isoformat()
    return f"""# Three designs under the same concurrency

Written by `make bench-designs` on {day}. {measured_on}.

{WORKERS} worker processes on the same machine as both stores, all sends on one number, all let go at the same moment; a
fare is {format_micros(FARE_MICROS)} USD. Speed is the best of {ROUNDS} rounds, refusals included; overspend the worst.

{chr(10).join(lines)}

- *read then spend*: the balance is read from Redis, checked, and lowered by a second call; {READERS} connections a
  worker. Every send that has looked before the money is gone is accepted: it overspends by up to as many fares as calls
  are in flight. It keeps no ledger at all, so its speed is that of half a design.
- *row lock*: one PostgreSQL transaction a send: `SELECT ... FOR UPDATE` on the balance, insert the hold, update,
  commit; {CONNECTIONS} connections a worker.
- *ours*: `funds.reserve` of the gateway with both its stores: one script call and one `INSERT` for all sends in
  flight. Pricing is part of what is measured here, and of this design only.
"""


async def run_all(folder: Path, rounds: int = ROUNDS) -> tuple[str, list[str]]:
    """Run all heats, print the table, and return what it was measured on and the table."""
    results: dict[tuple[int, int, str], list[Heat]] = {}
    async with EmbeddedStores(folder) as stores:
        await migrate(stores.database_url)
        settings = Settings(database_url=stores.database_url, redis_url=stores.redis_url)
        measured_on = f"{cpu()}, {os.cpu_count()} cores, Python {platform.python_version()}, {await versions(stores)}"
        say(measured_on)
        for number in range(1, rounds + 1):  # rounds outside, so that a busy minute hits every design alike
            for sends, funded in RUNS:
                for design in DESIGNS:
                    started = time.perf_counter()
                    heat = await race(design, settings, sends=sends, funded=funded)
                    results.setdefault((sends, funded, design), []).append(heat)
                    say(
                        f"round {number} of {rounds}: {design}, {sends} sends, money for {funded}: accepted "
                        f"{heat.accepted}, {heat.sends_a_second:,.0f}/s ({time.perf_counter() - started:.0f} s)"
                    )
    lines = table(list(results.values()))
    say("\n" + "\n".join(lines))
    return measured_on, lines


async def measure() -> Section:
    """Race the designs as a part of all benchmarks, in fewer rounds."""
    with tempfile.TemporaryDirectory(prefix="farebox-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # noqa: ASYNC240  the stores' user must be able to enter
        _, lines = await run_all(folder, FEWER_ROUNDS)
    return Section(
        "Two straw designs", [], lines, [f"Best of {FEWER_ROUNDS} rounds; more of it by `make bench-designs`."]
    )


def main() -> None:
    """Measure and write the result down."""
    with tempfile.TemporaryDirectory(prefix="farebox-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the stores' user must be able to enter
        measured_on, lines = asyncio.run(run_all(folder))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(page(measured_on, lines))
    say(f"\nwritten to {os.path.relpath(RESULT)}")


if __name__ == "__main__":
    main()
