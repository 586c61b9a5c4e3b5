"""A message goes out: parse, price, take, record, forward, answer.

`send` holds every branch; the helpers compute. Nothing is sent before both stores know the hold, and a message whose
fate is unknown is never sent again by us. What an `Idempotency-Key` changes stands in `keyed.py`.
"""

import logging
import time
from functools import partial
from uuid import UUID

from farebox import metrics, outage
from farebox.access import IDEMPOTENCY_KEY, Call
from farebox.answered import give_back, note_accepted
from farebox.answers import ids_of
from farebox.connections import FateUnknownError, NotSentError, header_lines
from farebox.core.fare import Priced, price
from farebox.core.message import BadMessageError, Kind, Message, parse_call, parse_message, with_correlation
from farebox.core.money import format_micros
from farebox.core.reply import (
    CODE_PARAMETER,
    CODE_PERMISSION,
    CODE_UNAVAILABLE,
    Dialect,
    Reply,
    error_reply,
)
from farebox.core.tariff import UnpricedError, always_free
from farebox.decisions import decided
from farebox.directory import Number
from farebox.funds import Fare, Refused, Reserved
from farebox.gate import UNAVAILABLE, Gate
from farebox.groups import UnknownGroupError
from farebox.idempotency import Claim, leave
from farebox.keyed import send_once
from farebox.ledger import ClaimLostError, LedgerUnavailableError
from farebox.refusal import refusal
from farebox.scopes import its_turn, out_of_scope
from farebox.traces import hand_on, note, traced

log = logging.getLogger(__name__)

CLOSED = "This phone number is closed: nothing is sent from it. Whoever runs the gateway can open it again."
RETRY_AFTER_S = "1"  # a store that was away for a moment is back by then; a longer outage is asked about again


@traced("send")
async def send(gate: Gate, call: Call) -> Reply:
    """Meter and forward one message, once if it has a key; every outcome is an answer."""
    number = call.number
    assert number is not None, "a send without a number was denied"
    try:
        read = parse_call if call.route.call else parse_message
        message = read(call.request.body, number.recipients)
    except BadMessageError as error:
        return _bad_request(call.route.dialect, str(error))
    if message.kind is Kind.NOT_A_MESSAGE:
        return await _forward_unmetered(gate, call, None)
    if number.closed:
        return error_reply(call.route.dialect, status=403, code=CODE_PERMISSION, sentence=CLOSED)
    if IDEMPOTENCY_KEY in call.request.headers:
        return await send_once(gate, call, partial(_send, gate, call, number, message))
    return await _send(gate, call, number, message, None)


async def _send(gate: Gate, call: Call, number: Number, message: Message, claim: Claim | None) -> Reply:
    """Meter and forward a message. With a claim it leaves only while the claim stands."""
    started = time.perf_counter()
    if number.mode == "off":
        return await _forward_unmetered(gate, call, claim)
    try:
        fares = await _fares(gate, call, message)
    except UnpricedError as error:
        if _free_without_card(gate, number, message):
            reply = await _forward_unmetered(gate, call, claim)
            metrics.UNACCOUNTED.inc()
            return reply
        return _bad_request(call.route.dialect, f"This message can not be priced: {error}.")
    except UnknownGroupError as error:
        log.warning("the members of a group could not be read: %s", error)
        return _bad_request(call.route.dialect, "The members of this group could not be read; is the group id right?")
    priced = fares[0].priced
    if (refused := out_of_scope(call, priced.offer.category)) is not None:
        return refused
    if priced.offer.unpriced:
        metrics.UNPRICED.labels(priced.offer.category).inc()
    try:
        outcome = await gate.funds.reserve(
            number, message, fares, claim=claim.claim_id if claim else None, key=call.key
        )
    except UNAVAILABLE as error:
        return await _without_stores(gate, call, message, priced, error, claim=claim)
    gate.wakes.saw(number.number_id, outcome.available_micros, watch_micros=number.watch_micros)
    if isinstance(outcome, Refused):
        return refusal(gate, call.route.dialect, number, priced.offer.category, outcome)
    if outcome.overdrawn:
        metrics.SHADOW_REFUSALS.labels(metrics.account_label(number.account_id)).inc()
    await its_turn(gate, outcome)
    reply = await _forward(gate, call, message, priced, outcome, claim=claim)
    metrics.SEND_SECONDS.observe(time.perf_counter() - started)
    return reply


