"""Tells the news of the spool when the stores answer again: this worker's, and what dead workers left."""

import asyncio
import logging
from collections.abc import Sequence

from farebox import metrics
from farebox.gate import UNAVAILABLE, Gate
from farebox.intake import tell
from farebox.news import Kind, Piece
from farebox.spool import SpoolError, SpoolFile

log = logging.getLogger(__name__)

# A send before what became of it, and both before its statuses. Within a kind, as it was written.
_ORDER = {kind: place for place, kind in enumerate((Kind.SEND, Kind.TAKEN, Kind.NOT_TAKEN, Kind.INBOUND))}
MAX_AT_ONCE = 8  # numbers whose news is told at the same time: as many as a worker has connections to the ledger


async def drain(gate: Gate) -> int:
    """Tell what waits in the spool and return how many pieces were told; what can not be told yet waits on."""
    if not gate.spool.waits():
        gate.spool.away = False
        gate.allowance.accounted()
        return 0
    told = 0
    left: list[SpoolFile] = []
    try:
        left = await gate.spool.left_behind()
        for file in left:
            told += await _tell(gate, file)
        own = await gate.spool.open()
        told += await _tell(gate, own)
    except UNAVAILABLE as error:
        if not gate.spool.away:
            log.warning("the spool waits for the stores: %s", error or "overloaded")
        gate.spool.away = True
    except SpoolError as error:
        log.error("the spool can not be told: %s", error)  # noqa: TRY400  no stack: the disk is at fault
    finally:
        for file in left:
            file.close()
    if told:
        log.info("%d pieces of news told from the spool", told)
    return told


async def _tell(gate: Gate, file: SpoolFile) -> int:
    told = 0
    while True:
        pieces, end = await gate.spool.read(file)
        if end == file.told_bytes:
            return told
        await _tell_numbers(gate, pieces)
        gate.spool.away = False  # the stores answer: what comes now need not wait behind what is left here
        await gate.spool.told(file, end, emptied=gate.allowance.accounted if file is gate.spool.own else _nothing)
        told += len(pieces)


async def _tell_numbers(gate: Gate, pieces: Sequence[Piece]) -> None:
    """Tell news number by number, several at a time: of different numbers no piece depends on another's."""
    by_number: dict[str, list[Piece]] = {}
    for piece in pieces:
        by_number.setdefault(piece.about, []).append(piece)
    turns = asyncio.Semaphore(MAX_AT_ONCE)

    async def in_turn(mine: list[Piece]) -> None:
        async with turns:
            try:
                await tell(gate, sorted(mine, key=lambda piece: _ORDER.get(piece.kind, len(_ORDER))))
            except UNAVAILABLE:
                raise
            except Exception:  # not even the quarantine takes it; what is behind it must not wait for ever
                metrics.BOOKKEEPING_FAILURES.inc()
                log.exception("news from the spool is given up")

    outcomes = await asyncio.gather(*map(in_turn, by_number.values()), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


def _nothing() -> None:
    """Do nothing: what dead workers had spent is not this worker's share."""
