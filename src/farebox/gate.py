"""What every request passes through: the parts of one worker, made once and handed on."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from farebox.assets import asset
from farebox.clock import Clock
from farebox.config import Settings
from farebox.core.recipient import load_plans
from farebox.directory import Directory
from farebox.funds import Funds
from farebox.groups import Groups
from farebox.ledger import Ledger
from farebox.rebuild import Rebuild
from farebox.registry import Registry
from farebox.tariffs import Tariffs
from farebox.templates import Templates
from farebox.upstream import Upstream
from farebox.wallet import Wallet

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
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
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
        upstream = Upstream(settings.upstream_url, timeout_s=settings.upstream_timeout_s)
        stack.push_async_callback(upstream.aclose)
        clock, directory = Clock(), Directory()
        await clock.sync(ledger)
        await directory.load(ledger)
        rebuild = Rebuild(wallet, ledger, clock, tariffs)
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
        )
        yield gate
        if gate.tasks:
            await asyncio.wait(gate.tasks, timeout=BACKGROUND_S)
