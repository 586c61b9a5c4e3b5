"""One worker: its parts, its two ports, its background work, and a quiet end."""

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, suppress

import aiohttp
from aiohttp import web

from farebox import metrics
from farebox.admin import admin_app
from farebox.admin.problems import problem_response
from farebox.admin.routing import TestClock
from farebox.changes import Changes, follow_changes
from farebox.config import Settings
from farebox.daily import reconcile_daily
from farebox.drain import drain
from farebox.gate import Gate, open_gate
from farebox.lane import LaneServer
from farebox.ledger import LedgerUnavailableError
from farebox.listening import IDLE_S, Listening, leave_all, tls_context
from farebox.malformed import AppRunner
from farebox.sweep import Sweep
from farebox.tariff_files import TariffError
from farebox.topups import look_at_all
from farebox.wallet import WalletUnavailableError
from farebox.watch import follow_wakes, slow_pass, tell, watch_pass
from farebox.web import add_pages

log = logging.getLogger(__name__)

CLOCK_INTERVAL_S = 10  # between two looks at the database's clock: steady clocks drift by microseconds in that time
TARIFFS_INTERVAL_S = 10  # between two looks at the tariff files: a card for tomorrow is not in a hurry
DAILY_INTERVAL_S = (
    300  # between two looks whether the books were compared today; also the longest that its metric is old
)
PAYMENTS_INTERVAL_S = 10  # between two passes over payments under way: their events come faster, unless they are lost
KEY_USE_INTERVAL_S = 30  # how long the last use of a key may be unknown
SPOOL_INTERVAL_S = 1  # between two looks whether the stores take what waits on the disk
WATCH_INTERVAL_S = 5  # between two passes over the numbers with rules and levels: what a send's own wake-up missed
LOOP_INTERVAL_S = 0.02  # between two looks at the event loop: blocks longer than this are seen nearly whole
SLOW_INTERVAL_S = 300  # between two looks at what is no matter of seconds: a sum over the holds of the last hour
TELL_INTERVAL_S = 1  # between two looks for alerts that are to be told
GC_ALLOCATIONS = 50_000  # between two looks at the youngest objects: more than sends under way hold, and none stays
DRAIN_S = 30  # how long sends in flight may take to finish after SIGTERM; longer than any healthy upstream answer
END_AGAIN_S = 1.0  # between two tries to end a background task


def gateway_runner(gate: Gate) -> web.ServerRunner:
    """Return the gateway port's server. Bodies are not decoded here: their Content-Encoding would become a lie."""
    server = LaneServer(gate, access_log=None, auto_decompress=False, keepalive_timeout=IDLE_S)
    return web.ServerRunner(server, shutdown_timeout=DRAIN_S)


