"""Months of the ledger: their partitions are made ahead of time, and dropped when they are old.

What makes this exact is in `sql/0008_months.sql`; here is the order of the steps. A month is dropped in two: it is
frozen, which waits for whoever is changing it, and then its totals are carried and its tables dropped, in one
transaction.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

import asyncpg

from farebox.ledger import Ledger
from farebox.migrate import AHEAD

# A message lives for 30 days and its "read" may come later: with two whole months beside the current one, a status
# of a dropped message is at least 59 days old.
MIN_KEPT = 2


class MonthError(Exception):
    """A month can not be dropped now; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Month:
    """A month of the ledger and what is in it."""

    month: date
    holds: int
    open: int
    entries: int

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}: {self.holds:,} holds, {self.entries:,} entries"


async def make_partitions(ledger: Ledger, now_ms: int) -> int:
    """Make what is missing of this month's partitions and the next ones'; return how many were made."""
    row = await ledger.fetch_one("make_partitions", now_ms, AHEAD)
    assert row is not None, "a function returns a value"
    return int(row["made"])


async def old_months(ledger: Ledger, now_ms: int, keep_months: int) -> list[date]:
    """Return the months before the current one and the `keep_months` before it, oldest first."""
    rows = await ledger.fetch("months", first_kept(now_ms, keep_months))
    return [row["month"] for row in rows]


def first_kept(now_ms: int, keep_months: int) -> date:
    """Return the first day of the oldest month that is kept."""
    now = datetime.fromtimestamp(now_ms // 1000, UTC)
    months = now.year * 12 + now.month - 1 - keep_months
    return date(months // 12, months % 12 + 1, 1)


async def drop_months(ledger: Ledger, months: list[date], now_ms: int, *, dry_run: bool) -> AsyncIterator[Month]:
    """Drop months, oldest first, and yield each that is gone; a dry run only says what it would drop.

    Raises MonthError where a hold is still open, or where the tables are too busy; months before that one are gone.
    """
    for month in months:
        row = await ledger.fetch_one("month_counts", month)
        assert row is not None, "counts are a row"
        found = Month(month, row["holds"], row["open"], row["entries"])
        if found.open:
            raise _still_open(month, found.open)
        if not dry_run:
            await _drop(ledger, month, now_ms)
        yield found


async def _drop(ledger: Ledger, month: date, now_ms: int) -> None:
    try:
        frozen = await ledger.fetch_one("freeze_month", month)
        assert frozen is not None, "a function returns a value"
        if frozen["open"]:  # one came between counting and freezing
            raise _still_open(month, frozen["open"])
        await ledger.fetch("drop_month", month, now_ms)
    except asyncpg.LockNotAvailableError as error:
        raise MonthError(f"{month:%Y-%m} is too busy to be dropped: run this again at a quieter time") from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise MonthError("only the owner of the tables drops months: run this with the role that migrates") from error


def _still_open(month: date, count: int) -> MonthError:
    return MonthError(f"{month:%Y-%m} has {count:,} open holds: run farebox sweep, or keep more months")
