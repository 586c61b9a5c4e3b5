"""The command line: `farebox sandbox | serve | migrate | check | quote | explain | reconcile`."""

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NoReturn

import asyncpg
import uvloop

from farebox.assets import asset
from farebox.commands import check, explain, quote
from farebox.commands.opened import UsageError
from farebox.config import Settings, SettingsError, load_settings
from farebox.embedded import EmbeddedError
from farebox.ledger import Ledger, LedgerUnavailableError
from farebox.ports import PortTakenError
from farebox.supervisor import GatewayError
from farebox.tariff_files import TariffError, load_folder
from farebox.wallet import Wallet, WalletUnavailableError

USAGE_EXIT = 2
RECONCILE_TIMEOUT_S = 60  # the sums of a large ledger take longer than a send may wait
EXPECTED = (GatewayError, EmbeddedError, PortTakenError, LedgerUnavailableError, WalletUnavailableError)


def main() -> None:
    """Run the `farebox` command; every error is one line on stderr."""
    options = _parser().parse_args()
    if options.command == "worker":
        _worker()
        return
    if options.command == "check":  # it reports mistakes of the settings, which would stop any other command here
        sys.exit(check.run())
    try:
        settings = load_settings(
            **{name: getattr(options, name, None) for name in ("gateway_port", "admin_port", "data_dir", "workers")}
        )
        logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
        sys.exit(options.run(settings, options))
    except (SettingsError, TariffError, UsageError) as error:
        _fail(error, USAGE_EXIT)
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="farebox",
        description="A prepaid gateway between your applications and the WhatsApp Business API.",
        epilog="Settings: config/farebox.toml < environment FAREBOX_* < options. Try: farebox sandbox",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    sandbox = commands.add_parser(
        "sandbox",
        help="run everything here, with a simulated WhatsApp and a demonstration account",
        description="Run stores, gateway, admin API and a simulated WhatsApp on this machine, and print what to try.",
    )
    sandbox.add_argument("--port", dest="gateway_port", type=int, help="gateway port (8080); 0: every port a free one")
    sandbox.add_argument("--fresh", action="store_true", help="forget balances, messages and keys of earlier runs")
    sandbox.add_argument("--data-dir", type=Path, help="folder of the stores (.farebox)")
    sandbox.add_argument("--workers", type=int, help="worker processes (1)")
    sandbox.add_argument("--quiet", action="store_true", help="do not print what reaches the demonstration application")
    sandbox.set_defaults(run=_sandbox)

    serve = commands.add_parser(
        "serve",
        help="run the gateway for production",
        description="Run the gateway with the stores that FAREBOX_DATABASE_URL and FAREBOX_REDIS_URL name "
        "(without them, its own in the data folder). Needs FAREBOX_ADMIN_TOKEN.",
    )
    serve.add_argument("--port", dest="gateway_port", type=int, help="gateway port (8080); 0 takes a free one")
    serve.add_argument("--admin-port", type=int, help="admin port (8081); 0 takes a free one")
    serve.add_argument("--workers", type=int, help="worker processes that share the ports (1)")
    serve.set_defaults(run=_serve)

    migrate = commands.add_parser("migrate", help="bring the database to the current schema; safe to repeat")
    migrate.set_defaults(run=_migrate)

    check.add(commands)

    reconcile = commands.add_parser(
        "reconcile",
        help="compare wallets with the ledger; exit 1 if they differ",
        description="Compare entries, stored balances, open holds and wallets of every number.",
    )
    reconcile.add_argument("--data-dir", type=Path, help="folder of the embedded stores (.farebox)")
    reconcile.set_defaults(run=_reconcile)

    explain.add(commands).set_defaults(run=lambda settings, options: _run(explain.run(settings, options)))
    quote.add(commands).set_defaults(run=lambda settings, options: _run(quote.run(settings, options)))

    commands.add_parser("worker")  # what the parent process starts; takes its settings from a pipe
    return parser


def _sandbox(settings: Settings, options: argparse.Namespace) -> int:
    from farebox.sandbox import run_sandbox  # noqa: PLC0415  each command loads only what it needs

    simulator_port = 8082
    if options.gateway_port == 0:
        simulator_port, settings = 0, settings.model_copy(update={"admin_port": 0})
    return _run(run_sandbox(settings, simulator_port=simulator_port, fresh=options.fresh, quiet=options.quiet))


def _serve(settings: Settings, _: argparse.Namespace) -> int:
    from farebox.supervisor import serve  # noqa: PLC0415

    if settings.admin_token is None:
        raise SettingsError("FAREBOX_ADMIN_TOKEN is not set: choose a long random token for the admin API")
    load_folder(settings.tariffs_dir or asset("config/tariffs"))  # before anything is started
    return _run(serve(settings))


def _migrate(settings: Settings, _: argparse.Namespace) -> int:
    from farebox.migrate import migrate  # noqa: PLC0415
    from farebox.supervisor import Stop, stores  # noqa: PLC0415

    async def run() -> None:
        async with stores(settings, Stop()) as named:
            assert named.database_url is not None
            applied = await migrate(named.database_url)
        print("\n".join(f"applied {name}" for name in applied) or "the schema is current")  # noqa: T201

    return _run(run())


def _reconcile(settings: Settings, _: argparse.Namespace) -> int:
    from farebox.reconcile import LOOKS, compare  # noqa: PLC0415
    from farebox.supervisor import Stop, stores  # noqa: PLC0415

    async def run() -> int:
        compared = differing = 0
        async with stores(settings, Stop(), guest=True) as named:
            assert named.database_url is not None
            assert named.redis_url is not None
            ledger = await Ledger.connect(named.database_url, timeout_s=RECONCILE_TIMEOUT_S)
            wallet = Wallet(named.redis_url, timeout_s=RECONCILE_TIMEOUT_S)
            try:
                async for comparison in compare(ledger, wallet, looks=LOOKS):
                    compared += 1
                    differing += bool(comparison.differences)
                    for difference in comparison.differences:
                        print(f"number {comparison.number_id} ({comparison.currency}): {difference}")  # noqa: T201
                    if sys.stderr.isatty():
                        print(f"\r{compared} numbers compared", end="", file=sys.stderr)  # noqa: T201
            finally:
                await wallet.aclose()
                await ledger.aclose()
        print(f"{compared} numbers compared, {differing} differ")  # noqa: T201
        return 1 if differing else 0

    return _run(run())


def _worker() -> None:
    """Run one worker: the first line on stdin is its orders, the end of stdin (or SIGTERM) its end."""
    from farebox.app import run_worker  # noqa: PLC0415

    order = json.loads(sys.stdin.readline())
    settings = Settings(**order["settings"])
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")

    def ready() -> None:
        print("ready", flush=True)  # noqa: T201

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_reader(sys.stdin, stop.set)  # nothing else is ever written: it becomes readable at its end
        await run_worker(settings, sandbox=order["sandbox"], ready=ready, stop=stop)

    sys.exit(_run(run()))


def _run(work: Coroutine[Any, Any, int | None]) -> int:
    """Run a command's coroutine; what a person can act on is one line, not a stack trace."""
    try:
        return uvloop.run(work) or 0
    except EXPECTED as error:
        _fail(error, 1)
    except (asyncpg.PostgresError, OSError) as error:
        _fail(f"the database can not be used: {error}", 1)


def _fail(error: Exception | str, code: int) -> NoReturn:
    print(f"farebox: {error}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


if __name__ == "__main__":
    main()
