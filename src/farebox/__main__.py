"""The command line: `farebox sandbox | serve | migrate | check | quote | explain | replay | reconcile | ...`."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NoReturn

import asyncpg
import uvloop

from farebox.assets import asset
from farebox.commands import check, doctor, explain, quote, reconcile, rekey, replay, retain, sweep, topup, user
from farebox.commands.opened import UsageError
from farebox.config import Settings, SettingsError, load_settings
from farebox.embedded import EmbeddedError
from farebox.ledger import LedgerUnavailableError
from farebox.logs import start_logs
from farebox.ports import PortTakenError
from farebox.strength import weakness
from farebox.supervisor import GatewayError
from farebox.tariff_files import TariffError, load_folder
from farebox.traces import start_traces
from farebox.vault import VaultError
from farebox.wallet import WalletUnavailableError

USAGE_EXIT = 2
EXPECTED = (GatewayError, VaultError, EmbeddedError, PortTakenError, LedgerUnavailableError, WalletUnavailableError)


def main() -> None:
    """Run the `farebox` command; every error is one line on stderr."""
    options = _parser().parse_args()
    if options.command == "worker":
        _worker()
        return
    if options.command == "check":  # it reports mistakes of the settings, which would stop any other command here
        sys.exit(check.run())
    try:
        settings = load_settings(**given(options))
        start_logs(settings.log_level, settings.log_format)
        sys.exit(options.run(settings, options))
    except (SettingsError, TariffError, UsageError) as error:
        _fail(error, USAGE_EXIT)
    except KeyboardInterrupt:
        sys.exit(130)


def given(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that the command line names."""
    return {name: getattr(options, name, None) for name in ("gateway_port", "admin_port", "data_dir", "workers")}


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
    serve.add_argument(
        "--take-over",
        action="store_true",
        help="share the ports of a gateway that runs; end that one (SIGTERM) once this one says that it serves",
    )
    serve.set_defaults(run=_serve)

    migrate = commands.add_parser("migrate", help="bring the database to the current schema; safe to repeat")
    migrate.add_argument(
        "--grant-to", metavar="ROLE", help="give the gateway's own database role its rights: the ledger append-only"
    )
    migrate.set_defaults(run=_migrate)

    check.add(commands)

    reconcile.add(commands).set_defaults(run=lambda settings, options: _run(reconcile.run(settings, options)))
    sweep.add(commands).set_defaults(run=lambda settings, options: _run(sweep.run(settings, options)))
    retain.add(commands).set_defaults(run=lambda settings, options: _run(retain.run(settings, options)))
    explain.add(commands).set_defaults(run=lambda settings, options: _run(explain.run(settings, options)))
    replay.add(commands).set_defaults(run=lambda settings, options: _run(replay.run(settings, options)))
    topup.add(commands).set_defaults(run=lambda settings, options: _run(topup.run(settings, options)))
    user.add(commands).set_defaults(run=lambda settings, options: _run(user.run(settings, options)))
    quote.add(commands).set_defaults(run=lambda settings, options: _run(quote.run(settings, options)))

    rekey.add(commands).set_defaults(run=lambda settings, options: _run(rekey.run(settings, options)))
    doctor.add(commands).set_defaults(run=lambda settings, options: _run(doctor.run(settings, options)))

    commands.add_parser("worker")  # what the parent process starts; takes its settings from a pipe
    return parser


def _sandbox(settings: Settings, options: argparse.Namespace) -> int:
    from farebox.sandbox import run_sandbox  # noqa: PLC0415  each command loads only what it needs

    simulator_port = 8082
    if options.gateway_port == 0:
        simulator_port, settings = 0, settings.model_copy(update={"admin_port": 0})
    return _run(run_sandbox(settings, simulator_port=simulator_port, fresh=options.fresh, quiet=options.quiet))


def _serve(settings: Settings, options: argparse.Namespace) -> int:
    from farebox.supervisor import serve  # noqa: PLC0415

    if settings.admin_token is None:
        raise SettingsError("FAREBOX_ADMIN_TOKEN is not set: choose a long random token for the admin API")
    weak = weakness(settings.admin_token.get_secret_value())
    if weak:
        raise SettingsError(f"FAREBOX_ADMIN_TOKEN {weak}: choose a long random one, e.g. openssl rand -hex 24")
    if options.take_over and not (settings.database_url and settings.redis_url):
        raise UsageError(
            "--take-over needs FAREBOX_DATABASE_URL and FAREBOX_REDIS_URL: embedded stores end with their gateway"
        )
    if options.take_over and not (settings.gateway_port and settings.admin_port):
        raise UsageError("--take-over needs the ports of the gateway that runs; 0 is a free one")
    load_folder(settings.tariffs_dir or asset("config/tariffs"))  # before anything is started

    def read_again() -> Settings:
        return load_settings(**given(options))

    return _run(serve(settings, take_over=options.take_over, read_again=read_again))


def _migrate(settings: Settings, options: argparse.Namespace) -> int:
    from farebox.migrate import migrate  # noqa: PLC0415
    from farebox.supervisor import Stop, stores  # noqa: PLC0415

    async def run() -> None:
        async with stores(settings, Stop()) as named:
            assert named.database_url is not None
            applied = await migrate(named.database_url, grant_to=options.grant_to)
        print("\n".join(f"applied {name}" for name in applied) or "the schema is current")  # noqa: T201

    return _run(run())


def _worker() -> None:
    """Run one worker: the first line on stdin is its orders, the end of stdin (or SIGTERM) its end."""
    from farebox.app import run_worker  # noqa: PLC0415

    order = json.loads(sys.stdin.readline())
    settings = Settings(**order["settings"])
    start_logs(settings.log_level, settings.log_format)
    start_traces()

    def ready() -> None:
        print("ready", flush=True)  # noqa: T201

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        def end() -> None:
            stop.set()
            loop.remove_reader(sys.stdin)  # its end would be told again and again

        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_reader(sys.stdin, end)  # nothing else is ever written: it becomes readable at its end
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
