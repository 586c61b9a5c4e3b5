"""A send with an `Idempotency-Key`: forwarded at most once, whatever dies on the way.

What a repetition is told:

    first attempt                               | same body                    | other body
    answered (by WhatsApp, or "fate unknown")   | that answer, byte for byte   | 409
    came to nothing (402, 503, not sent, 4xx)   | tried anew                   | tried anew
    under way                                   | 409, Retry-After             | 409
    its worker died before anything could leave | tried anew after the lease   | 409
    its worker died later                       | what its hold knows (`_fate`)| 409
"""

import json
import logging
from collections.abc import Awaitable, Callable

from farebox import metrics
from farebox.access import IDEMPOTENCY_KEY, Call
from farebox.batch import OverloadedError
from farebox.core.hold import State
from farebox.core.money import format_micros
from farebox.core.reply import CODE_PARAMETER, CODE_UNAVAILABLE, Reply, accepted_reply, error_reply
from farebox.core.tariff import Class
from farebox.decisions import decided
from farebox.directory import digest
from farebox.gate import Gate
from farebox.idempotency import (
    IN_PROGRESS,
    OTHER_BODY,
    REPLAYED,
    RETRY_AFTER,
    BadKeyError,
    Claim,
    InUse,
    Keyed,
    claim_key,
    keep,
    read_key,
    release,
)
from farebox.ledger import ClaimLostError, LedgerUnavailableError

log = logging.getLogger(__name__)

# Beyond the upstream's own time: both stores' timeouts several times over, a template and a group that are looked up.
LEASE_MARGIN_MS = 30_000


async def send_once(gate: Gate, call: Call, send: Callable[[Claim], Awaitable[Reply]]) -> Reply:
    """Do a keyed send, or tell its first answer again."""
    try:
        keyed = _keyed(gate, call)
    except BadKeyError as error:
        return _error(call, 400, str(error))
    try:
        claimed = await claim_key(gate, keyed)
        if isinstance(claimed, InUse):
            return await _told(gate, call, claimed)
    except LedgerUnavailableError as error:
        return _unavailable(call, error)
    try:
        reply = await send(claimed)
    except ClaimLostError:
        return _conflict(call, "in_progress", IN_PROGRESS, RETRY_AFTER)
    except (LedgerUnavailableError, OverloadedError) as error:
        await release(gate, claimed)
        return _unavailable(call, error)
    except Exception:
        if not claimed.left:
            await release(gate, claimed)
        raise
    if claimed.left:
        await keep(gate, claimed, reply)
    else:
        await release(gate, claimed)
    return reply


def _keyed(gate: Gate, call: Call) -> Keyed:
    """Return what the key stands for: the caller's own key, for this number; a repetition has the same last segment."""
    assert call.number is not None, "a send without a number was denied"
    request = call.request
    name = request.raw_path.rstrip("/").rpartition("/")[2]
    return Keyed(
        scope=f"send {call.number.number_id} {digest(call.client_token).hex()}",
        key=read_key(request.headers.getall(IDEMPOTENCY_KEY)),
        body=name.encode() + b"\n" + request.body,
        lease_ms=round(gate.settings.upstream_timeout_s * 1000) + LEASE_MARGIN_MS,
    )


async def _told(gate: Gate, call: Call, found: InUse) -> Reply:
    """Answer a repetition."""
    if not found.same_body:
        return _conflict(call, "conflict", OTHER_BODY)
    if found.answer is None and not (found.sent and found.lease_over):
        return _conflict(call, "in_progress", IN_PROGRESS, RETRY_AFTER)
    metrics.REPEATED.labels("replayed" if found.answer is not None else "recovered").inc()
    reply = found.answer if found.answer is not None else await _fate(gate, call, found)
    return reply.with_headers(REPLAYED)


async def _fate(gate: Gate, call: Call, found: InUse) -> Reply:
    """Tell what is known of a message whose first answer was lost: by its hold, which webhooks may have decided."""
    holds = await gate.ledger.find_holds([found.hold_id], []) if found.hold_id else []
    if not holds:
        sentence = (
            "The first answer to this request was lost, and the message may have been sent; it is not sent again."
        )
        return _error(call, 504, sentence)
    first = next(hold for hold in holds if hold.hold_id == found.hold_id)
    if first.wamid is not None:
        message = json.loads(call.request.body)
        to = str(message.get("to", ""))
        wa_id = to if message.get("recipient_type") == "group" else first.recipient
        reply = accepted_reply(call.route.dialect, first.wamid, to=to, wa_id=wa_id, call=call.route.call)
        paid = any(hold.message_class == Class.PAID for hold in holds)
        reply = reply.with_headers(
            ("X-Farebox-Fare", format_micros(sum(hold.fare_micros for hold in holds))),
            ("X-Farebox-Class", Class.PAID.value if paid else Class.FREE.value),
        )
    elif first.state is State.RELEASED:
        sentence = "WhatsApp did not take this message and nothing was charged; send it under another key."
        reply = _error(call, 502, sentence)
    else:
        sentence = (
            f"The first answer to this request was lost, so the message may have been sent. Its fare stays held as "
            f"{found.hold_id} until a status webhook decides; it is not sent again."
        )
        reply = _error(call, 504, sentence)
    return reply.with_headers(("X-Farebox-Hold", str(found.hold_id)))


def _conflict(call: Call, outcome: str, sentence: str, *headers: tuple[str, str]) -> Reply:
    metrics.REPEATED.labels(outcome).inc()
    return _error(call, 409, sentence).with_headers(*headers)


def _unavailable(call: Call, error: Exception) -> Reply:
    log.warning("a keyed send was not taken: %s", error or "overloaded")
    decided("unavailable", message_class="none", category="none")
    sentence = (
        f"{IDEMPOTENCY_KEY} can not be honoured at the moment. "
        "The message was not sent and nothing was charged; try again."
    )
    return _error(call, 503, sentence).with_headers(RETRY_AFTER)


def _error(call: Call, status: int, sentence: str) -> Reply:
    code = CODE_PARAMETER if status < 500 else CODE_UNAVAILABLE
    return error_reply(call.route.dialect, status=status, code=code, sentence=sentence)
