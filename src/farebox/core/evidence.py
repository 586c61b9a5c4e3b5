"""What the wallet saw when it decided, as `take.lua` writes it and as people and programs read it.

"csw until 1790000000000", "unit 3 of 1000 in service:2026-11", "marketing conversation pending", or several of them in
a row where a term asks for more than one thing.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from farebox.core.words import PLAIN, Words

_PIECE = re.compile(
    r"(?P<window>csw|fep|fep_offer) until (?P<until>\d+)"
    r"|unit (?P<unit>\d+) of (?P<size>\d+) in (?P<pool>\S+)"
    r"|(?P<category>\w+) conversation (?:pending|until (?P<ends>\d+))"
)
WINDOWS = {
    "csw": "customer service window",
    "fep": "free entry point window",
    "fep_offer": "time to answer a click on an ad",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """The windows, the free unit and the conversation that a decision rests on; None or empty where on none."""

    windows: tuple[tuple[str, int], ...] = ()  # name, end in ms
    unit: int | None = None
    pool: str | None = None
    pool_size: int | None = None
    conversation: str | None = None
    conversation_until_ms: int | None = None  # None while the message that opens it has not arrived


def read_evidence(text: str) -> Evidence:
    """Read what the wallet wrote."""
    windows: list[tuple[str, int]] = []
    found: dict[str, Any] = {}
    for piece in _PIECE.finditer(text):
        if piece["window"]:
            windows.append((piece["window"], int(piece["until"])))
        elif piece["pool"]:
            found |= {"unit": int(piece["unit"]), "pool": piece["pool"], "pool_size": int(piece["size"])}
        else:
            ends = int(piece["ends"]) if piece["ends"] else None
            found |= {"conversation": piece["category"], "conversation_until_ms": ends}
    return Evidence(windows=tuple(windows), **found)


def say_evidence(text: str, zone: tzinfo = UTC, words: Words = PLAIN) -> str:
    """Write evidence for people, times in their zone; "" where there is none."""
    evidence, say = read_evidence(text), words.say
    said = [
        say("%(window)s open until %(time)s", window=say(WINDOWS[name]), time=words.moment(_at(ends_ms), zone))
        for name, ends_ms in evidence.windows
    ]
    if evidence.unit is not None and evidence.pool_size is not None:
        unit, size = words.count(evidence.unit), words.count(evidence.pool_size)
        said.append(say("free unit %(unit)s of %(size)s in %(pool)s", unit=unit, size=size, pool=evidence.pool))
    if evidence.conversation is not None:
        ends_ms, category = evidence.conversation_until_ms, evidence.conversation
        if ends_ms is None:
            said.append(say("%(category)s conversation not delivered yet", category=category))
        else:
            until = words.moment(_at(ends_ms), zone)
            said.append(say("%(category)s conversation open until %(time)s", category=category, time=until))
    return ", ".join(said)


def _at(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms // 1000, UTC)
