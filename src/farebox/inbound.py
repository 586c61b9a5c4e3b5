"""A webhook comes in: relayed at once, whatever becomes of the bookkeeping beside it."""

import asyncio
import hmac
import logging
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import aiohttp
from multidict import CIMultiDict

from farebox import metrics
from farebox.access import Request
from farebox.core.reply import CODE_PARAMETER, CODE_TOKEN, CODE_UNAVAILABLE, Dialect, Reply, error_reply
from farebox.core.signature import SIGNATURE_HEADER, sign
from farebox.core.webhook import BadWebhookError, Part, cut_for, load_webhook
from farebox.doors import SECRET_HEADER, Door
from farebox.gate import UNAVAILABLE, Gate
from farebox.intake import of_part, tell
from farebox.news import Piece
from farebox.relays import check_literal
from farebox.spool import SpoolError
from farebox.traces import traced
from farebox.upstream import end_to_end

log = logging.getLogger(__name__)

# The answer waits this long for the bookkeeping, and then for the disk, so that a crash right after it loses nothing
# that was promised; a store that is slower must not hold up inbound messages (Meta asks for answers within a second).
BOOKS_WAIT_S = 1.0
MAX_APP_ANSWER_BYTES = 1_048_576  # Meta reads the status only
OK = Reply(200, b"", ())


@dataclass
class Delivery:
    """What one application gets of a payload."""

    app_url: str
    secret: str | None  # what the application checks signatures with
    numbers: set[str] = field(default_factory=set)
    wabas: set[str] = field(default_factory=set)


def verify(gate: Gate, query: str) -> Reply:
    """Answer Meta's verification handshake: the challenge, if the token is ours."""
    fields = {name: values[0] for name, values in parse_qs(query).items()}
    token = gate.settings.verify_token
    given = fields.get("hub.verify_token", "")
    if (
        token is not None
        and fields.get("hub.mode") == "subscribe"
        and hmac.compare_digest(given.encode(), token.get_secret_value().encode())
    ):
        return Reply(200, fields.get("hub.challenge", "").encode(), (("Content-Type", "text/plain; charset=utf-8"),))
    sentence = "The verify token is not the one that farebox was given (FAREBOX_VERIFY_TOKEN)."
    return error_reply(Dialect.CLOUD, status=403, code=CODE_TOKEN, sentence=sentence)


@traced("webhook")
async def receive(gate: Gate, request: Request, door: Door) -> Reply:
    """Relay a webhook to the applications of its numbers and keep the books; return what the application answered."""
    try:
        payload = load_webhook(request.body)
    except BadWebhookError as error:
        return error_reply(door.dialect, status=400, code=CODE_PARAMETER, sentence=str(error))
    parts = door.parts(payload)
    trusted = [part for part in parts if door.trusts(part)]
    deliveries = _deliveries(door, parts)
    if len(trusted) < len(parts):
        metrics.BAD_SIGNATURES.inc()
        log.warning("a webhook is not trusted: %s", door.complaint)
        # Where nobody is known to relay it to, a 200 would lose it in silence.
        if gate.settings.bad_signature == "refuse" or not any(door.numbers(part) for part in parts):
            return error_reply(door.dialect, status=401, code=CODE_TOKEN, sentence=door.complaint)
    try:
        bodies = [_body_for(delivery, payload, parts, request) for delivery in deliveries]
    except RecursionError:  # it could be read, at the very edge, and can not be written
        sentence = "the body is nested too deeply"
        return error_reply(door.dialect, status=400, code=CODE_PARAMETER, sentence=sentence)
    books = gate.background(_keep_books(gate, door, trusted))
    signed_anew = len(deliveries) > 1  # each application checks with its own secret
    replies = await asyncio.gather(
        *(
            _relay(gate, delivery, request, body, signed_anew=signed_anew or body is not request.body)
            for delivery, body in zip(deliveries, bodies, strict=True)
        )
    )
    if not await books:
        # It reached its application. WhatsApp delivers it again, to the application as well, until the books have it.
        sentence = "The bookkeeping of this webhook must wait; deliver it again."
        return error_reply(door.dialect, status=503, code=CODE_UNAVAILABLE, sentence=sentence)
    if not deliveries:
        metrics.RELAYS.labels("no_app").inc()
        return OK
    # Several applications: the worst answer, so that WhatsApp delivers again until everyone has it.
    return max(replies, key=lambda reply: reply.status)


