"""The parent process: stores (if they are ours), migrations, workers, and the order in which all of it ends."""

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from farebox import ports
from farebox.config import Settings, SettingsError
from farebox.embedded import DataInUse, EmbeddedStores
from farebox.migrate import migrate

log = logging.getLogger(__name__)

STOP_S = 45  # a worker takes leave, drains for 30 s and keeps its books; past this it is killed, for the sweep to tidy
START_S = 30  # a worker that is not ready by then never will be
KEPT = ("host", "gateway_port", "admin_port", "data_dir", "database_url", "redis_url", "workers")  # as it was started
RESTART_S = 1  # pause before a worker that died is started again, so that a broken one does not spin


class GatewayError(Exception):
    """The gateway can not start or go on; the text says why and what to do."""


class Stop:
    """The wish to end: a signal, or the death of something that the gateway can not be without."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.failure: str | None = None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._event.set)

    async def wait(self) -> None:
        """Wait for the end; raises GatewayError where it is no wish but a failure."""
        await self._event.wait()
        if self.failure is not None:
            raise GatewayError(self.failure)

    async def on_death(self, death: Awaitable[str]) -> None:
        """End the gateway when something dies, with what it says about it."""
        self.failure = await death
        self._event.set()


@asynccontextmanager
async def stores(
    settings: Settings, stop: Stop, *, fresh: bool = False, guest: bool = False
) -> AsyncIterator[Settings]:
    """Yield settings that name both stores: those given, or our own in the data folder, started here.

    A guest uses the embedded stores of a farebox that runs already.
    """
    if (settings.database_url is None) != (settings.redis_url is None):
        raise GatewayError("set both FAREBOX_DATABASE_URL and FAREBOX_REDIS_URL, or neither to run the embedded stores")
    if settings.database_url is not None:
        yield settings
        return
    embedded = EmbeddedStores(settings.data_dir, fresh=fresh)
    named = settings.model_copy(update={"database_url": embedded.database_url, "redis_url": embedded.redis_url})
    try:
        await embedded.start()
    except DataInUse:
        if not guest:
            raise
        yield named
        return
    watch = asyncio.create_task(stop.on_death(embedded.wait_for_exit()))
    try:
        yield named
    finally:
        watch.cancel()
        await embedded.stop()


class Workers:
    """The worker processes of one gateway."""

    def __init__(self, settings: Settings, *, sandbox: bool) -> None:
        self._sandbox = sandbox
        self._order = self._order_of(settings)
        self._count = settings.workers
        self._leaving: set[asyncio.subprocess.Process] = set()
        self._processes: set[asyncio.subprocess.Process] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._metrics = tempfile.mkdtemp(prefix="farebox-metrics-")

    async def start(self) -> None:
        """Start all workers and wait until they serve."""
        started = await asyncio.gather(*(self._spawn() for _ in range(self._count)))
        self._keepers = [asyncio.create_task(self._keep(process)) for process in started]

    def _order_of(self, settings: Settings) -> bytes:
        return json.dumps({"settings": _plain(settings), "sandbox": self._sandbox}).encode() + b"\n"

    async def replace(self, settings: Settings) -> None:
        """Let new workers with these settings take the place of all that run, one by one.

        Raises GatewayError where a new one does not start: the old ones that are left go on.
        """
        before, self._order = self._order, self._order_of(settings)
        for process in list(self._processes):
            try:
                new = await self._spawn()
            except GatewayError:
                self._order = before
                raise
            self._keepers.append(asyncio.create_task(self._keep(new)))
            self._leaving.add(process)
            process.terminate()  # it serves what it has, and what is still coming goes to the others

    async def stop(self) -> None:
        """Let the workers finish what is in flight; kill the one that does not."""
        for keeper in self._keepers:
            keeper.cancel()
        for process in self._processes:
            if process.returncode is None:
                process.terminate()
        waits = [asyncio.create_task(process.wait()) for process in self._processes]
        if waits:
            await asyncio.wait(waits, timeout=STOP_S)
        for process in self._processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        shutil.rmtree(self._metrics, ignore_errors=True)

    async def _spawn(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "farebox",
            "worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": self._metrics},
            start_new_session=True,  # a terminal's Ctrl-C reaches the parent only, which stops everything in order
        )
        self._processes.add(process)
        assert process.stdin is not None
        assert process.stdout is not None
        # The worker's settings come by pipe, so that no secret stands in an environment or a process list. The pipe
        # stays open: when this process dies, however, its end tells the worker to stop.
        process.stdin.write(self._order)
        try:
            async with asyncio.timeout(START_S):
                line = await process.stdout.readline()
        except TimeoutError:
            line = b""
        if line.strip() != b"ready":
            self._processes.discard(process)
            if process.returncode is None:
                process.kill()
            raise GatewayError("a worker did not start; the lines above say why")
        return process

    async def _keep(self, process: asyncio.subprocess.Process) -> None:
        """Start a worker again whenever it dies."""
        while True:
            code = await process.wait()
            self._processes.discard(process)
            if process in self._leaving:
                self._leaving.discard(process)
                mark_process_dead(process.pid, self._metrics)  # type: ignore[no-untyped-call]
                return
            mark_process_dead(process.pid, self._metrics)  # type: ignore[no-untyped-call]  # what waited there is gone
            log.error("a worker ended with %d; starting another", code)
            await asyncio.sleep(RESTART_S)
            try:
                process = await self._spawn()
            except GatewayError:
                log.exception("the new worker did not start; trying again")


async def serve(
    settings: Settings, *, take_over: bool = False, read_again: Callable[[], Settings] | None = None
) -> None:
    """Run the gateway until SIGTERM or SIGINT. To `take_over` is to share the ports of one that is about to end.

    On SIGHUP the settings are `read_again` and new workers take the place of the old ones, without a request refused.
    """
    stop = Stop()
    async with AsyncExitStack() as stack:
        settings = reserve_ports(stack, settings, take_over=take_over)
        settings = await stack.enter_async_context(stores(settings, stop))
        workers = await run_gateway(stack, settings, sandbox=False)
        if read_again is not None:
            _on_hangup(stack, workers, settings, read_again)
        base = f"http://{settings.host}"
        log.info("gateway %s:%d   admin %s:%d", base, settings.gateway_port, base, settings.admin_port)
        await stop.wait()


def _on_hangup(
    stack: AsyncExitStack, workers: "Workers", running: Settings, read_again: Callable[[], Settings]
) -> None:
    """Take over changed settings on SIGHUP. Ports, folder and stores stay: the parent holds them."""
    hangups, loop = asyncio.Event(), asyncio.get_running_loop()

    async def take_over() -> None:
        while True:
            await hangups.wait()
            hangups.clear()
            try:
                kept = {name: getattr(running, name) for name in KEPT}
                await workers.replace(read_again().model_copy(update=kept))
            except (SettingsError, GatewayError) as error:
                log.error("settings not taken over, those before stay in force: %s", error)  # noqa: TRY400  no stack
            else:
                log.info("settings and tariffs read again; new workers serve")

    task = asyncio.create_task(take_over())
    stack.callback(task.cancel)
    loop.add_signal_handler(signal.SIGHUP, hangups.set)


async def run_gateway(stack: AsyncExitStack, settings: Settings, *, sandbox: bool) -> "Workers":
    """Migrate and start the workers; the stack stops them."""
    assert settings.database_url is not None, "the stores are named by now"
    for name in await migrate(settings.database_url):
        log.info("migration %s applied", name)
    workers = Workers(settings, sandbox=sandbox)
    stack.push_async_callback(workers.stop)
    await workers.start()
    return workers


def reserve_ports(stack: AsyncExitStack, settings: Settings, *, take_over: bool = False) -> Settings:
    """Reserve both ports and return settings that name them."""
    gateway = stack.enter_context(ports.reserve(settings.host, settings.gateway_port, "gateway", take_over=take_over))
    admin = stack.enter_context(ports.reserve(settings.host, settings.admin_port, "admin", take_over=take_over))
    return settings.model_copy(update={"gateway_port": ports.number_of(gateway), "admin_port": ports.number_of(admin)})


def _plain(settings: Settings) -> dict[str, object]:
    """Return settings as JSON can carry them, secrets included: they go to our own child."""
    plain: dict[str, object] = {}
    for name, value in settings:
        if hasattr(value, "get_secret_value"):
            plain[name] = value.get_secret_value()
        else:
            plain[name] = str(value) if isinstance(value, Path) else value
    return plain
