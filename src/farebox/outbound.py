"""A message goes out: parse, price, take, record, forward, answer.

`send` holds every branch; the helpers compute. Nothing is sent before both stores know the hold, and a message whose
fate is unknown is never sent again by us.
"""

import json
import logging
import time
from dataclasses import replace
from typing import Any

from farebox import metrics
from farebox.access import Call
from farebox.batch import OverloadedError
from farebox.core.fare import Priced, price
from farebox.core.message import BadMessageError, Kind, Message, parse_call, parse_message, storable, with_correlation
from farebox.core.money import format_micros
from farebox.core.reply import (
    CODE_PARAMETER,
    CODE_PAYMENT,
    CODE_UNAVAILABLE,
    OUT_OF_FUNDS,
    Dialect,
    Reply,
    error_reply,
)
from farebox.core.tariff import UnpricedError, always_free
from farebox.directory import Number
from farebox.funds import Fare, Refused, Reserved
from farebox.gate import Gate
from farebox.groups import UnknownGroupError
from farebox.ledger import LedgerUnavailableError
from farebox.upstream import FateUnknownError, NotSentError
from farebox.wallet import WalletUnavailableError

log = logging.getLogger(__name__)

RETRY_AFTER_S = "1"  # a store that was away for a moment is back by then; a longer outage is asked about again
UNAVAILABLE = (WalletUnavailableError, LedgerUnavailableError, OverloadedError)


async def send(gate: Gate, call: Call) -> Reply:
    """Meter and forward one message; every outcome is an answer."""
    started = time.perf_counter()
    number = call.number
    assert number is not None, "a send without a number was denied"
    try:
        read = parse_call if call.route.call else parse_message
        message = read(call.request.body, number.recipients)
    except BadMessageError as error:
        return _bad_request(call.route.dialect, str(error))
    if message.kind is Kind.NOT_A_MESSAGE or number.mode == "off":
        return await _forward_unmetered(gate, call)
    try:
        fares = await _fares(gate, call, message)
    except UnpricedError as error:
        if _free_without_card(gate, number, message):
            metrics.UNACCOUNTED.inc()
            return await _forward_unmetered(gate, call)
        return _bad_request(call.route.dialect, f"This message can not be priced: {error}.")
    except UnknownGroupError as error:
        log.warning("the members of a group could not be read: %s", error)
        return _bad_request(call.route.dialect, "The members of this group could not be read; is the group id right?")
    priced = fares[0].priced
    if priced.offer.unpriced:
        metrics.UNPRICED.labels(priced.offer.category).inc()
    try:
        outcome = await gate.funds.reserve(number, message, fares)
    except UNAVAILABLE as error:
        return await _without_stores(gate, call, priced, error)
    if isinstance(outcome, Refused):
        metrics.SENDS.labels("paid", priced.offer.category, "refused").inc()
        metrics.REFUSALS.labels(number.account_id).inc()
        reply = error_reply(
            call.route.dialect, status=gate.settings.out_of_funds_status, code=CODE_PAYMENT, sentence=OUT_OF_FUNDS
        )
        return reply.with_headers(
            ("X-Farebox-Class", "paid"), ("X-Farebox-Available", format_micros(outcome.available_micros))
        )
    if outcome.overdrawn:
        metrics.SHADOW_REFUSALS.labels(number.account_id).inc()
    reply = await _forward(gate, call, message, priced, outcome)
    metrics.SEND_SECONDS.observe(time.perf_counter() - started)
    return reply


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
            Fare(user, price(replace(message, user=user), template_category=category, tariff=tariff), message.group_id)
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


