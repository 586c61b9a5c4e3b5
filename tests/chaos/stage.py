"""Everything that runs: stores, simulated WhatsApp, the wire to it, the post, an application, the gateway."""

import asyncio
import os
import random
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

import aiohttp
from aiohttp import web
from aiohttp.test_utils import RawTestServer, TestServer

from chaos.stores import Stores
from chaos.wire import Postman, Upstream
from farebox.simulator import SimulatedWhatsApp, SimulatorConfig
from farebox.simulator.config import Number
from harness import ADMIN_TOKEN, APP_SECRET, NUMBER, UPSTREAM_TOKEN, WABA

POINTS = Path(__file__).parent / "points"
SOURCE = Path(__file__).parents[2] / "src"
POOR = "106540352242923"  # a number whose balance stays at nothing
START_S = 60
REMEMBERED = 1_000_000  # messages: more than any run sends
SETTINGS = {
    "FAREBOX_ADMIN_TOKEN": ADMIN_TOKEN,
    "FAREBOX_APP_SECRET": APP_SECRET,
    "FAREBOX_WORKERS": "2",
    "FAREBOX_UPSTREAM_TIMEOUT_S": "3",  # a half-open socket is given up while the cycle lasts
    "FAREBOX_SWEEP_INTERVAL_S": "0.5",
}


class Stage:
    """The processes, and the strings to pull."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.folder = folder
        self.orders = folder / "orders"
        self.log = folder / "gateway.log"
        self.stores = Stores(folder / "data")
        config = SimulatorConfig(
            token=UPSTREAM_TOKEN,
            app_secret=APP_SECRET,
            webhook_lanes=16,
            webhook_attempts=9,
            webhook_retry_s=0.25,
            remember=REMEMBERED,
            numbers=(Number(), Number(phone_number_id=POOR, display_number="15550783882")),
        )
        self.whatsapp = SimulatedWhatsApp(config)
        self.seen: set[bytes] = set()  # webhooks that reached the application
        self.url = self.admin_url = self.key = self.poor_key = ""
        self._gateway: asyncio.subprocess.Process | None = None
        self._environment: dict[str, str] = {}
        self._ports = ("--port", "0", "--admin-port", "0")

    @classmethod
    @asynccontextmanager
    async def open(cls, seed: int) -> AsyncIterator[Self]:
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="farebox-chaos-")))
            folder.chmod(0o711)  # noqa: ASYNC240
            stage = cls(folder, seed)
            stage.orders.mkdir()
            stack.push_async_callback(stage.stores.stop)
            await stage.stores.start()
            server = await stack.enter_async_context(TestServer(stage.whatsapp.app))
            stage.upstream = Upstream("127.0.0.1", server.port or 0)
            await stage.upstream.start()
            stack.push_async_callback(stage.upstream.stop)
            stage.session = await stack.enter_async_context(
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=15), connector=aiohttp.TCPConnector(limit=0, force_close=True)
                )
            )
            app = await stack.enter_async_context(RawTestServer(stage._application))
            stage._prepare_environment()
            stack.push_async_callback(stage.stop_gateway)
            await stage.start_gateway()
            stage.postman = Postman(stage.url, stage.session, stage.chance)
            post = await stack.enter_async_context(RawTestServer(stage.postman.handle))
            stage.whatsapp.set_webhook(str(post.make_url("/")))
            await stage._set_up(str(app.make_url("/")))
            yield stage

    async def start_gateway(self) -> None:
        """Start it where it was before, and wait until it serves."""
        with self.log.open("ab") as log:
            self._gateway = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "farebox", "serve", *self._ports, stderr=log, env=self._environment
            )
            start = log.tell()
        async with asyncio.timeout(START_S):
            while (found := re.search(r"gateway (\S+) +admin (\S+)", self.logged(start))) is None:
                assert self._gateway.returncode is None, self.logged(start)
                await asyncio.sleep(0.05)
        self.url, self.admin_url = found.groups()
        self._ports = ("--port", self.url.rpartition(":")[2], "--admin-port", self.admin_url.rpartition(":")[2])

    async def stop_gateway(self) -> None:
        if self._gateway is not None and self._gateway.returncode is None:
            self._gateway.terminate()
            await self._gateway.wait()

    async def kill_gateway(self) -> None:
        """Kill all its processes at once."""
        assert self._gateway is not None
        children = Path(f"/proc/{self._gateway.pid}/task/{self._gateway.pid}/children").read_text().split()  # noqa: ASYNC240
        for process in (self._gateway.pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        await self._gateway.wait()
        await until(lambda: self.listeners() == 0, START_S)

    def listeners(self) -> int:
        """How many processes take connections for the gateway."""
        port = f":{int(self._ports[1]):04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(row[1].endswith(port) and row[3] == "0A" for row in rows)

    async def complete(self) -> None:
        """Wait until every worker serves: the next fault is to meet a whole gateway."""
        await until(lambda: self.listeners() == int(SETTINGS["FAREBOX_WORKERS"]), START_S)

    def logged(self, start: int = 0) -> str:
        """What the gateway has logged, from a byte on."""
        with self.log.open("rb") as log:
            return _rest(log, start)

    async def admin(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with self.session.request(method, self.admin_url + path, json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def order(self, point: str, number: signal.Signals, *, within_s: float = 30) -> int:
        """Let the next worker that passes a point send itself a signal; return its process id."""
        (self.orders / "draft").write_text(number.name)
        (self.orders / "draft").rename(self.orders / point)
        async with asyncio.timeout(within_s):
            while (self.orders / point).exists():  # noqa: ASYNC110  the worker says no more than that
                await asyncio.sleep(0.01)
        (taken,) = self.orders.glob(f"{point}.*")
        taken.unlink()
        return int(taken.suffix[1:])

    def _prepare_environment(self) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FAREBOX_")}
        self._environment = {
            **clean,
            **SETTINGS,
            "FAREBOX_DATABASE_URL": self.stores.database_url,
            "FAREBOX_REDIS_URL": self.stores.redis_url,
            "FAREBOX_UPSTREAM_URL": self.upstream.url,
            "PYTHONPATH": f"{POINTS}:{SOURCE}",
            "CHAOS_FOLDER": str(self.orders),
        }

    async def _application(self, request: web.BaseRequest) -> web.Response:
        self.seen.add(await request.read())
        return web.Response()

    async def _set_up(self, app_url: str) -> None:
        async def done(method: str, path: str, body: Any) -> Any:
            status, content = await self.admin(method, path, body)
            assert status < 300, content
            return content

        await done("PUT", "/v1/accounts/a", {"name": "A", "currency": "USD"})
        keys = []
        for number_id in (NUMBER, POOR):
            number = {"account_id": "a", "waba_id": WABA, "currency": "USD", "upstream_token": UPSTREAM_TOKEN}
            await done("PUT", f"/v1/numbers/{number_id}", {**number, "app_url": app_url})
            keys.append((await done("POST", "/v1/keys", {"name": "k", "numbers": [number_id]}))["key"])
        self.key, self.poor_key = keys
        await done("POST", f"/v1/numbers/{NUMBER}/topups", {"amount": "1000000.00", "method": "manual"})


def _rest(log: IO[bytes], start: int) -> str:
    log.seek(start)
    return log.read().decode(errors="replace")


async def until(holds_true: Callable[[], bool], within_s: float) -> None:
    """Wait for something in another process that does not tell."""
    async with asyncio.timeout(within_s):
        while not holds_true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
