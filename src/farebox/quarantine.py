"""News that the books could not take: kept in the ledger with a reason, shown, and told again on demand.

One piece that fails must stop neither the relay nor the other pieces of its payload, and must not be lost in a log.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from typing import Any

from farebox import metrics
from farebox.ledger import Ledger
from farebox.news import Kind, Piece

log = logging.getLogger(__name__)

# Open rows of one kind: a sender that only ever errs must not fill the disk, and nobody reads more. A kind has its own
# share, so that statuses of numbers that are not ours push nothing else out.
MAX_OPEN = 10_000
KEEP_RESOLVED_MS = 30 * 86_400_000  # what was told again with success is kept for a month, for whoever asks


class HeldError(Exception):
    """A piece can not be taken as things are; the text says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Row:
    """A piece in quarantine."""

    quarantine_id: int
    piece: Piece


def reason_of(error: Exception) -> str:
    """Return one sentence about an error. Foreign errors may quote what they failed on, so only their type is told."""
    if isinstance(error, HeldError):
        return str(error)
    return f"The bookkeeping failed with {type(error).__name__}; the log of farebox has the stack."


async def put(ledger: Ledger, piece: Piece, reason: str, now_ms: int) -> None:
    """Keep a piece; a repeated one is one row. Where too many of its kind are open it is counted and dropped.

    Raises LedgerUnavailableError.
    """
    payload = json.dumps(piece.content, sort_keys=True)
    digest = hashlib.sha256(json.dumps([piece.kind.value, piece.about, payload]).encode()).digest()
    row = await ledger.fetch_one(
        "put_quarantine", piece.about, piece.kind.value, reason, payload, digest, now_ms, MAX_OPEN
    )
    metrics.QUARANTINED.labels(piece.kind.value, "kept" if row is not None else "dropped").inc()
    if row is None:
        log.error("the quarantine is full: a piece of kind %s is dropped (%s)", piece.kind.value, reason)


async def find(ledger: Ledger, quarantine_id: int) -> Row | None:
    """Return an open row."""
    row = await ledger.fetch_one("quarantine_row", quarantine_id)
    return None if row is None else _row(row)


async def open_after(ledger: Ledger, after: int, limit: int) -> list[Row]:
    """Return open rows, the oldest first."""
    return [_row(row) for row in await ledger.fetch("quarantine_open", after, limit)]


async def resolve(ledger: Ledger, quarantine_id: int, now_ms: int) -> None:
    """Mark a row as told with success."""
    await ledger.fetch("resolve_quarantine", quarantine_id, now_ms)


async def keep(ledger: Ledger, quarantine_id: int, reason: str) -> None:
    """Keep a row that failed again, with the new reason."""
    await ledger.fetch("keep_quarantine", quarantine_id, reason)


async def forget(ledger: Ledger, now_ms: int) -> None:
    """Delete rows that were resolved long ago."""
    await ledger.fetch("forget_quarantine", now_ms - KEEP_RESOLVED_MS)


def _row(row: Any) -> Row:
    return Row(row["quarantine_id"], Piece(Kind(row["kind"]), row["about"], json.loads(row["payload"])))
