"""One worker: its parts, its two ports, its background work, and a quiet end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import aiohttp
import asyncpg
from aiohttp import web

from farebox.admin import admin_app
from farebox.config import Settings
from farebox.gate import Gate, open_gate
from farebox.ledger import LedgerUnavailableError
from farebox.server import Gateway
from farebox.sweep import Sweep
from farebox.wallet import WalletUnavailableError

log = logging.getLogger(__name__)

CLOCK_INTERVAL_S = 10  # between two looks at the database's clock: steady clocks drift by microseconds in that time
RECONNECT_S = 1  # pause before listening for changes again after the database was away
DRAIN_S = 30  # how long sends in flight may take to finish after SIGTERM; longer than any healthy upstream answer
CHANNEL = "farebox"  # of NOTIFY, see announce_change() in sql/


def gateway_runner(gate: Gate) -> web.ServerRunner:
    """Return the gateway port's server. Bodies are not decoded here: their Content-Encoding would become a lie."""
    server = web.Server(Gateway(gate).handle, access_log=None, auto_decompress=False)
    return web.ServerRunner(server, shutdown_timeout=DRAIN_S)


async def run_worker(settings: Settings, *, sandbox: bool, ready: Callable[[], None], stop: asyncio.Event) -> None:
    """Serve both ports until `stop`, then finish what is in flight. A sandbox serves the test clock as well."""
    async with open_gate(settings) as gate, AsyncExitStack() as stack:
        sweep = Sweep(gate)
        for loop in (
            _follow_changes(gate),
            _repeat(CLOCK_INTERVAL_S, lambda: gate.clock.sync(gate.ledger), "the clock was not read"),
            _repeat(settings.sweep_interval_s, sweep.run, "the sweep failed"),
            _repeat(settings.template_sync_interval_s, gate.templates.sync, "the templates were not read"),
        ):
            task = asyncio.create_task(loop)
            stack.push_async_callback(_cancelled, task)
        admin = web.AppRunner(
            admin_app(gate, test_clock=(lambda: _clock_moved(gate, sweep)) if sandbox else None),
            access_log=None,
            shutdown_timeout=DRAIN_S,
        )
        for runner, port in ((gateway_runner(gate), settings.gateway_port), (admin, settings.admin_port)):
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, settings.host, port, reuse_port=True).start()
        ready()
        await stop.wait()
        log.info("stopping: finishing what is in flight")


async def _clock_moved(gate: Gate, sweep: Sweep) -> None:
    """Move the simulated WhatsApp's time with ours, then let the background work see the new time."""
    with suppress(aiohttp.ClientError, TimeoutError):  # another upstream keeps its own time
        offset = {"offset_s": gate.clock.offset_ms / 1000}
        async with gate.upstream.session.put(f"{gate.upstream.base_url}/simulator/clock", json=offset):
            pass
    await sweep.run()


async def _follow_changes(gate: Gate) -> None:
    """Read numbers, keys, templates and the clock again whenever the database says that they changed."""
    reload: dict[str, Callable[[], Awaitable[object]]] = {
        "number": lambda: gate.directory.load_numbers(gate.ledger),
        "auth_international": lambda: gate.directory.load_numbers(gate.ledger),
        "volume_tier": lambda: gate.directory.load_numbers(gate.ledger),
        "account": lambda: gate.directory.load_numbers(gate.ledger),
        "api_key": lambda: gate.directory.load_keys(gate.ledger),
        "template": lambda: gate.directory.load_templates(gate.ledger),
        "clock": lambda: gate.clock.sync(gate.ledger),
    }
    while True:
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, LedgerUnavailableError):
            connection = await asyncpg.connect(gate.settings.database_url, timeout=gate.settings.ledger_timeout_s)
            try:
                # Many changes in a row are one reload: names gather in a set while one is under way.
                changed, wake = set(reload), asyncio.Event()
                wake.set()

                def announce(*arguments: object, changed: set[str] = changed, wake: asyncio.Event = wake) -> None:
                    changed.add(str(arguments[-1]))
                    wake.set()

                connection.add_termination_listener(lambda _, wake=wake: wake.set())
                await connection.add_listener(CHANNEL, announce)
                while not connection.is_closed():
                    await wake.wait()
                    wake.clear()
                    while changed:
                        await reload[changed.pop()]()
            finally:
                await connection.close(timeout=1)
        log.warning("changes of settings are not heard at the moment; trying again")
        await asyncio.sleep(RECONNECT_S)


async def _repeat(interval_s: float, work: Callable[[], Awaitable[object]], complaint: str) -> None:
    while True:
        try:
            await work()
        except (LedgerUnavailableError, WalletUnavailableError) as error:
            log.warning("%s: %s", complaint, error)
        except Exception:
            log.exception(complaint)
        await asyncio.sleep(interval_s)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
