"""Where every piece of news goes: windows, holds, templates, terms. A piece that fails goes to quarantine, alone.

Webhooks, what was spooled during an outage and what is told again from quarantine all pass here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby

from farebox import news, outage, quarantine, unmatched, windows
from farebox.account_terms import keep_terms
from farebox.bookkeeping import keep_statuses
from farebox.core.webhook import Part, TemplateChange
from farebox.directory import Number
from farebox.doors import Door, accounts_of, template_changes
from farebox.gate import UNAVAILABLE, Gate
from farebox.metrics import STATUSES, WEBHOOK_LAG
from farebox.news import Kind, Piece
from farebox.quarantine import HeldError
from farebox.wallet import WalletUnavailableError

log = logging.getLogger(__name__)


def of_part(gate: Gate, door: Door, part: Part) -> list[Piece]:
    """Return the news of a part that may be believed."""
    number = door.owner(part)
    pieces: list[Piece] = []
    if number is not None and number.mode != "off":
        pieces += of_number(gate, number, part)
    elif number is None and part.number_id is not None:
        delivered = [status for status in part.statuses if status.delivered]
        pieces += news.of_statuses(Kind.FOREIGN, part.number_id, delivered, gate.clock.now_ms())
    pieces += map(news.of_template, template_changes(door, part))
    pieces += [news.of_notice(waba_id, notice) for waba_id in accounts_of(door, part) for notice in part.account]
    return pieces


def of_number(gate: Gate, number: Number, part: Part) -> list[Piece]:
    """Return what a part says about one of our numbers."""
    now_ms = gate.clock.now_ms()
    return [
        *news.of_inbound(number.number_id, part.inbound, now_ms),
        *news.of_statuses(Kind.STATUS, number.number_id, part.statuses, now_ms),
    ]


async def tell(gate: Gate, pieces: Sequence[Piece]) -> None:
    """Take over news, in order; what fails goes to quarantine and stops nothing else.

    Raises WalletUnavailableError, LedgerUnavailableError or OverloadedError; then all of it may be told again.
    """
    for (kind, about), run in groupby(pieces, key=lambda piece: (piece.kind, piece.about)):
        alike = list(run)
        try:
            await _HANDLERS[kind](gate, about, alike)
        except UNAVAILABLE:
            raise
        except Exception as error:
            if len(alike) > 1:
                # One by one, so that only what fails is kept apart. What was delivered is due, whatever failed first.
                for piece in sorted(alike, key=lambda piece: piece.content.get("status") == "failed"):
                    await tell(gate, [piece])
                continue
            if not isinstance(error, HeldError):
                log.exception("a piece of kind %s could not be taken over; it is in quarantine", kind.value)
            await quarantine.put(gate.ledger, alike[0], quarantine.reason_of(error), gate.clock.now_ms())


async def tell_one(gate: Gate, piece: Piece) -> None:
    """Take over one piece; raises whatever stops it."""
    await _HANDLERS[piece.kind](gate, piece.about, [piece])


async def tell_again(gate: Gate, row: quarantine.Row) -> str | None:
    """Tell a piece in quarantine again; return why it stays there, None where it was taken over.

    Raises WalletUnavailableError, LedgerUnavailableError or OverloadedError, and changes nothing then.
    """
    try:
        await tell_one(gate, row.piece)
    except UNAVAILABLE:
        raise
    except Exception as error:
        if not isinstance(error, HeldError):
            log.exception("quarantine %d failed again", row.quarantine_id)
        reason = quarantine.reason_of(error)
        await quarantine.keep(gate.ledger, row.quarantine_id, reason)
        return reason
    await quarantine.resolve(gate.ledger, row.quarantine_id, gate.clock.now_ms())
    return None


def _number(gate: Gate, number_id: str) -> Number:
    number = gate.directory.numbers.get(number_id)
    if number is None:
        raise HeldError(f"Number {number_id} is not one of ours; add it and tell this again.")
    return number


async def _inbound(gate: Gate, about: str, pieces: Sequence[Piece]) -> None:
    await windows.take_inbound(gate, _number(gate, about), [news.inbound(piece.content) for piece in pieces])


async def _statuses(gate: Gate, about: str, pieces: Sequence[Piece]) -> None:
    """End holds; a status whose message is not known waits in the ledger, and so do all while only the wallet is away.

    The ledger is shared and outlives this machine, so it is the better place to wait where it answers.
    """
    number, statuses = _number(gate, about), [news.status(piece.says) for piece in pieces]
    outcome, now_ms = "unmatched", gate.clock.now_ms()
    for status in statuses:
        if status.at_ms:
            WEBHOOK_LAG.observe(max(0, now_ms - status.at_ms) / 1000)
    try:
        waiting = await keep_statuses(gate, number, statuses)
    except WalletUnavailableError:
        waiting, outcome = statuses, "postponed"
    for status in waiting:
        await unmatched.wait(gate, number, status)
    STATUSES.labels(outcome).inc(len(waiting))


async def _unmatched(gate: Gate, about: str, pieces: Sequence[Piece]) -> None:
    for piece in pieces:
        if not await unmatched.settle(gate, _number(gate, about), news.status(piece.says)):
            raise HeldError("The send of this message is just being accounted; tell this again in a minute.")


async def _templates(gate: Gate, _: str, pieces: Sequence[Piece]) -> None:
    for piece in pieces:  # one by one: a statement may not touch a template twice
        await gate.templates.registry.take_over([TemplateChange(**piece.content)], source="webhook")


async def _terms(gate: Gate, about: str, pieces: Sequence[Piece]) -> None:
    await keep_terms(gate.ledger, gate.directory, [about], [news.notice(piece.content) for piece in pieces])


async def _sends(gate: Gate, about: str, pieces: Sequence[Piece]) -> None:
    """Account what left during an outage. Several at a time: their fares are taken and recorded as one batch."""
    number = _number(gate, about)
    told = (outage.HANDLERS[piece.kind](gate, number, piece.content) for piece in pieces)
    for outcome in await asyncio.gather(*told, return_exceptions=True):
        if outcome is not None:
            raise outcome


Handler = Callable[[Gate, str, Sequence[Piece]], Awaitable[None]]

_HANDLERS: dict[Kind, Handler] = {
    Kind.INBOUND: _inbound,
    Kind.STATUS: _statuses,
    Kind.FOREIGN: _statuses,  # its number may have become ours meanwhile
    Kind.UNMATCHED: _unmatched,
    Kind.TEMPLATE: _templates,
    Kind.TERMS: _terms,
    Kind.SEND: _sends,
    Kind.TAKEN: _sends,
    Kind.NOT_TAKEN: _sends,
}
