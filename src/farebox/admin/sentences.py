"""Why a message cost what it cost, in a few sentences for whoever pays the bill."""

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from farebox.admin.messages import Message
from farebox.core.evidence import say_evidence
from farebox.core.money import format_micros


def sentences(message: Message) -> Iterator[str]:
    """Say what a message was, what it cost and why, and what became of it."""
    zone = _zone(message.timezone)
    what = f"{message.category} message" + (f" (template {message.template})" if message.template else "")
    yield (
        f"The {what} of {_at(message.created_at, zone)} from number {message.phone_number_id} to {message.recipient}, "
        f"market {message.market}, counts as {message.message_class}: {message.why} (tariff {message.regime})."
    )
    if message.evidence:
        yield f"At that moment: {say_evidence(message.evidence, zone)}."
    yield from _fare(message)
    yield from _conversation(message, zone)
    yield from _fate(message, zone)
    if message.drift is not None:
        ours, theirs = message.drift.ours, message.drift.theirs
        yield (
            f"WhatsApp saw it otherwise ({', '.join(message.drift.differs)}): we had reserved {ours.message_class} "
            f"{ours.category} in {ours.market}, it was delivered as {theirs.message_class} "
            f"{theirs.category or theirs.type} in {theirs.market}"
            + (f", priced by {_row(theirs.rate_source)}." if theirs.rate_source else ".")
        )
    if message.late:
        yield "It had been given up before, so this is a late charge: it was delivered after all."
    if message.overdrawn:
        yield "The number was in shadow mode: enforcement would have refused this message for lack of funds."
    if message.note:
        yield f"Note: {message.note}."


def _fare(message: Message) -> Iterator[str]:
    if not message.fare:
        yield "Its fare was 0.00: nothing was set aside."
        return
    fare = f"{format_micros(message.fare)} {message.currency} were set aside"
    parts = message.fare_parts
    if parts is not None and (parts.markup or parts.tax):
        fare += (
            f": {format_micros(parts.rate)} is Meta's rate, {format_micros(parts.markup)} the account's mark-up, "
            f"{format_micros(parts.tax)} tax"
        )
    yield f"{fare}. The rate stands in {_row(message.rate_source)}."


def _conversation(message: Message, zone: ZoneInfo) -> Iterator[str]:
    conversation = message.conversation
    if conversation is None:
        return
    if conversation.rides is not None:
        yield f"It is part of the conversation that hold {conversation.rides} opened, so it costs nothing more."
    elif conversation.until is not None:
        yield f"It opened a {conversation.opens} conversation, open until {_at(conversation.until, zone)}."
    else:
        yield f"It opens a {conversation.opens} conversation when it is delivered."


def _fate(message: Message, zone: ZoneInfo) -> Iterator[str]:
    """Say what became of the message and its money."""
    webhook = message.webhook
    when = _at(message.ended_at, zone) if message.ended_at else ""
    match message.ended_by:
        case None:
            taken = "WhatsApp took it" if message.state == "accepted" else "WhatsApp's answer is not known"
            yield f"{taken}, and its delivery is open; what is set aside comes back by {_at(message.expires_at, zone)}."
        case "reject":
            yield f"WhatsApp did not take it, so everything was given back on {when}."
        case "fail":
            error = f" with error {webhook.error_code}" if webhook and webhook.error_code else ""
            yield f"WhatsApp reported on {when} that it failed{error}, so nothing was charged."
        case "time_out":
            yield f"Nothing was heard of it until {when}, so everything was given back."
        case _:
            priced = "without a price"
            if webhook is not None and webhook.pricing is not None:
                priced = f"as {' '.join(filter(None, webhook.pricing.values()))}"
            yield f"WhatsApp reported it {webhook.status if webhook else 'delivered'} {priced}, {_charge(message)}."


def _charge(message: Message) -> str:
    billed = message.billed or 0
    if not billed:
        return "so nothing was charged"
    charged = f"so {format_micros(billed)} {message.currency} were charged"
    more = billed - message.fare
    if not more:
        return charged
    return (
        f"{charged}, {format_micros(abs(more))} {message.currency} {'more' if more > 0 else 'less'} than was set aside"
    )


def _row(source: str) -> str:
    """Write "rates/x.csv:7" as people say it."""
    file, _, line = source.rpartition(":")
    return f"line {line} of {file}" if file else source


def _at(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
