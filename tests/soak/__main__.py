"""Sends at a steady rate through a real gateway of two workers, each delivered and charged; then one page of figures.

Exit 1 where the books differ, a send failed, memory grows without end, or the log says a secret.
"""

# ruff: noqa: T201  it is a command

import argparse
import asyncio
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from acceptance.site import Site, both_workers_know, open_site
from farebox.ledger import Ledger
from farebox.reconcile import compare
from farebox.wallet import Wallet
from harness import ADMIN_TOKEN, APP_SECRET, NUMBER, UPSTREAM_TOKEN, template
from operate.deliveries import deliver

USERS = re.compile(rb"(?<!\d)1650[56]\d{6}(?!\d)")  # the recipients' numbers
PAGE = Path(__file__).parents[1] / "benchmarks" / "results" / "soak.md"
WINDOW_S = 10  # one row of figures
ROWS_A_PAGE = 15  # of all windows, evenly: what a reader looks at
LEAST_MINUTES = 30  # a shorter run is a try and leaves the page alone
WARM_S = 60  # caches fill: not counted in the slope
MAX_SLOPE_MIB_PER_H = 60  # of all workers together, after the warm-up; a leak of 100 bytes a send is 70 MiB an hour
MAX_IN_FLIGHT = 200


@dataclass
class Run:
    """What was seen."""

    took_s: list[float] = field(default_factory=list)
    failures: dict[int, int] = field(default_factory=dict)
    windows: list[tuple[float, float, float]] = field(default_factory=list)  # seconds, resident MiB, p99 in ms
    leaks: int = 0
    key: str = ""
    sent: int = 0


def resident_mib(parent: int) -> float:
    """Resident memory of a process's children."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    pages = 0
    for child in children:
        pages += int(Path(f"/proc/{child}/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def slope_per_hour(points: Sequence[tuple[float, float]]) -> float:
    """The slope of a straight line through points (least squares), per hour."""
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def p99_ms(took_s: list[float]) -> float:
    return sorted(took_s)[int(len(took_s) * 0.99)] * 1000 if took_s else 0.0


async def read_log(site: Site, run: Run) -> None:
    """Look through every line of the log as it comes."""
    assert site.box.process.stdout is not None
    secrets = [secret.encode() for secret in (ADMIN_TOKEN, APP_SECRET, UPSTREAM_TOKEN, run.key)]
    async for line in site.box.process.stdout:
        run.leaks += any(secret in line for secret in secrets) or USERS.search(line) is not None


async def one(site: Site, run: Run, serial: int) -> None:
    started = time.perf_counter()
    status, headers, content = await site.send(template(to=f"1650{5_000_000 + serial % 1_000_000:07d}"))
    run.took_s.append(time.perf_counter() - started)
    run.sent += 1
    if status != 200:
        run.failures[status] = run.failures.get(status, 0) + 1
    else:
        await deliver(site, content["messages"][0]["id"], headers["X-Farebox-Hold"])


async def load(site: Site, run: Run, rate: int, minutes: float) -> None:
    """Send at a rate, whatever the answers take; write down a window of figures every few seconds."""
    began, serial, tasks, window = time.monotonic(), 0, set[asyncio.Task[None]](), time.monotonic()
    parent = site.box.process.pid
    while (elapsed := time.monotonic() - began) < minutes * 60:
        while serial < elapsed * rate and len(tasks) < MAX_IN_FLIGHT:
            task = asyncio.create_task(one(site, run, serial))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            serial += 1
        if time.monotonic() - window >= WINDOW_S:
            window, took, run.took_s = time.monotonic(), run.took_s, []
            run.windows.append((elapsed, resident_mib(parent), p99_ms(took)))
            print(f"{elapsed:7.0f} s  {len(took) / WINDOW_S:6.0f} sends/s  p99 {run.windows[-1][2]:7.1f} ms  "
                  f"{run.windows[-1][1]:7.1f} MiB", flush=True)  # fmt: skip
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)


async def differences(site: Site) -> list[str]:
    """What reconcile would print."""
    ledger = await Ledger.connect(site.stores.database_url, timeout_s=60)
    wallet = Wallet(site.stores.redis_url, timeout_s=10)
    try:
        return [text async for row in compare(ledger, wallet) for text in row.differences]
    finally:
        await wallet.aclose()
        await ledger.aclose()


def write_page(options: argparse.Namespace, run: Run, verdict: list[str]) -> None:
    """Keep the run beside the other measurements."""
    today = datetime.now(UTC).date()
    rows = run.windows[:: max(1, len(run.windows) // ROWS_A_PAGE)]
    PAGE.write_text("\n".join((
        f"# {options.minutes:g} minutes at {options.rate} sends a second",
        "",
        f"Written by `make soak MINUTES={options.minutes:g} RATE={options.rate}` on {today}: a real gateway with two",
        "workers, every send delivered by webhook and charged, the generator and the stores on the same machine.",
        "",
        *(f"- {line}" for line in verdict),
        "",
        "| after | memory of all workers | p99 of a send |",
        "|---:|---:|---:|",
        *(f"| {at:,.0f} s | {mib:,.1f} MiB | {p99:,.1f} ms |" for at, mib, p99 in rows),
    )) + "\n")  # fmt: skip


async def main() -> int:
    parser = argparse.ArgumentParser(prog="soak")
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=30)
    options = parser.parse_args()
    run = Run()
    async with open_site(FAREBOX_LOG_FORMAT="json") as site:
        run.key = site.key
        reading = asyncio.create_task(read_log(site, run))  # from the first line: a pipe that is full stops the gateway
        await both_workers_know(site)
        await site.admin("POST", f"/v1/numbers/{NUMBER}/topups", {"amount": "100000.00", "method": "manual"})
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=MAX_IN_FLIGHT)) as site.session:
            await load(site, run, options.rate, options.minutes)
        differing = await differences(site)
        reading.cancel()
    warm = [(at, mib) for at, mib, _ in run.windows if at > min(WARM_S, options.minutes * 30)]
    slope = slope_per_hour(warm)
    drift = slope_per_hour([(at, p99) for at, _, p99 in run.windows if at > WARM_S])
    verdict = [
        f"{run.sent:,} sends, failures: {run.failures or 'none'}",
        f"memory {slope:+.1f} MiB an hour after the first minute; p99 {drift:+.1f} ms an hour",
        f"books that differ: {differing or 'none'}; lines of the log with a secret or a full number: {run.leaks}",
    ]
    print("\n".join(verdict))
    if options.minutes >= LEAST_MINUTES:
        write_page(options, run, verdict)
    long_enough = options.minutes * 60 > 2 * WARM_S
    wrong = bool(run.failures or differing or run.leaks or (long_enough and slope > MAX_SLOPE_MIB_PER_H))
    print("FAILED" if wrong else "fine")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
