"""What a message, an open hold and an open window take up in the two stores: the figures of docs/sizing.md.

make bench-sizes, or with other sizes: make bench-sizes MESSAGES=100000

Starts stores of its own, sends and settles through the gateway's own functions, and writes the table to
tests/benchmarks/results/sizes.md.
"""

import asyncio
import json
import os
import tempfile
import time
from pathlib import Path

from redis.asyncio import Redis

from benchmarks.designs import cpu, versions
from benchmarks.report import say, table, today
from farebox.config import Settings
from farebox.core.hold import Event
from farebox.embedded import EmbeddedStores
from farebox.funds import Reserved
from farebox.gate import Gate, open_gate
from farebox.migrate import migrate
from farebox.rows import Resolution
from stores.load import FARE, USER, Load

PAGE = Path(__file__).parent / "results" / "sizes.md"
MESSAGES = int(os.environ.get("MESSAGES", "20000"))
NUMBERS = 10
AT_ONCE = 500
DAY_MS = 86_400_000
WEBHOOK = json.dumps(
    {
        "id": "wamid.HBgLMTY1MDU1NTEyMzQVAgARGBI5QTNDQTVCM0Q0Q0Q2RTY3RTcA",
        "status": "delivered",
        "timestamp": "1764000000",
        "recipient_id": "16505551234",
        "pricing": {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"},
    }
)
SIZES = (
    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c WHERE c.relkind IN ('r', 'p') "
    "AND (c.relname = $1 OR c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = $1::regclass))"
)


class Scale:
    """Weighs the stores."""

    def __init__(self, gate: Gate, redis: Redis) -> None:
        self._pool = gate.ledger._pool
        self._redis = redis

    async def wallet(self) -> int:
        """Return the bytes that the wallets' store has in use."""
        return int((await self._redis.info("memory"))["used_memory"])

    async def table(self, name: str) -> int:
        """Return the bytes of a table with its partitions and indexes, vacuumed."""
        await self._pool.execute("VACUUM", timeout=300)
        return int(await self._pool.fetchval(SIZES, name))

    async def log(self) -> int:
        """Return how many bytes of write-ahead log were ever written."""
        return int(await self._pool.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"))


async def send_all(load: Load) -> None:
    """Reserve every message and let WhatsApp take it."""

    async def one(place: int) -> None:
        outcome = await load.send(load.gates[0], load.numbers[place % NUMBERS])
        assert outcome == "reserved", outcome

    for start in range(0, MESSAGES, AT_ONCE):
        await asyncio.gather(*(one(start + place) for place in range(AT_ONCE)))
    gate, reserved = load.gates[0], reserved_of(load)
    for start in range(0, MESSAGES, AT_ONCE):
        taken = reserved[start : start + AT_ONCE]
        await asyncio.gather(
            *(gate.funds.accept(each, f"wamid.{each.hold_id.hex}", None, may_gather=False) for each in taken)
        )


def reserved_of(load: Load) -> list[Reserved]:
    return [each for of_number in load.reserved.values() for each in of_number]


async def deliver_all(load: Load) -> None:
    """Settle every message by a webhook."""
    gate, ids = load.gates[0], [each.hold_id for each in reserved_of(load)]
    for start in range(0, MESSAGES, AT_ONCE):
        holds = await gate.ledger.find_holds(ids[start : start + AT_ONCE], [])
        await gate.funds.resolve(Event.DELIVER, [Resolution(hold, FARE, webhook=WEBHOOK) for hold in holds])


async def open_windows(load: Load) -> None:
    """Let as many users write in: a customer service window each."""
    gate, ends_ms = load.gates[0], int(time.time() * 1000) + DAY_MS
    for start in range(0, MESSAGES, AT_ONCE):
        for place, number in enumerate(load.numbers):
            users = [f"49{USER}{start + place + NUMBERS * at:06}" for at in range(AT_ONCE // NUMBERS)]
            rows = [[number.number_id] * len(users), users, ["csw"] * len(users), [ends_ms] * len(users)]
            await gate.ledger.fetch("open_windows", *rows, [None] * len(users))
            await gate.wallet.open_windows(number.number_id, [(user, "csw", ends_ms, None) for user in users])


async def weigh(gate: Gate, redis: Redis) -> list[list[str]]:
    """Return the rows of the table."""
    scale, load = Scale(gate, redis), await Load.on([gate], numbers=NUMBERS, fares=MESSAGES)
    await load.send(gate, load.numbers[0])  # the scripts and the first wallet are no matter of size
    load.reserved.clear()
    before = await scale.wallet(), await scale.log(), await scale.table("hold"), await scale.table("entry")
    await send_all(load)
    held = await scale.wallet()
    await deliver_all(load)
    after = await scale.log(), await scale.table("hold"), await scale.table("entry")
    windows = await scale.wallet(), await scale.table("open_window")
    await open_windows(load)
    opened = await scale.wallet(), await scale.table("open_window")
    figures = [
        ("an open hold", "Redis", held - before[0]),
        ("a user with an open window", "Redis", opened[0] - windows[0]),
        ("a message that was delivered and charged: hold, with indexes", "PostgreSQL", after[1] - before[2]),
        ("the same: entry, with indexes", "PostgreSQL", after[2] - before[3]),
        ("the same: write-ahead log", "PostgreSQL", after[0] - before[1]),
        ("an open window, with indexes", "PostgreSQL", opened[1] - windows[1]),
    ]
    return [[what, store, f"{round(size / MESSAGES):,}"] for what, store, size in figures]


async def run(folder: Path) -> str:
    """Weigh, and return the page."""
    async with EmbeddedStores(folder) as stores:
        await migrate(stores.database_url)
        settings = Settings(
            database_url=stores.database_url, redis_url=stores.redis_url, data_dir=folder / "data", wallet_timeout_s=5,
            ledger_timeout_s=60,
        )  # fmt: skip
        async with open_gate(settings) as gate, Redis.from_url(stores.redis_url) as redis:
            rows = await weigh(gate, redis)
            head = (
                f"Written by `make bench-sizes` on {today()}: {MESSAGES:,} of each. {cpu()}, {await versions(stores)}."
            )
            return "\n".join(["# What it takes up", "", head, "", *table(("what", "where", "bytes"), rows), ""])


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="farebox-sizes-") as name:
        Path(name).chmod(0o711)
        page = asyncio.run(run(Path(name)))
    PAGE.write_text(page)
    say(page)


if __name__ == "__main__":
    main()
