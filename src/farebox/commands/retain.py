"""`farebox retain`: drops old months of the ledger and keeps their totals."""

import argparse
import sys
from pathlib import Path

from farebox.acting import acting, by_command
from farebox.commands.opened import UsageError
from farebox.config import Settings
from farebox.ledger import Ledger
from farebox.partitions import MIN_KEPT, MonthError, drop_months, old_months
from farebox.supervisor import Stop, stores

TIMEOUT_S = 6 * 3600  # adding up a large month takes minutes; the gateway runs on meanwhile


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "retain",
        help="drop old months of holds and entries and keep their totals",
        description="Drop the months before the last N whole ones. Balances and usage stay exact: the totals are kept. "
        "Needs the role that owns the tables; the gateway may be running.",
    )
    parser.add_argument(
        "--keep-months", type=int, required=True, metavar="N", help=f"whole months kept, from {MIN_KEPT}"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be dropped, and drop nothing")
    parser.add_argument("--data-dir", type=Path, help="folder of the embedded stores (.farebox)")
    return parser


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Drop months and say which; 1 where one has to stay."""
    if options.keep_months < MIN_KEPT:
        raise UsageError(f"--keep-months must be {MIN_KEPT} or more: statuses of younger messages may still come")
    async with stores(settings, Stop(), guest=True) as named:
        assert named.database_url is not None, "the stores are named by now"
        ledger = await Ledger.connect(named.database_url, timeout_s=TIMEOUT_S)
        try:
            return await _drop(ledger, options.keep_months, dry_run=options.dry_run)
        finally:
            await ledger.aclose()


async def _drop(ledger: Ledger, keep_months: int, *, dry_run: bool) -> int:
    now = await ledger.fetch_one("now")
    assert now is not None, "the clock has a row"
    months = await old_months(ledger, now["now_ms"], keep_months)
    done = 0
    _progress(done, len(months))
    try:
        async for month in drop_months(ledger, months, now["now_ms"], dry_run=dry_run):
            done += 1
            if not dry_run:
                with acting(by_command("retain", why=f"the last {keep_months} whole months are kept")):
                    counts = {"holds": month.holds, "entries": month.entries}
                    await ledger.note("dropped", "month", f"{month.month:%Y-%m}", before=counts, after=None)
            _progress(done, len(months))
            print(f"{month}{' would be dropped' if dry_run else ' dropped'}")  # noqa: T201
    except MonthError as error:
        print(f"farebox: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(f"{done} months {'would be ' if dry_run else ''}dropped, the last {keep_months} and the current one kept")  # noqa: T201
    return 0


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty() and total:
        filled = 30 * done // total
        print(f"\r[{'#' * filled}{'.' * (30 - filled)}] {done} of {total} months ", end="", file=sys.stderr)  # noqa: T201
