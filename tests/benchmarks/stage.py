"""What a benchmark measures on: stores that are durable as in production, an upstream, and gateways as processes."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp

from benchmarks.peers.nginx import start_nginx
from benchmarks.population import populate
from benchmarks.processes import POLL_S, START_S, Running, python, start
from farebox.config import Settings
from farebox.embedded import EmbeddedStores
from farebox.gate import open_gate
from farebox.migrate import migrate
from harness import ADMIN_TOKEN, APP_SECRET
from stores.servers import free_ports


@dataclass
class Stage:
    """Everything that runs; what is started on it ends with it."""

    folder: Path
    stores: EmbeddedStores
    upstream: Running
    _stack: AsyncExitStack = field(repr=False)

    def store_pids(self) -> dict[str, int]:
        """Return the process ids of both stores by name."""
        return {child.name.lower(): child.pid for child in self.stores._children}

    async def gateway(self, *, workers: int = 1, log_level: str = "INFO") -> Running:
        """Start a gateway that serves until the end."""
        return await self._stack.enter_async_context(self.serving(workers=workers, log_level=log_level))

    @asynccontextmanager
    async def serving(self, *, workers: int = 1, log_level: str = "INFO") -> AsyncIterator[Running]:
        """Run a gateway on these stores, its settings the defaults but for what a benchmark needs."""
        name = f"gateway-{workers}-{log_level.lower()}"
        environment = {
            "FAREBOX_DATABASE_URL": self.stores.database_url,
            "FAREBOX_REDIS_URL": self.stores.redis_url,
            "FAREBOX_UPSTREAM_URL": self.upstream.url,
            "FAREBOX_ADMIN_TOKEN": ADMIN_TOKEN,
            "FAREBOX_APP_SECRET": APP_SECRET,
            "FAREBOX_WORKERS": str(workers),
            "FAREBOX_LOG_LEVEL": log_level,
            "FAREBOX_DATA_DIR": str(self.folder / name),
            "FAREBOX_WALLET_TIMEOUT_S": "2",  # a busy machine is no dead store
        }
        gateway_port, admin_port = free_ports(2)
        command = python("farebox", "serve", "--port", str(gateway_port), "--admin-port", str(admin_port))
        # Asked, because it does not say that it serves where it says nothing but warnings.
        async with start(name, command, self.folder, ready=r"\A()", more=environment) as running:
            await _ready(f"http://127.0.0.1:{admin_port}/readyz")
            yield replace(running, url=f"http://127.0.0.1:{gateway_port}", said=f"admin http://127.0.0.1:{admin_port}")

    async def bare(self) -> Running:
        """Start the proxy that enforces nothing."""
        command = python("benchmarks.peers.bare", self.upstream.url)
        return await self._stack.enter_async_context(start("bare", command, self.folder, ready=r"serves (\S+)"))

    async def nginx(self) -> Running:
        """Start nginx with Lua; it must be installed."""
        starting = start_nginx(self.folder, upstream_url=self.upstream.url, redis_url=self.stores.redis_url)
        return await self._stack.enter_async_context(starting)

    async def rebuild_wallets(self) -> None:
        """Write the wallets of all numbers, as a gateway has them after the first send of each."""
        settings = Settings(
            database_url=self.stores.database_url,
            redis_url=self.stores.redis_url,
            data_dir=self.folder,
            wallet_timeout_s=5,
            ledger_timeout_s=30,
        )
        async with open_gate(settings) as gate:
            await gate.rebuild.ahead()
            await gate.rebuild.settled()


@asynccontextmanager
async def open_stage(*, numbers: int = 1) -> AsyncIterator[Stage]:
    """Start the stores and the upstream, and fill the ledger with numbers that have money."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="farebox-bench-")))
        folder.chmod(0o711)  # noqa: ASYNC240  the stores' user must be able to enter
        stores = await stack.enter_async_context(EmbeddedStores(folder))
        await migrate(stores.database_url)
        command = python("benchmarks.peers.upstream")
        upstream = await stack.enter_async_context(start("upstream", command, folder, ready=r"serves (\S+)"))
        await populate(stores.database_url, numbers, app_url=f"{upstream.url}/application")
        stage = Stage(folder, stores, upstream, stack)
        await stage.rebuild_wallets()
        yield stage


async def _ready(url: str) -> None:
    """Wait until a gateway says that it is ready."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(START_S):
        while True:
            with suppress(aiohttp.ClientError):
                async with session.get(url) as answer:
                    if answer.ok:
                        return
            await asyncio.sleep(POLL_S)