async def _keep_books(gate: Gate, door: Door, parts: list[Part]) -> bool:
    """Keep the books of all parts, or see them to the spool; False where neither is possible.

    While the stores are away, or slower than a webhook may wait, the news is on the disk before it is answered: a crash
    after the answer loses nothing. Telling it twice ends the same.
    """
    try:
        pieces = [piece for part in parts for piece in of_part(gate, door, part)]
    except Exception:  # nothing in here reaches the relay, whatever a webhook may look like
        metrics.BOOKKEEPING_FAILURES.inc()
        log.exception("a webhook could not be understood; it was relayed all the same")
        return True
    if not gate.spool.away:
        telling = gate.background(_told(gate, pieces))
        await asyncio.wait({telling}, timeout=BOOKS_WAIT_S)
        if telling.done() and telling.result():
            return True
    try:
        await gate.spool.append(pieces)
    except SpoolError as error:
        metrics.SPOOL_FULL.inc()
        log.error("a webhook can not be kept and must be delivered again: %s", error)  # noqa: TRY400  not our stack
        return False
    return True


async def _told(gate: Gate, pieces: list[Piece]) -> bool:
    """Tell news to the stores; False where they are away."""
    try:
        await tell(gate, pieces)
    except UNAVAILABLE as error:
        log.warning("the books of a webhook wait in the spool: %s", error or "overloaded")
        gate.spool.away = True
        return False
    except Exception:  # not even the quarantine took it
        metrics.BOOKKEEPING_FAILURES.inc()
        log.exception("the bookkeeping of a webhook failed; it was relayed all the same")
    return True


def _deliveries(door: Door, parts: list[Part]) -> list[Delivery]:
    deliveries: dict[tuple[str, str | None], Delivery] = {}
    for part in parts:
        for number in door.numbers(part):
            if number.app_url is None:
                continue
            secret = door.signing_secret(number)
            delivery = deliveries.setdefault((number.app_url, secret), Delivery(number.app_url, secret))
            if part.number_id is None:
                delivery.wabas.add(part.waba_id)
            else:
                delivery.numbers.add(number.number_id)
    return list(deliveries.values())


def _body_for(delivery: Delivery, payload: dict[str, object], parts: list[Part], request: Request) -> bytes:
    """Return the bytes for one application: the payload as it came where it is all its own, else its part of it."""
    own = all(
        part.number_id in delivery.numbers if part.number_id is not None else part.waba_id in delivery.wabas
        for part in parts
    )
    return request.body if own else cut_for(payload, delivery.numbers, delivery.wabas)


async def _relay(gate: Gate, delivery: Delivery, request: Request, body: bytes, *, signed_anew: bool) -> Reply:
    headers = CIMultiDict(end_to_end(request.headers.items()))
    headers.popall(SECRET_HEADER, None)  # it is between WhatsApp and us
    if signed_anew:
        headers.popall(SIGNATURE_HEADER, None)
        if delivery.secret:
            headers[SIGNATURE_HEADER] = sign(body, delivery.secret)
    try:
        if gate.settings.private_app_urls == "refuse":
            check_literal(delivery.app_url)
        async with gate.upstream.relays.post(
            delivery.app_url,
            data=body,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=gate.settings.relay_timeout_s),
            allow_redirects=False,
        ) as answer:
            content = await answer.content.read(MAX_APP_ANSWER_BYTES)
            metrics.RELAYS.labels("answered").inc()
            return Reply(answer.status, content, tuple(end_to_end(answer.headers.items())))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        metrics.RELAYS.labels("failed").inc()
        log.warning("a webhook could not be relayed to its application: %s", type(error).__name__)
        # Not a 200: WhatsApp keeps the webhook and delivers it again, for days.
        sentence = "The application behind this number did not answer."
        return error_reply(Dialect.CLOUD, status=502, code=CODE_UNAVAILABLE, sentence=sentence)
