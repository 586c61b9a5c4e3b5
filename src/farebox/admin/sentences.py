"""Why a message cost what it cost, in a few sentences for whoever pays the bill."""

from collections.abc import Iterator
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from farebox.admin.messages import Message
from farebox.core.evidence import say_evidence
from farebox.core.words import PLAIN, Words


def sentences(message: Message, words: Words = PLAIN) -> Iterator[str]:
    """Say what a message was, what it cost and why, and what became of it."""
    zone, say = _zone(message.timezone), words.say
    yield say(
        "The %(category)s message of %(time)s from number %(number)s to %(recipient)s, market %(market)s, counts as "
        "%(class)s: %(why)s (tariff %(tariff)s).",
        category=message.category,
        time=words.moment(message.created_at, zone),
        number=message.phone_number_id,
        recipient=message.recipient,
        market=message.market,
        why=say(message.why),
        tariff=message.regime,
        **{"class": say(message.message_class)},
    )
    if message.template:
        yield say("It was sent with the template %(template)s.", template=message.template)
    if message.evidence:
        yield say("At that moment: %(evidence)s.", evidence=say_evidence(message.evidence, zone, words))
    yield from _fare(message, words)
    yield from _conversation(message, zone, words)
    yield from _fate(message, zone, words)
    yield from _drift(message, words)
    if message.late:
        yield say("It had been given up before, so this is a late charge: it was delivered after all.")
    if message.overdrawn:
        yield say("The number was in shadow mode: enforcement would have refused this message for lack of funds.")
    if message.note:
        yield say("Note: %(note)s.", note=message.note)


def _fare(message: Message, words: Words) -> Iterator[str]:
    say, currency = words.say, message.currency
    if not message.fare:
        yield say("Its fare was 0.00: nothing was set aside.")
        return
    yield say("%(fare)s were set aside.", fare=words.money(message.fare, currency))
    parts = message.fare_parts
    if parts is not None and (parts.markup or parts.tax):
        yield say(
            "Of that %(rate)s is Meta's rate, %(markup)s the account's mark-up, %(tax)s tax.",
            rate=words.money(parts.rate, currency),
            markup=words.money(parts.markup, currency),
            tax=words.money(parts.tax, currency),
        )
    yield say("The rate stands in %(row)s.", row=_row(message.rate_source, words))


def _conversation(message: Message, zone: ZoneInfo, words: Words) -> Iterator[str]:
    conversation, say = message.conversation, words.say
    if conversation is None:
        return
    if conversation.rides is not None:
        yield say(
            "It is part of the conversation that hold %(hold)s opened, so it costs nothing more.",
            hold=conversation.rides,
        )
    elif conversation.until is not None:
        yield say(
            "It opened a %(category)s conversation, open until %(time)s.",
            category=conversation.opens,
            time=words.moment(conversation.until, zone),
        )
    else:
        yield say("It opens a %(category)s conversation when it is delivered.", category=conversation.opens)


def _fate(message: Message, zone: ZoneInfo, words: Words) -> Iterator[str]:
    """Say what became of the message and its money."""
    webhook, say = message.webhook, words.say
    when = words.moment(message.ended_at, zone) if message.ended_at else ""
    match message.ended_by:
        case None:
            by = words.moment(message.expires_at, zone)
            if message.state == "accepted":
                yield say(
                    "WhatsApp took it, and its delivery is open; what is set aside comes back by %(time)s.", time=by
                )
            else:
                yield say(
                    "WhatsApp's answer is not known, and its delivery is open; what is set aside comes back by "
                    "%(time)s.",
                    time=by,
                )
        case "reject":
            yield say("WhatsApp did not take it, so everything was given back on %(time)s.", time=when)
        case "fail" if webhook is not None and webhook.error_code:
            yield say(
                "WhatsApp reported on %(time)s that it failed with error %(code)s, so nothing was charged.",
                time=when,
                code=webhook.error_code,
            )
        case "fail":
            yield say("WhatsApp reported on %(time)s that it failed, so nothing was charged.", time=when)
        case "time_out":
            yield say("Nothing was heard of it until %(time)s, so everything was given back.", time=when)
        case _:
            status = webhook.status if webhook is not None and webhook.status else "delivered"
            if webhook is not None and webhook.pricing is not None:
                priced = " ".join(filter(None, webhook.pricing.values()))
                yield say("WhatsApp reported it %(status)s as %(priced)s.", status=say(status), priced=priced)
            else:
                yield say("WhatsApp reported it %(status)s without a price.", status=say(status))
            yield _charge(message, words)


def _charge(message: Message, words: Words) -> str:
    say, billed = words.say, message.billed or 0
    if not billed:
        return say("So nothing was charged.")
    charged, more = words.money(billed, message.currency), billed - message.fare
    difference = words.money(abs(more), message.currency)
    if more > 0:
        return say("So %(charged)s were charged, %(more)s more than was set aside.", charged=charged, more=difference)
    if more < 0:
        return say("So %(charged)s were charged, %(less)s less than was set aside.", charged=charged, less=difference)
    return say("So %(charged)s were charged.", charged=charged)


def _drift(message: Message, words: Words) -> Iterator[str]:
    if message.drift is None:
        return
    say, ours, theirs = words.say, message.drift.ours, message.drift.theirs
    yield say(
        "WhatsApp saw it otherwise (%(differs)s): we had reserved %(our_class)s %(our_category)s in %(our_market)s, it "
        "was delivered as %(their_class)s %(their_category)s in %(their_market)s.",
        differs=", ".join(message.drift.differs),
        our_class=say(ours.message_class),
        our_category=ours.category,
        our_market=ours.market,
        their_class=say(theirs.message_class),
        their_category=theirs.category or theirs.type,
        their_market=theirs.market,
    )
    if theirs.rate_source:
        yield say("That is priced by %(row)s.", row=_row(theirs.rate_source, words))


def _row(source: str, words: Words) -> str:
    """Write "rates/x.csv:7" as people say it."""
    file, _, line = source.rpartition(":")
    return words.say("line %(line)s of %(file)s", line=line, file=file) if file else source


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
