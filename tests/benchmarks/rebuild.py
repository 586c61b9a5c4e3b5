"""What a lost Redis costs: all wallets again, the first send of a cold number, a send while the store hangs.

make bench-rebuild, or with other sizes: make bench-rebuild NUMBERS=10000

Starts stores of its own, fills the ledger, and writes the table to tests/benchmarks/results/rebuild.md.
"""

import os
import platform
import signal
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from benchmarks.designs import cpu, versions
from benchmarks.population import id_of, populate
from benchmarks.report import say
from corpus_stage import Stage, message, open_stage
from farebox.config import Settings
from farebox.embedded import EmbeddedStores
from farebox.migrate import migrate

RESULT = Path(__file__).parent / "results" / "rebuild.md"
NUMBERS = int(os.environ.get("NUMBERS", "100000"))
BUSY_EVERY = 100  # every so many-th number is in use
WINDOWS = 100  # open windows of a number in use
# First sends that are measured, each to a number whose wallet is not there; each makes all others be looked at.
COLD = int(os.environ.get("COLD", "40"))
PATIENCE_S = Settings.model_fields["wallet_timeout_s"].default
HANGING = 50  # sends to a store that does not answer

FILL_WINDOWS = (
    "INSERT INTO open_window (number_id, user_id, kind, ends_at_ms) "
    "SELECT number_id, (4915100000000 + w)::text, 'csw', (extract(epoch FROM now()) * 1000)::bigint + 72000000 "
    "FROM number, generate_series(1, $1::bigint) w WHERE number_id::bigint % $2 = 0"
)


async def fill(stage: Stage) -> None:
    """Give a ledger its numbers, each with a top-up, some with open windows."""
    database_url = stage.gate.settings.database_url
    assert database_url is not None, "the stage names the stores"
    await populate(database_url, NUMBERS, app_url="http://127.0.0.1:9")
    await stage.gate.ledger._pool.execute(
        "UPDATE number SET upstream_token = NULL"
    )  # the stage's client brings its own
    await stage.gate.ledger._pool.execute(FILL_WINDOWS, WINDOWS, BUSY_EVERY, timeout=60)
    await stage.gate.directory.load_numbers(stage.gate.ledger)


async def lose(stage: Stage) -> None:
    """Take every wallet away, as an empty store does."""
    await stage.gate.wallet._redis.flushall()


async def all_again(stage: Stage) -> tuple[float, float]:
    """Return the seconds until every wallet serves again, and until all users of all numbers are read too."""
    await lose(stage)
    started = time.perf_counter()
    rebuilt = await stage.gate.rebuild.ahead()
    served = time.perf_counter() - started
    assert rebuilt == NUMBERS, f"{rebuilt} of {NUMBERS} wallets were rebuilt"
    await stage.gate.rebuild.settled()
    return served, time.perf_counter() - started


async def timed_send(stage: Stage, number_id: str) -> tuple[float, int]:
    """Return the milliseconds and the status of one paid send."""
    number = stage.gate.directory.numbers[number_id]
    started = time.perf_counter()
    reply = await stage.send(number, message(["template", "marketing"], "+4915112345678"))
    return (time.perf_counter() - started) * 1000, reply.status


async def cold_sends(stage: Stage) -> tuple[list[float], list[float]]:
    """Return the milliseconds of first sends of numbers without a wallet, and of the same numbers' next sends."""
    cold, warm = [], []
    for which in range(1, COLD + 1):
        number_id = id_of(which * (NUMBERS // COLD))
        await stage.gate.wallet._redis.delete(f"farebox:{{{number_id}}}:wallet")
        for into in (cold, warm):
            took, status = await timed_send(stage, number_id)
            assert status == 200, f"a send was answered with {status}"
            into.append(took)
        await stage.gate.rebuild.settled()  # one cold number makes the worker look at all the others: measured above
    return cold, warm


async def sends_in_a_pass(stage: Stage) -> tuple[list[float], int]:
    """Return the milliseconds of first sends while all wallets are written anew, and how many were answered 503.

    The first of them begins the pass. They are of numbers whose turn in it comes late. A store that was late once is
    not asked for a moment (scripts.py): the sends of that moment are refused.
    """
    await lose(stage)
    took, refused = [], 0
    for which in range(COLD):
        milliseconds, status = await timed_send(stage, id_of(NUMBERS - 1 - which * (NUMBERS // COLD // 2)))
        took.append(milliseconds)
        refused += status == 503
    await stage.gate.rebuild.settled()
    return took, refused


async def hanging_sends(stage: Stage, valkey: int) -> list[float]:
    """Return the milliseconds that sends take while the store is stopped: refused, since nothing can be taken."""
    took = []
    os.kill(valkey, signal.SIGSTOP)
    try:
        for _ in range(HANGING):
            milliseconds, status = await timed_send(stage, id_of(1))
            assert status == 503, f"a send was answered with {status}"
            took.append(milliseconds)
    finally:
        os.kill(valkey, signal.SIGCONT)
    return took


def row(what: str, values: list[float]) -> str:
    """Return a line of the table: median, 99th percentile and largest."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return f"| {what} | {statistics.median(values):.1f} | {cuts[98]:.1f} | {max(values):.1f} |"


async def run(folder: Path) -> str:
    """Measure, print and return the page."""
    async with EmbeddedStores(folder) as stores:
        await migrate(stores.database_url)
        measured_on = f"{cpu()}, {os.cpu_count()} cores, Python {platform.python_version()}, {await versions(stores)}"
        say(measured_on)
        async with open_stage(stores, folder, wallet_timeout_s=PATIENCE_S) as stage:
            await fill(stage)
            seconds = []
            for _ in range(3):
                seconds.append(await all_again(stage))
                say(f"  serving after {seconds[-1][0]:.2f} s, everybody's windows after {seconds[-1][1]:.2f} s")
            cold, warm = await cold_sends(stage)
            passing, refused = await sends_in_a_pass(stage)
            pid = (await stage.gate.wallet._redis.info("server"))["process_id"]
            hanging = await hanging_sends(stage, pid)
    best, windows = min(seconds), NUMBERS // BUSY_EVERY * WINDOWS
    lines = [
        f"| {NUMBERS:,} numbers after an empty store | best of 3 |",
        "|---|---:|",
        f"| every number can be sent from | {best[0]:.2f} s |",
        f"| all {windows:,} open windows are read too; until then each on first use | {best[1]:.2f} s |",
        "",
        "| one send, in milliseconds | median | p99 | largest |",
        "|---|---:|---:|---:|",
        row("first send of a number without a wallet", cold),
        row("the next send of the same number", warm),
        row(f"first sends while all wallets are written anew ({refused} of {COLD} answered 503)", passing),
        row("a send while Valkey is stopped (SIGSTOP), answered 503", hanging),
    ]
    say("\n" + "\n".join(lines))
    day = datetime.now(UTC).date().isoformat()
    head = ("# What a lost Redis costs", "", f"Written by `make bench-rebuild` on {day}. {measured_on}.", "")
    return "\n".join((*head, *lines, ""))


def main() -> None:
    """Measure and write the result down."""
    with tempfile.TemporaryDirectory(prefix="farebox-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the stores' user must be able to enter
        text = uvloop.run(run(folder))  # as in production
    RESULT.write_text(text)
    say(f"\nwritten to {os.path.relpath(RESULT)}")


if __name__ == "__main__":
    main()
