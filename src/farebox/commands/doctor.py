"""`farebox doctor`: one screen that says what is well, what is not, and what to do."""

import argparse
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg

from farebox.commands import checkups
from farebox.commands.checkups import Finding
from farebox.config import Settings
from farebox.embedded import EmbeddedError
from farebox.gate import open_gate
from farebox.ledger import LedgerUnavailableError
from farebox.supervisor import GatewayError, Stop, stores
from farebox.tariff_files import TariffError
from farebox.wallet import WalletUnavailableError

MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "doctor",
        help="look at settings, stores, clocks, WhatsApp, webhooks and tariffs, and say what to do",
        description="Look at everything that a gateway needs, from where the gateway runs, and print one line each. "
        "Nothing is changed. Exit 1 where something fails.",
    )
    parser.add_argument("--data-dir", type=Path, help="folder of the embedded stores (.farebox)")
    return parser


async def run(settings: Settings, _: argparse.Namespace) -> int:
    """Look at everything and print it; what fails last is what is read first, so failures are summed up at the end."""
    counts = {"ok": 0, "warn": 0, "fail": 0}
    async for finding in findings(settings):
        counts[finding.verdict] += 1
        print(f"{MARKS[finding.verdict]}  {finding.what:<12} {finding.detail}")  # noqa: T201
        if finding.todo:
            print(f"      {'':<12} -> {finding.todo}")  # noqa: T201
    print(f"{counts['ok']} well, {counts['warn']} to look at, {counts['fail']} to mend")  # noqa: T201
    return 1 if counts["fail"] else 0


async def findings(settings: Settings) -> AsyncIterator[Finding]:
    """Look at everything, whatever fails."""
    for finding in checkups.look_at_settings(settings, explicit_stores=settings.database_url is not None):
        yield finding
    for finding in checkups.look_at_tariffs(settings, checkups.today()):
        yield finding
    async for finding in _stores(settings):
        yield finding
    for look in (checkups.look_at_whatsapp, checkups.look_at_webhooks):
        async for finding in look(settings):
            yield finding


async def _stores(settings: Settings) -> AsyncIterator[Finding]:
    try:
        async with stores(settings, Stop(), guest=True) as named:
            async for finding in checkups.look_at_redis(named):
                yield finding
            patient = named.model_copy(update={"ledger_timeout_s": checkups.TIMEOUT_S})
            async with open_gate(patient) as gate:
                async for finding in checkups.look_at_gate(gate):
                    yield finding
    except (GatewayError, EmbeddedError) as error:
        yield Finding("fail", "stores", str(error))
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError):
        yield Finding("fail", "schema", "the database has no tables of farebox", "run farebox migrate")
    except (asyncpg.PostgresError, LedgerUnavailableError, WalletUnavailableError, OSError, TimeoutError) as error:
        detail = f"the database can not be used: {type(error).__name__}"
        yield Finding("fail", "ledger", detail, "see FAREBOX_DATABASE_URL, its server and its password")
    except TariffError:
        return  # said already
