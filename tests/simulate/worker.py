"""A process of the gateway: its own parts, made of the product's code, over the simulated stores."""

import asyncio
import json
import logging
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from multidict import CIMultiDict

import farebox.clock
import farebox.rows
import farebox.unread
from farebox.access import Request, admit
from farebox.assets import asset
from farebox.clock import Clock
from farebox.config import Settings
from farebox.core.path import read_path
from farebox.core.recipient import load_plans
from farebox.core.reply import Reply
from farebox.core.webhook import load_webhook, parts_of
from farebox.directory import Directory, Number
from farebox.funds import Funds
from farebox.gate import Gate
from farebox.intake import of_number, tell
from farebox.ledger import Ledger, LedgerUnavailableError
from farebox.outbound import send
from farebox.rebuild import Rebuild
from farebox.redis_client import Rounds
from farebox.scripts import Scripts
from farebox.sweep import Sweep
from farebox.tariffs import Tariffs
from farebox.wallet import Wallet
from simulate.postgres import Pool
from simulate.valkey_client import Client

if TYPE_CHECKING:
    from simulate.world import World

POOL_UNITS = 3  # of every free allowance, so that a short life meets its end
RETRY_S = 1.0  # how long a process that starts waits for the ledger before it asks again

_world: list["World"] = []  # the one that lives


class Complaints(logging.Handler):
    """What the product logs as an error is one."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else ""
        _world[0].kernel.complaints.append(f"logged: {record.getMessage()} {error!r}")


def install(world: "World") -> None:
    """Let the product read the time and draw ids from this world."""
    _world[:] = [world]
    logging.disable(logging.WARNING)
    logging.getLogger("farebox").handlers = [Complaints()]
    logging.getLogger("farebox").propagate = False
    steady = SimpleNamespace(
        monotonic_ns=lambda: _world[0].kernel.now_us * 1_000, time_ns=lambda: _world[0].clock_ms() * 1_000_000
    )
    farebox.clock.time = steady  # type: ignore[attr-defined]
    farebox.rows._ten_random_bytes = lambda: _world[0].kernel.random.randbytes(10)
    farebox.unread.uuid4 = lambda: UUID(int=_world[0].kernel.random.getrandbits(128))  # type: ignore[attr-defined]


@cache
def settings() -> Settings:
    return Settings(database_url="postgresql://simulated", redis_url="redis://simulated")


@cache
def tariffs() -> Tariffs:
    """Return the product's tariffs with small pools. Read once: they do not change in a life."""
    load_plans()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "tariffs"
        shutil.copytree(asset("config/tariffs"), folder)
        for file in folder.glob("*.toml"):
            file.write_text(file.read_text().replace("size = 1000", f"size = {POOL_UNITS}"))
        return Tariffs(folder)


@cache
def take_digest() -> str:
    """Return what Valkey knows take.lua by."""
    return Scripts("redis://simulated", ["take"], timeout_s=1)._digests["take"]


@dataclass(frozen=True)
class Approved:
    """A template as the registry knows it; each is named like its category."""

    category: str
    bid_amount: int | None = None


class Templates:
    """The registry: every template is known, so nobody asks WhatsApp for one."""

    async def find(self, number: Number, name: str, language: str) -> Approved:
        return Approved(name)


class Worker:
    """One process."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.loop = world.kernel.loop(name)
        self.ready = False

    async def open(self) -> None:
        """Start: make the parts, and ask the database for the time."""
        world, limits = self.world, settings()
        wallet = Wallet("redis://simulated", timeout_s=limits.wallet_timeout_s)
        client: Any = Client(world.to_valkey, world.valkey, observe=world.valkey_ran)
        wallet._redis, wallet._scripts._rounds = client, Rounds(client)
        self.pool = Pool(world.to_postgres, world.postgres, timeout_s=limits.ledger_timeout_s)
        ledger = Ledger(self.pool, self.pool, timeout_s=limits.ledger_timeout_s)
        clock, directory, loaded = Clock(), Directory(), tariffs()
        directory.numbers = world.numbers
        rebuild = Rebuild(wallet, ledger, clock, loaded, directory)
        self.gate = Gate(
            settings=limits,
            clock=clock,
            tariffs=loaded,
            directory=directory,
            wallet=wallet,
            ledger=ledger,
            rebuild=rebuild,
            funds=Funds(wallet, ledger, clock, loaded, rebuild, grace_ms=limits.late_webhook_grace_s * 1000),
            upstream=world.whatsapp.connection(limits.upstream_timeout_s),
            templates=Templates(),
            groups=None,
            spool=None,
            allowance=None,
        )
        self._sweep = Sweep(self.gate)
        await self.sync()
        self.ready = True

    @property
    def serving(self) -> bool:
        return self.ready and not self.loop.killed and not self.loop.paused

    async def sync(self) -> None:
        """Take over the database's clock, as soon as the database answers."""
        while True:
            try:
                await self.gate.clock.sync(self.gate.ledger)
            except LedgerUnavailableError:
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def send(self, number: Number, body: dict[str, Any]) -> Reply:
        """Take a message as an application sends it."""
        path = f"/v23.0/{number.number_id}/messages"
        headers = CIMultiDict({"Authorization": "Bearer client", "Content-Type": "application/json"})
        request = Request("POST", path, "", headers, json.dumps(body).encode())
        return await send(self.gate, admit(self.gate.directory, read_path("POST", path, ""), request))

    async def webhook(self, number: Number, value: dict[str, Any]) -> None:
        """Keep the books of a webhook as it comes over the wire."""
        change = {"field": "messages", "value": {"metadata": {"phone_number_id": number.number_id}, **value}}
        body = json.dumps({"object": "whatsapp_business_account", "entry": [{"id": "w", "changes": [change]}]})
        for part in parts_of(load_webhook(body.encode())):
            await tell(self.gate, of_number(self.gate, number, part))

    async def sweep(self) -> None:
        """Make one pass."""
        await self._sweep.run()

    def kill(self) -> None:
        """End the process; the database notices that its connections are gone."""
        self.loop.kill()
        if hasattr(self, "pool"):
            for session in self.pool.sessions:
                self.world.kernel.after(self.world.kernel.random.randrange(100, 5_000), self._forget, session)

    def _forget(self, session: Any) -> None:
        self.world.postgres.disconnect(session)
