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
from farebox.bookkeeping import keep_books, keep_templates
from farebox.core.reply import CODE_PARAMETER, CODE_TOKEN, CODE_UNAVAILABLE, Dialect, Reply, error_reply
from farebox.core.webhook import (
    SIGNATURE_HEADER,
    BadWebhookError,
    Part,
    cut_for,
    load_webhook,
    parts_of,
    sign,
    signature_ok,
)
from farebox.directory import Number
from farebox.gate import Gate
from farebox.upstream import end_to_end

log = logging.getLogger(__name__)

# The answer waits this long for the bookkeeping, so that a crash right after it loses nothing that was promised; a
# store that is slower must not hold up inbound messages (Meta asks for answers within a second).
BOOKS_WAIT_S = 1.0
MAX_APP_ANSWER_BYTES = 1_048_576  # Meta reads the status only
OK = Reply(200, b"", ())


@dataclass
class Delivery:
    """What one application gets of a payload."""

    app_url: str
    secret: str
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


async def receive(gate: Gate, request: Request) -> Reply:
    """Relay a webhook to the applications of its numbers and keep the books; return what the application answered."""
    try:
        payload = load_webhook(request.body)
    except BadWebhookError as error:
        return error_reply(Dialect.CLOUD, status=400, code=CODE_PARAMETER, sentence=str(error))
    parts = parts_of(payload)
    trusted = [part for part in parts if _trusted(gate, part, request)]
    if len(trusted) < len(parts):
        metrics.BAD_SIGNATURES.inc()
        log.warning("a webhook has a bad signature; is the app secret of its number right?")
        if gate.settings.bad_signature == "refuse":
            sentence = "The signature of this webhook is not valid."
            return error_reply(Dialect.CLOUD, status=401, code=CODE_TOKEN, sentence=sentence)
    books = gate.background(_keep_all_books(gate, trusted))
    deliveries = _deliveries(gate, parts)
    replies = await asyncio.gather(
        *(
            _relay(gate, delivery, request, _body_for(delivery, deliveries, payload, parts, request))
            for delivery in deliveries
        )
    )
    await asyncio.wait({books}, timeout=BOOKS_WAIT_S)
    if not deliveries:
        metrics.RELAYS.labels("no_app").inc()
        return OK
    # Several applications: the worst answer, so that WhatsApp delivers again until everyone has it.
    return max(replies, key=lambda reply: reply.status)


async def _keep_all_books(gate: Gate, parts: list[Part]) -> None:
    """Keep the books of every part; a part that fails does not stop the next."""
    for part in parts:
        try:
            number = gate.directory.numbers.get(part.number_id or "")
            if number is not None and number.mode != "off":
                await keep_books(gate, number, part)
            await keep_templates(gate, part.templates)
        except Exception:
            metrics.BOOKKEEPING_FAILURES.inc()
            log.exception("the bookkeeping of a webhook failed; it was relayed all the same")


def _trusted(gate: Gate, part: Part, request: Request) -> bool:
    """Tell whether a part was signed by its own number's app: one number's secret must not move another's money."""
    header = request.headers.get(SIGNATURE_HEADER, "")
    return any(signature_ok(request.body, secret, header) for secret in _secrets(gate, part))


def _secrets(gate: Gate, part: Part) -> set[str]:
    common = gate.settings.app_secret
    numbers = _numbers(gate, part)
    own = {number.app_secret for number in numbers if number.app_secret}
    if common is not None and (not numbers or any(number.app_secret is None for number in numbers)):
        own.add(common.get_secret_value())
    return own


def _numbers(gate: Gate, part: Part) -> list[Number]:
    """Return the numbers that a part concerns: its own, or all of its account where it names none."""
    if part.number_id is None:
        return gate.directory.wabas.get(part.waba_id, [])
    number = gate.directory.numbers.get(part.number_id)
    return [] if number is None else [number]


def _deliveries(gate: Gate, parts: list[Part]) -> list[Delivery]:
    deliveries: dict[tuple[str, str], Delivery] = {}
    common = gate.settings.app_secret.get_secret_value() if gate.settings.app_secret else ""
    for part in parts:
        for number in _numbers(gate, part):
            if number.app_url is None:
                continue
            secret = number.app_secret or common
            delivery = deliveries.setdefault((number.app_url, secret), Delivery(number.app_url, secret))
            if part.number_id is None:
                delivery.wabas.add(part.waba_id)
            else:
                delivery.numbers.add(number.number_id)
    return list(deliveries.values())


def _body_for(
    delivery: Delivery, deliveries: list[Delivery], payload: dict[str, object], parts: list[Part], request: Request
) -> bytes:
    """Return the bytes for one application: the payload as it came where it is all its own, else its part of it."""
    own = all(
        part.number_id in delivery.numbers if part.number_id is not None else part.waba_id in delivery.wabas
        for part in parts
    )
    return request.body if own and len(deliveries) == 1 else cut_for(payload, delivery.numbers, delivery.wabas)


async def _relay(gate: Gate, delivery: Delivery, request: Request, body: bytes) -> Reply:
    headers = CIMultiDict(end_to_end(request.headers.items()))
    if body is not request.body:
        headers[SIGNATURE_HEADER] = sign(body, delivery.secret)
    try:
        async with gate.upstream.session.post(
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
