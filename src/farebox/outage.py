"""Sends while a store is away, where the operator lets them pass up to an amount.

A send is on the disk before its bytes leave, with the hold id that travels along. When the stores answer again it is
accounted as it would have been: the same hold id, its own time, forced where the balance is not enough. What became of
it is a further line. So a crash anywhere loses nothing: a send without a word about its fate is one whose fate is
unknown, and its webhook decides, or its time to live.
"""

import logging
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from farebox.asks import Sent
from farebox.core.fare import Priced, price
from farebox.core.hold import Event
from farebox.core.message import Kind as MessageKind
from farebox.core.message import Message
from farebox.core.tariff import UnpricedError
from farebox.directory import Number
from farebox.funds import Fare
from farebox.gate import Gate
from farebox.news import Kind, Piece
from farebox.quarantine import HeldError
from farebox.rows import Resolution, new_hold_id
from farebox.spool import SpoolError

log = logging.getLogger(__name__)

NOTE = "sent while a store was away, accounted afterwards"


async def let_pass(gate: Gate, number: Number, message: Message, priced: Priced, *, takes_bids: bool) -> UUID | None:
    """Write a send to the disk and return its hold id: it may leave. None where it may not.

    A message to a group may not: what it costs depends on members that must be asked for. Nor may one without a price.
    """
    if gate.settings.on_outage != "allow_up_to" or message.group_id or priced.offer.unpriced:
        return None
    most_micros = max(term.fare_micros for term in priced.offer.terms)
    try:
        if not await _has_share(gate) or not gate.allowance.take(number.number_id, most_micros):
            return None
    except SpoolError as error:
        log.warning("a send must wait: %s", error)
        return None
    now_ms = gate.clock.now_ms()
    hold_id = new_hold_id(now_ms)
    content = {
        "hold_id": str(hold_id),
        "at_ms": now_ms,
        "most_micros": most_micros,
        "takes_bids": takes_bids,
        "message": message._asdict() | {"bid_multiplier": str(message.bid_multiplier)},
    }
    try:
        await gate.spool.append([Piece(Kind.SEND, number.number_id, content)])
    except SpoolError as error:
        gate.allowance.give_back(number.number_id, most_micros)
        log.warning("a send must wait: %s", error)
        return None
    gate.allowance.spend(number.number_id, most_micros)
    gate.spool.away = True  # what comes by webhook now must not overtake it
    return hold_id


async def note_taken(gate: Gate, number: Number, hold_id: UUID, wamid: str | None, user: str | None) -> None:
    """Write down that WhatsApp took a send."""
    await _note(gate, Piece(Kind.TAKEN, number.number_id, {"hold_id": str(hold_id), "wamid": wamid, "user": user}))


async def note_not_taken(gate: Gate, number: Number, hold_id: UUID) -> None:
    """Write down that WhatsApp did not take a send. Its share stays used until it is accounted."""
    await _note(gate, Piece(Kind.NOT_TAKEN, number.number_id, {"hold_id": str(hold_id)}))


async def account(gate: Gate, number: Number, content: dict[str, Any]) -> None:
    """Set the fare of a send aside that has left: once, however often it is told.

    Raises HeldError where it can not be priced, WalletUnavailableError, LedgerUnavailableError or OverloadedError.
    """
    hold_id, fields = UUID(content["hold_id"]), content["message"]
    if await gate.ledger.find_holds([hold_id], []):
        return
    kind, multiplier = MessageKind(fields["kind"]), Decimal(fields["bid_multiplier"])
    message = Message(**{**fields, "kind": kind, "bid_multiplier": multiplier})
    try:
        priced = await _price(gate, number, message, content)
    except UnpricedError as error:
        raise HeldError(f"A message that left during an outage can not be priced: {error}.") from error
    priced = replace(priced, note="; ".join(filter(None, (NOTE, priced.note))))
    await gate.funds.reserve(
        number, message, [Fare(message.user, priced, message.user)], sent=Sent(hold_id, content["at_ms"])
    )


async def account_taken(gate: Gate, number: Number, content: dict[str, Any]) -> None:
    """Note that WhatsApp took a send that is accounted by now.

    Where its delivery was charged from the webhook meanwhile, that charge stands, and this hold is given back.
    """
    hold_id, wamid = UUID(content["hold_id"]), content["wamid"]
    if not await gate.ledger.find_holds([hold_id], []):
        return
    if wamid is not None:
        row = await gate.ledger.fetch_one("claim_message", number.number_id, wamid, hold_id, gate.clock.now_ms())
        if row is not None and row["hold_id"] != hold_id:
            log.info("hold %s: its delivery was charged from the webhook, as hold %s", hold_id, row["hold_id"])
            await give_back(gate, number, content)
            return
    await gate.ledger.accept(hold_id, wamid, content["user"], may_gather=False)


async def give_back(gate: Gate, _: Number, content: dict[str, Any]) -> None:
    """Give back the fare of a send that WhatsApp did not take."""
    holds = await gate.ledger.find_alone([UUID(content["hold_id"])])
    await gate.funds.resolve(Event.REJECT, [Resolution(hold, 0) for hold in holds])


async def _has_share(gate: Gate) -> bool:
    """Tell whether this worker's slot has a share of the allowance. A file that is new here is counted first."""
    workers, slot = gate.settings.workers, (await gate.spool.open()).slot
    if slot >= workers:
        await gate.spool.step_down()
        slot = (await gate.spool.open()).slot
    if slot >= workers:
        return False
    async with gate.allowance.counting:
        if gate.allowance.slot != slot:
            # Files past the shares are of a time with more workers: they count everywhere, which errs on the safe side.
            gate.allowance.remember(await gate.spool.pieces_of(lambda other: other == slot or other >= workers))
            gate.allowance.slot = slot
    return True


async def _price(gate: Gate, number: Number, message: Message, content: dict[str, Any]) -> Priced:
    category = bid_amount = None
    if message.kind is MessageKind.TEMPLATE:
        template = await gate.templates.find(number, message.template_name, message.template_language)
        if template is not None:
            category, bid_amount = template.category, template.bid_amount if content["takes_bids"] else None
    tariff = gate.tariffs.at(number, content["at_ms"])
    return price(message, template_category=category, tariff=tariff, bid_amount=bid_amount)


async def _note(gate: Gate, piece: Piece) -> None:
    try:
        await gate.spool.append([piece])
    except SpoolError as error:
        # The message is out all the same; its webhook brings the hold id.
        log.warning("hold %s: what became of it is not written down: %s", piece.content["hold_id"], error)


HANDLERS = {Kind.SEND: account, Kind.TAKEN: account_taken, Kind.NOT_TAKEN: give_back}
