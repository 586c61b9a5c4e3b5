"""Messages: found by wamid, recipient or reference; each explains why it cost what it cost."""

import re
from uuid import UUID

from aiohttp import web

from farebox.admin.messages import find_message
from farebox.admin.numbers import number_in_use
from farebox.admin.problems import ProblemError
from farebox.admin.sentences import sentences
from farebox.core.hold import first_hold_id
from farebox.web.visit import Visit, go, label

PAGE = 50
STATES = {
    "reserved": ("warn", "sending"),
    "accepted": ("warn", "on its way"),
    "settled": ("good", "delivered"),
    "released": ("", "not sent or failed"),
    "expired": ("", "timed out"),
}
_ENDING = re.compile(r"[0-9]{4,20}")
_LAST = first_hold_id(2**47)  # after every id there is


async def show(visit: Visit) -> web.Response:
    """Search, or show the latest."""
    asked = visit.query.get("q", "").strip()
    numbers = await visit.numbers()
    ids = [number.phone_number_id for number in numbers]
    if asked:
        found = await find_message(visit.gate.ledger, asked)
        if found is not None and found.phone_number_id in ids:
            return go(f"/messages/{found.hold_id}")
        ending = asked.lstrip("+") if _ENDING.fullmatch(asked.lstrip("+")) else None
        before = _before(visit.query.get("before"))
        rows = await visit.gate.ledger.fetch("search_messages", ids, ending, asked[:512], before, PAGE + 1)
    else:
        rows = await visit.gate.ledger.fetch("latest_messages", ids, PAGE)
    zones = {id_: (await number_in_use(visit.gate, id_)).zone for id_ in ids}
    return visit.page(
        "messages.html",
        asked=asked,
        rows=rows[:PAGE],
        more=rows[PAGE - 1]["hold_id"] if len(rows) > PAGE else None,
        zones=zones,
        numbers={number.phone_number_id: number for number in numbers},
        label=label,
        states=STATES,
    )


async def explain(visit: Visit) -> web.Response:
    """Explain a message in sentences, with the evidence."""
    message = await find_message(visit.gate.ledger, visit.request.match_info["message_id"])
    numbers = {number.phone_number_id: number for number in await visit.numbers()}
    if message is None or message.phone_number_id not in numbers:
        raise ProblemError(404, visit.tongue.say("This account has no such message."))
    zone = (await number_in_use(visit.gate, message.phone_number_id)).zone
    return visit.page(
        "message.html",
        message=message,
        sentences=list(sentences(message, visit.tongue)),
        number=numbers[message.phone_number_id],
        label=label,
        zone=zone,
        states=STATES,
    )


def _before(text: str | None) -> UUID:
    try:
        return UUID(text) if text else _LAST
    except ValueError:
        return _LAST
