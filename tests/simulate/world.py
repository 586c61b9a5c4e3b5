"""Everything that a life plays with: stores, WhatsApp, numbers and processes."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from factory import make_number
from farebox.directory import Number
from farebox.gate import UNAVAILABLE
from simulate.checks import Checks
from simulate.kernel import Kernel
from simulate.network import Link
from simulate.postgres import Postgres
from simulate.tables import Database
from simulate.valkey import Valkey
from simulate.whatsapp import WhatsApp
from simulate.worker import Worker, install

HOUR_MS = 3_600_000
# Mid-month mornings, so that no card changes within a life: conversations, and prices by message with a free pool.
STARTS_MS = {"conversations": 1_710_500_000_000, "messages": 1_795_000_000_000}
AWAY = (*UNAVAILABLE, TimeoutError)


def identity(of: int) -> str:
    """Return an id as Valkey names its lives, 40 hexadecimal digits."""
    return f"{of:016x}".rjust(16, "0") + "0" * 24


class World:
    """Everything that a life plays with."""

    away = AWAY

    def __init__(self, seed: int, *, whole_trace: bool = False) -> None:
        self.kernel = Kernel(seed, keep=None if whole_trace else 60)
        draw = self.kernel.random
        self.conversations = draw.randrange(4) == 0
        self.exact = self.conversations or draw.randrange(2) == 0  # WhatsApp sees every price as we do
        self.faulty = draw.randrange(5) > 0
        self.start_ms = STARTS_MS["conversations" if self.conversations else "messages"] + draw.randrange(HOUR_MS)
        self.database = Database(self.database_ms)
        self.valkey = Valkey(identity(0), lambda: self.kernel.now_us)
        self.postgres = Postgres(self.database)
        self.to_valkey, self.to_postgres = Link(self.kernel, "valkey"), Link(self.kernel, "postgres")
        self.whatsapp = WhatsApp(self)
        self.numbers: dict[str, Number] = {}
        for place in range(draw.randrange(1, 4)):
            number = replace(
                make_number(), number_id=f"{place + 1}",
                mode=draw.choice(("enforce",) * 6 + ("shadow",)),
                funds_rule=draw.choice(("above_zero",) * 3 + ("cover",)), block_at_micros=draw.choice((0, 0, 30_000)),
            )  # fmt: skip
            self.numbers[number.number_id] = number
            self.database.add_number(number.number_id, number.zone)
        self.checks = Checks(self)
        self.postgres.observe = self.checks.ledger_ran
        self.valkey_ran = self.checks.wallet_ran
        install(self)
        self.workers: list[Worker] = []
        self.tasks: list[asyncio.Task[Any]] = []  # none may end in an exception
        self._runs = 0
        for _ in range(draw.choice((1, 2, 2, 3))):
            self.start_worker()

    def database_ms(self) -> int:
        return self.start_ms + self.kernel.now_us // 1_000

    def clock_ms(self) -> int:
        """Return the time that the gateway should go by."""
        return self.database_ms() + self.database.offset_ms

    def spawn(self, worker: Worker, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Let a process do something."""
        task = worker.loop.create_task(work)
        self.tasks.append(task)
        return task

    def start_worker(self) -> None:
        self._runs += 1
        worker = Worker(self, f"worker-{self._runs}")
        self.workers.append(worker)
        self.spawn(worker, worker.open())

    def some_worker(self) -> Worker | None:
        """Return a process that takes calls, None where there is none at the moment."""
        serving = [worker for worker in self.workers if worker.serving]
        return self.kernel.random.choice(serving) if serving else None

    def some_number(self) -> Number:
        return self.kernel.random.choice(list(self.numbers.values()))
