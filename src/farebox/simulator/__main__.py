"""`python -m farebox.simulator`: the simulated WhatsApp as a process of its own."""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Sequence

import uvloop
from aiohttp import web

from .config import Number, SimulatorConfig
from .pricing import REGIMES
from .whatsapp import SimulatedWhatsApp

# Meta tries for days; a receiver that is down while its developer restarts it is back within this.
WEBHOOK_ATTEMPTS = 8
WEBHOOK_LANES = 8
# Requests under way get this long to end; hanging ones are let go at once.
SHUTDOWN_S = 2.0

EXAMPLES = """\
examples:
  python -m farebox.simulator --port 8090 --webhook-url http://127.0.0.1:8080/webhooks/meta
  curl 127.0.0.1:8090/simulator                                  what it can do besides Meta's API
  curl 127.0.0.1:8090/simulator/inbound -d from=16505551234 -d text=hi        a user writes in
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    defaults = SimulatorConfig()
    result = argparse.ArgumentParser(
        prog="python -m farebox.simulator",
        description="A simulated WhatsApp: speaks Meta's Cloud API, posts signed webhooks, reaches nobody.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=_port, default=8090, help="port to listen on, 0 for a free one (%(default)s)")
    add("--token", default=defaults.token, help="access token that calls must carry (%(default)s)")
    add("--webhook-url", default="", help="where webhooks are posted; PUT /simulator/webhook changes it")
    add("--app-secret", default=defaults.app_secret, help="signs webhooks; empty: unsigned (%(default)s)")
    add(
        "--number",
        action="append",
        type=_number,
        metavar="PHONE_NUMBER_ID:WABA_ID:DISPLAY_NUMBER[:TIME_ZONE]",
        help="a business phone number; may be repeated (106540352242922:102290129340398:15550783881)",
    )
    add("--public-url", default="", help="how links to this server start (its own address)")
    add("--delay", type=float, default=0.2, metavar="SECONDS", help="pause before each status (%(default)s)")
    add("--statuses", default=",".join(defaults.statuses), help="what becomes of a message (%(default)s)")
    add("--batch", type=int, default=1, help="most updates in one webhook (%(default)s)")
    add("--lanes", type=int, default=WEBHOOK_LANES, help="webhook POSTs at once (%(default)s)")
    add("--attempts", type=int, default=WEBHOOK_ATTEMPTS, help="tries for each webhook (%(default)s)")
    add("--webhook-version", default=defaults.webhook_version, help="up to v23.0 adds conversation (%(default)s)")
    add("--regime", default="auto", choices=["auto", *REGIMES], help="pricing rules (%(default)s: by the date)")
    add("--free-pool", type=int, default=defaults.free_pool, help="free service messages a month (%(default)s)")
    add("--remember", type=int, default=defaults.remember, help="accepted messages to keep (%(default)s)")
    add(
        "--no-window-check",
        action="store_true",
        help="deliver free-form messages although the user has not written in the last 24 hours",
    )
    return result


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def _number(text: str) -> Number:
    try:
        return Number.parse(text)
    except (ValueError, KeyError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def config_of(arguments: argparse.Namespace) -> SimulatorConfig:
    """Read the settings from the command line."""
    return SimulatorConfig(
        token=arguments.token,
        app_secret=arguments.app_secret,
        webhook_url=arguments.webhook_url,
        numbers=tuple(arguments.number or (Number(),)),
        public_url=arguments.public_url,
        webhook_version=arguments.webhook_version,
        statuses=tuple(name for name in arguments.statuses.split(",") if name),
        delay_s=arguments.delay,
        webhook_batch=arguments.batch,
        webhook_lanes=arguments.lanes,
        webhook_attempts=arguments.attempts,
        regime=arguments.regime,
        free_pool=arguments.free_pool,
        remember=arguments.remember,
        enforce_window=not arguments.no_window_check,
    )


async def serve(config: SimulatorConfig, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; says one line when it is ready."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, ended.set)
    runner = web.AppRunner(SimulatedWhatsApp(config).app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        address, bound_port = runner.addresses[0][:2]
        shown = f"[{address}]" if ":" in address else address
        sys.stdout.write(f"simulated WhatsApp on http://{shown}:{bound_port} (help: /simulator)\n")
        sys.stdout.flush()
        await ended.wait()
    finally:
        await runner.cleanup()


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="simulated WhatsApp: %(message)s")
    try:
        config = config_of(arguments)
    except ValueError as error:
        parser().error(str(error))
    with contextlib.suppress(KeyboardInterrupt):
        try:
            uvloop.run(serve(config, arguments.host, arguments.port))
        except OSError as error:
            sys.exit(f"simulated WhatsApp: {error.strerror or error}")


if __name__ == "__main__":
    main()
