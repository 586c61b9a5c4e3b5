"""What every request passes through: the parts of one worker, made once and handed on."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from farebox.allowance import Allowance
from farebox.assets import asset
from farebox.batch import OverloadedError
from farebox.clock import Clock
from farebox.config import Settings
from farebox.core.money import parse_micros
from farebox.core.recipient import load_plans
from farebox.directory import Directory
from farebox.funds import Funds
from farebox.groups import Groups
from farebox.ledger import Ledger, LedgerUnavailableError
from farebox.paces import Paces
from farebox.payments import Method, open_methods
from farebox.rebuild import Rebuild
from farebox.registry import Registry
from farebox.spool import FOLDER, Spool
from farebox.tariffs import Tariffs
from farebox.templates import Templates
from farebox.upstream import Upstream
from farebox.vault import Vault
from farebox.wakes import Wakes
from farebox.wallet import Wallet, WalletUnavailableError

T = TypeVar("T")

# What a store that is away, or a queue that is full, raises: nothing may be assumed then, and asking again is right.
UNAVAILABLE = (WalletUnavailableError, LedgerUnavailableError, OverloadedError)
BACKGROUND_S = 10  # how long the bookkeeping of the last webhooks may take after the ports have closed


@dataclass(frozen=True)
class Gate:
    """One worker's parts."""

    settings: Settings
    clock: Clock
    tariffs: Tariffs
    directory: Directory
    wallet: Wallet
    ledger: Ledger
    rebuild: Rebuild
    funds: Funds
    upstream: Upstream
    templates: Templates
    groups: Groups
    spool: Spool
    allowance: Allowance
    payments: Mapping[str, Method] = field(default_factory=dict)
    paces: Paces = field(default_factory=Paces)
    wakes: Wakes = field(default_factory=Wakes)
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    leaving: asyncio.Event = field(default_factory=asyncio.Event)  # set: clients are asked to come back elsewhere

    def background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something beside the request. The loop itself keeps no reference to a task; `tasks` does."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


@asynccontextmanager
async def open_gate(settings: Settings) -> AsyncIterator[Gate]:
    """Make a worker's parts, and close them in the opposite order."""
    assert settings.database_url is not None, "the supervisor names the stores"
    assert settings.redis_url is not None, "the supervisor names the stores"
    load_plans()
    tariffs = Tariffs(settings.tariffs_dir or asset("config/tariffs"))
    async with AsyncExitStack() as stack:
        ledger = await Ledger.connect(settings.database_url, timeout_s=settings.ledger_timeout_s)
        stack.push_async_callback(ledger.aclose)
        wallet = Wallet(settings.redis_url, timeout_s=settings.wallet_timeout_s)
        stack.push_async_callback(wallet.aclose)
        public_apps = settings.private_app_urls == "refuse"
        upstream = Upstream(settings.upstream_url, timeout_s=settings.upstream_timeout_s, public_apps=public_apps)
        stack.push_async_callback(upstream.aclose)
        spool = Spool(settings.data_dir / FOLDER, max_bytes=settings.spool_max_bytes)
        stack.callback(spool.close)
        payments = open_methods(settings)
        for method in payments.values():
            stack.push_async_callback(method.aclose)
        clock = Clock()
        directory = Directory(Vault(settings.encryption_keys.get_secret_value() if settings.encryption_keys else ""))
        await clock.sync(ledger)
        await directory.load(ledger)
        rebuild = Rebuild(wallet, ledger, clock, tariffs, directory)
        stack.push_async_callback(rebuild.aclose)
        gate = Gate(
            settings=settings,
            clock=clock,
            tariffs=tariffs,
            directory=directory,
            wallet=wallet,
            ledger=ledger,
            rebuild=rebuild,
            funds=Funds(wallet, ledger, clock, tariffs, rebuild, grace_ms=settings.late_webhook_grace_s * 1000),
            upstream=upstream,
            templates=Templates(Registry(directory, ledger, tariffs, clock), upstream),
            groups=Groups(upstream, clock),
            spool=spool,
            allowance=Allowance(parse_micros(settings.outage_allowance) // settings.workers),
            payments=payments,
        )
        yield gate
        if gate.tasks:
            await asyncio.wait(gate.tasks, timeout=BACKGROUND_S)