async def _forward(gate: Gate, call: Call, message: Message, priced: Priced, reserved: Reserved) -> Reply:
    """Send a message whose fare is reserved, and note what the upstream said."""
    hold_id = str(reserved.hold_id)
    body = call.request.body
    # 360dialog hands the field on to the Cloud API; the on-premise API does not know it.
    if call.route.dialect is not Dialect.ON_PREMISE and not message.has_correlation:
        body = with_correlation(body, hold_id)
    outcome = "unknown"
    try:
        reply = await gate.upstream.send(call.path_qs(), call.headers(), body)
        if 200 <= reply.status < 300:
            outcome = "accepted"
            await _note_accepted(gate, reserved, reply)
        else:
            outcome = "rejected"
            await _give_back(gate, reserved)
    except NotSentError as error:
        outcome = "rejected"
        log.warning("hold %s: the upstream could not be reached: %s", hold_id, error)
        await _give_back(gate, reserved)
        sentence = "WhatsApp could not be reached. The message was not sent and nothing was charged; try again."
        reply = error_reply(call.route.dialect, status=502, code=CODE_UNAVAILABLE, sentence=sentence)
    except FateUnknownError as error:
        log.warning("hold %s: no answer from the upstream: %s", hold_id, error)
        sentence = (
            f"WhatsApp did not answer in time, so the message may have been sent. Its fare stays held as {hold_id} "
            "until a status webhook decides; sending again may deliver it twice."
        )
        reply = error_reply(call.route.dialect, status=504, code=CODE_UNAVAILABLE, sentence=sentence)
    metrics.SENDS.labels(reserved.message_class, priced.offer.category, outcome).inc()
    shadow = (("X-Farebox-Shadow", "would-refuse"),) if reserved.overdrawn else ()
    return reply.with_headers(
        ("X-Farebox-Hold", hold_id),
        ("X-Farebox-Fare", format_micros(reserved.fare_micros)),
        ("X-Farebox-Class", reserved.message_class.value),
        ("X-Farebox-Available", format_micros(reserved.available_micros)),
        *shadow,
    )


async def _note_accepted(gate: Gate, reserved: Reserved, reply: Reply) -> None:
    """Record the wamid. If the ledger is away the message is out all the same: a status webhook brings the hold id."""
    wamid, wa_id = _ids(reply.body)
    try:
        await gate.funds.accept(reserved, wamid, wa_id)
    except UNAVAILABLE as error:
        log.warning("hold %s: accepted by the upstream, not yet noted: %s", reserved.hold_id, error)


async def _give_back(gate: Gate, reserved: Reserved) -> None:
    try:
        await gate.funds.reject(reserved)
    except UNAVAILABLE as error:
        log.warning("hold %s: not given back yet: %s", reserved.hold_id, error)


async def _without_stores(gate: Gate, call: Call, priced: Priced, error: Exception) -> Reply:
    """Answer while a store is away: what is free in every state passes, the rest waits."""
    if priced.offer.always_free:
        metrics.UNACCOUNTED.inc()
        return await _forward_unmetered(gate, call)
    log.warning("send for number %s not taken: %s", call.number and call.number.number_id, error or "overloaded")
    metrics.SENDS.labels("paid", priced.offer.category, "unavailable").inc()
    sentence = (
        "The balance can not be checked at the moment. The message was not sent and nothing was charged; try again."
    )
    reply = error_reply(call.route.dialect, status=503, code=CODE_UNAVAILABLE, sentence=sentence)
    return reply.with_headers(("Retry-After", RETRY_AFTER_S))


async def _forward_unmetered(gate: Gate, call: Call) -> Reply:
    """Send what costs nothing and needs no hold: mark-as-read, typing, a reaction while the stores are away."""
    try:
        return await gate.upstream.send(call.path_qs(), call.headers(), call.request.body)
    except NotSentError:
        sentence = "WhatsApp could not be reached; try again."
        return error_reply(call.route.dialect, status=502, code=CODE_UNAVAILABLE, sentence=sentence)
    except FateUnknownError:
        sentence = "WhatsApp did not answer in time."
        return error_reply(call.route.dialect, status=504, code=CODE_UNAVAILABLE, sentence=sentence)


def _bad_request(dialect: Dialect, sentence: str) -> Reply:
    metrics.SENDS.labels("none", "none", "invalid").inc()
    return error_reply(dialect, status=400, code=CODE_PARAMETER, sentence=sentence)


def _ids(body: bytes) -> tuple[str | None, str | None]:
    """Return the message id of the upstream's answer, and the recipient as WhatsApp names it."""
    try:
        answer = json.loads(body)
    except ValueError:
        return None, None
    return _text(answer, "messages", "id") or _text(answer, "calls", "id"), _text(answer, "contacts", "wa_id")


def _text(answer: Any, of: str, name: str) -> str | None:
    """Return a text of the first element of a list, whatever else an answer may look like."""
    try:
        value = answer[of][0][name]
    except (LookupError, TypeError):
        return None
    return storable(value) if isinstance(value, str) and value else None