@traced("decide")
async def _fares(gate: Gate, call: Call, message: Message) -> list[Fare]:
    """Return what the message costs: a fare for its recipient, or one for each member of a group."""
    number = call.number
    assert number is not None, "a send without a number was denied"
    category = bid_amount = None
    if message.kind is Kind.TEMPLATE:
        template = await gate.templates.find(number, message.template_name, message.template_language)
        if template is None:
            metrics.UNKNOWN_TEMPLATES.inc()
        else:
            category, bid_amount = template.category, template.bid_amount if _takes_bids(call) else None
    tariff = gate.tariffs.at(number, gate.clock.now_ms())
    if not message.group_id:
        priced = price(message, template_category=category, tariff=tariff, bid_amount=bid_amount)
        fares = [Fare(message.user, priced, message.user)]
    else:
        members = await gate.groups.members(number, message.group_id, call.upstream_token)
        fares = [
            Fare(user, price(message._replace(user=user), template_category=category, tariff=tariff), message.group_id)
            for user in members
        ]
    for priced in (fare.priced for fare in fares):
        if priced.unknown_market:
            metrics.UNKNOWN_MARKETS.labels(priced.country or "none").inc()
    return fares


def _free_without_card(gate: Gate, number: Number, message: Message) -> bool:
    """Tell whether a message is free whatever a card would say: a reaction passes where a regime has no card (yet)."""
    try:
        tariff, _ = gate.tariffs.regime_at(number, gate.clock.now_ms())
    except UnpricedError:
        return False
    return message.kind.value in tariff.rules and always_free(tariff.rules[message.kind.value])


def _takes_bids(call: Call) -> bool:
    """Tell whether a send goes where templates with a maximum price are sent; elsewhere WhatsApp refuses them."""
    return call.request.raw_path.rstrip("/").endswith("/marketing_messages")


async def _forward(
    gate: Gate, call: Call, message: Message, priced: Priced, reserved: Reserved, *, claim: Claim | None
) -> Reply:
    """Send a message whose fare is reserved, and note what the upstream said."""
    hold_id = str(reserved.hold_id)
    body = call.request.body
    tagged = _takes_tag(call, message)
    if tagged:
        body = with_correlation(body, hold_id)
    outcome = "unknown"
    try:
        reply = await _post(gate, call, body, claim)
        if 200 <= reply.status < 300:
            outcome = "accepted"
            await note_accepted(gate, reserved, reply, wait=not tagged or claim is not None)
        else:
            outcome = "rejected"
            await give_back(gate, reserved)
    except NotSentError as error:
        outcome = "rejected"
        log.warning("hold %s: the upstream could not be reached: %s", hold_id, error)
        await give_back(gate, reserved)
        sentence = "WhatsApp could not be reached. The message was not sent and nothing was charged; try again."
        reply = error_reply(call.route.dialect, status=502, code=CODE_UNAVAILABLE, sentence=sentence)
    except FateUnknownError as error:
        log.warning("hold %s: no answer from the upstream: %s", hold_id, error)
        sentence = (
            f"WhatsApp did not answer in time, so the message may have been sent. Its fare stays held as {hold_id} "
            "until a status webhook decides; sending again may deliver it twice."
        )
        reply = error_reply(call.route.dialect, status=504, code=CODE_UNAVAILABLE, sentence=sentence)
    note(hold=hold_id, outcome=outcome, fare_micros=reserved.fare_micros, message_class=reserved.message_class.value)
    decided(
        outcome,
        message_class=reserved.message_class,
        category=priced.offer.category,
        number_id=call.number.number_id if call.number else None,
        hold_id=hold_id,
        fare_micros=reserved.fare_micros,
        available_micros=reserved.available_micros,
        why="would be refused" if reserved.overdrawn else None,
    )
    shadow = (("X-Farebox-Shadow", "would-refuse"),) if reserved.overdrawn else ()
    return reply.with_headers(
        ("X-Farebox-Hold", hold_id),
        ("X-Farebox-Fare", format_micros(reserved.fare_micros)),
        ("X-Farebox-Class", reserved.message_class.value),
        ("X-Farebox-Available", format_micros(reserved.available_micros)),
        *shadow,
    )


def _takes_tag(call: Call, message: Message) -> bool:
    """Tell whether a message can carry its hold id to its status webhooks.

    360dialog hands the field on to the Cloud API; the on-premise API does not know it.
    """
    return call.route.dialect is not Dialect.ON_PREMISE and not message.has_correlation