async def run_worker(settings: Settings, *, sandbox: bool, ready: Callable[[], None], stop: asyncio.Event) -> None:
    """Serve both ports until `stop`, then finish what is in flight. A sandbox serves the test clock as well."""
    assert settings.database_url is not None, "the supervisor names the stores"
    listening_to = await Changes.listening(settings.database_url, timeout_s=settings.ledger_timeout_s)
    async with aclosing(listening_to) as changes, open_gate(settings) as gate, AsyncExitStack() as stack:
        sweep = Sweep(gate)
        metrics.TARIFF_ERRORS.set(0)  # no gate opens with wrong ones
        for loop in (
            follow_changes(gate, changes),
            _repeat(CLOCK_INTERVAL_S, lambda: gate.clock.sync(gate.ledger), "the clock was not read"),
            _repeat(TARIFFS_INTERVAL_S, lambda: asyncio.to_thread(reload_tariffs, gate), "the tariffs were not read"),
            _repeat(KEY_USE_INTERVAL_S, lambda: gate.directory.note_use(gate.ledger), "the use of keys was not noted"),
            _repeat(SPOOL_INTERVAL_S, lambda: drain(gate), "the spool was not told"),
            _repeat(settings.sweep_interval_s, sweep.run, "the sweep failed"),
            _repeat(PAYMENTS_INTERVAL_S, lambda: look_at_all(gate), "payments were not looked at"),
            _repeat(DAILY_INTERVAL_S, lambda: reconcile_daily(gate), "the daily comparison failed"),
            follow_wakes(gate),
            _watch_loop(),
            _repeat(WATCH_INTERVAL_S, lambda: watch_pass(gate), "the numbers were not watched"),
            _repeat(SLOW_INTERVAL_S, lambda: slow_pass(gate), "spikes and cards were not looked at"),
            _repeat(TELL_INTERVAL_S, lambda: tell(gate), "alerts were not told"),
            _repeat(settings.template_sync_interval_s, gate.templates.sync, "the templates were not read"),
        ):
            task = asyncio.create_task(loop)
            stack.push_async_callback(_cancelled, task)
        admin = _admin_runner(gate, (lambda: _clock_moved(gate, sweep)) if sandbox else None)
        tls = None
        if settings.tls_certificate is not None and settings.tls_key is not None:
            tls = tls_context(settings.tls_certificate, settings.tls_key)
        listening = []
        for runner, port in ((gateway_runner(gate), settings.gateway_port), (admin, settings.admin_port)):
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            listening.append(await Listening.open(runner, settings.host, port, tls))
        _spare_the_collector()
        ready()
        await stop.wait()
        log.info("stopping: finishing what is in flight")
        gate.leaving.set()
        await leave_all(listening)


def _spare_the_collector() -> None:
    """Let garbage collection pass over what was loaded at the start, and run less often.

    Tariffs, numbering plans and modules are half a million objects that stay; looking through them again and again
    cost an eighth of a send, and pauses of a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 20, 20)


def _admin_runner(gate: Gate, test_clock: TestClock | None) -> web.AppRunner:
    app = admin_app(gate, test_clock=test_clock)
    add_pages(app, gate, sandbox=test_clock is not None)

    async def take_leave(_: web.Request, response: web.StreamResponse) -> None:
        if gate.leaving.is_set():
            response.force_close()
            response.headers["Connection"] = "close"  # the signal comes after aiohttp has written its own

    app.on_response_prepare.append(take_leave)
    return AppRunner(app, refuse=problem_response, access_log=None, shutdown_timeout=DRAIN_S, keepalive_timeout=IDLE_S)


def reload_tariffs(gate: Gate) -> None:
    """Take over tariff files that have changed. Wrong ones are reported, and those loaded before stay in force."""
    try:
        if gate.tariffs.reload():
            log.info("tariffs read again: %s", ", ".join(gate.tariffs.names))
            metrics.TARIFF_ERRORS.set(0)
    except TariffError as error:
        metrics.TARIFF_ERRORS.set(len(error.mistakes))
        for mistake in error.mistakes:
            log.error("tariffs not read again, the ones before stay in force: %s", mistake)  # noqa: TRY400  no stack


async def _clock_moved(gate: Gate, sweep: Sweep) -> None:
    """Move the simulated WhatsApp's time with ours, then let the background work see the new time."""
    with suppress(aiohttp.ClientError, TimeoutError):  # another upstream keeps its own time
        offset = {"offset_s": gate.clock.offset_ms / 1000}
        async with gate.upstream.session.put(f"{gate.upstream.base_url}/simulator/clock", json=offset):
            pass
    await sweep.run()
    await look_at_all(gate)
    await watch_pass(gate)


async def _watch_loop() -> None:
    """Note how late the event loop comes back to a timer."""
    while True:
        due = time.perf_counter() + LOOP_INTERVAL_S
        await asyncio.sleep(LOOP_INTERVAL_S)
        metrics.LOOP_LATE.observe(max(0.0, time.perf_counter() - due))


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
    """End a task; once more where a library took the end for a failure of its own, and the task went on."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=END_AGAIN_S)