async def _without_stores(
    gate: Gate, call: Call, message: Message, priced: Priced, error: Exception, *, claim: Claim | None
) -> Reply:
    """Answer while a store is away: what is free in every state passes; the rest waits, or may pass."""
    if priced.offer.always_free:
        reply = await _forward_unmetered(gate, call, claim)
        metrics.UNACCOUNTED.inc()
        return reply
    assert call.number is not None, "a send without a number was denied"
    hold_id = await outage.let_pass(gate, call.number, message, priced, takes_bids=_takes_bids(call))
    if hold_id is not None:
        return await _send_unheld(gate, call, message, priced.offer.category, hold_id, claim=claim)
    why = str(error) or "overloaded"
    decided(
        "unavailable", message_class="paid", category=priced.offer.category, number_id=call.number.number_id, why=why
    )
    sentence = (
        "The balance can not be checked at the moment. The message was not sent and nothing was charged; try again."
    )
    reply = error_reply(call.route.dialect, status=503, code=CODE_UNAVAILABLE, sentence=sentence)
    return reply.with_headers(("Retry-After", RETRY_AFTER_S))


async def _send_unheld(
    gate: Gate, call: Call, message: Message, category: str, hold_id: UUID, *, claim: Claim | None
) -> Reply:
    """Send a message that the spool knows and no store yet, and write down what the upstream said."""
    number = call.number
    assert number is not None, "a send without a number was denied"
    if claim is not None:
        try:
            await leave(gate, claim, hold_id)
        except (ClaimLostError, LedgerUnavailableError):
            await outage.note_not_taken(gate, number, hold_id)
            raise
    metrics.OUTAGE_SENDS.inc()
    body, outcome = call.request.body, "unknown"
    if _takes_tag(call, message):
        body = with_correlation(body, str(hold_id))
    try:
        reply = await _post(gate, call, body, claim)
        if 200 <= reply.status < 300:
            outcome = "accepted"
            await outage.note_taken(gate, number, hold_id, *ids_of(reply.body))
        else:
            outcome = "rejected"
            await outage.note_not_taken(gate, number, hold_id)
    except NotSentError:
        outcome = "rejected"
        await outage.note_not_taken(gate, number, hold_id)
        sentence = "WhatsApp could not be reached. The message was not sent and nothing will be charged; try again."
        reply = error_reply(call.route.dialect, status=502, code=CODE_UNAVAILABLE, sentence=sentence)
    except FateUnknownError:
        sentence = (
            f"WhatsApp did not answer in time, so the message may have been sent. Its fare will be held as {hold_id} "
            "until a status webhook decides; sending again may deliver it twice."
        )
        reply = error_reply(call.route.dialect, status=504, code=CODE_UNAVAILABLE, sentence=sentence)
    decided(outcome, message_class="paid", category=category, number_id=number.number_id, hold_id=hold_id)
    return reply.with_headers(("X-Farebox-Hold", str(hold_id)), ("X-Farebox-Class", "paid"))


async def _forward_unmetered(gate: Gate, call: Call, claim: Claim | None) -> Reply:
    """Send what costs nothing and needs no hold: mark-as-read, typing, a reaction while the stores are away.

    With a key it needs the ledger all the same, which alone can promise that it is sent once.
    """
    if claim is not None:
        await leave(gate, claim, None)
    try:
        return await _post(gate, call, call.request.body, claim)
    except NotSentError:
        sentence = "WhatsApp could not be reached; try again."
        return error_reply(call.route.dialect, status=502, code=CODE_UNAVAILABLE, sentence=sentence)
    except FateUnknownError:
        sentence = "WhatsApp did not answer in time."
        return error_reply(call.route.dialect, status=504, code=CODE_UNAVAILABLE, sentence=sentence)


@traced("upstream")
async def _post(gate: Gate, call: Call, body: bytes, claim: Claim | None) -> Reply:
    """Hand a message to the upstream. From here on its answer is kept for its key, unless nothing left after all."""
    if claim is not None:
        claim.left = True
    lines = call.lines
    if lines is None:
        headers = call.headers()
        hand_on(headers)
        lines = header_lines(headers.items())
    try:
        return await gate.upstream.send(call.path_qs(), lines, body)
    except NotSentError:
        if claim is not None:
            claim.left = False
        raise


def _bad_request(dialect: Dialect, sentence: str) -> Reply:
    decided("invalid", message_class="none", category="none")
    return error_reply(dialect, status=400, code=CODE_PARAMETER, sentence=sentence)
