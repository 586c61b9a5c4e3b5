"""How sends are put to `farebox/lua/take.lua`, and what it answers."""

from collections.abc import Sequence
from typing import Any

from farebox.asks import Ask, Decision, Taken
from farebox.core.limits import Limit, Reached, wire

MAX_SENDS_PER_CALL = 100  # of one number in one script call, so that other numbers get their turn


def key_of(number_id: str, name: str) -> str:
    """Return the name of one of a number's keys: all share a hash tag, and so a slot of a cluster."""
    return f"farebox:{{{number_id}}}:{name}"


def decision_of(epoch: str, send: list[Any], limits: Sequence[Limit]) -> Decision:
    """Read what was decided about one send."""
    outcome, available, reached, wait_ms, *parts = send
    return Decision(
        taken=outcome in ("taken", "overdrawn"),
        overdrawn=outcome == "overdrawn",
        available_micros=int(available),
        parts=tuple([Taken(term - 1, evidence, bool(paid), rides) for term, evidence, paid, rides, *_ in parts]),
        epoch=int(epoch),
        reached=Reached(limits[reached[0] - 1], int(reached[1])) if reached else None,
        wait_ms=int(wait_ms),
    )


def in_calls(asks: list[Ask]) -> list[list[int]]:
    """Return the places of the asks that share a number (and its rules), cut to what one call may carry."""
    by_number: dict[tuple[object, ...], list[int]] = {}
    for place, ask in enumerate(asks):
        rules = (ask.block_at_micros, ask.cover, ask.mode, ask.limits, ask.today, ask.key, ask.per_second)
        by_number.setdefault((ask.number_id, *rules), []).append(place)
    return [
        places[start : start + MAX_SENDS_PER_CALL]
        for places in by_number.values()
        for start in range(0, len(places), MAX_SENDS_PER_CALL)
    ]


def take_arguments(asks: list[Ask], scratch: str = "") -> tuple[list[str], list[str]]:
    """Return keys and arguments of take.lua; `scratch` begins the names of other keys than the number's own."""
    first = asks[0]
    number_id = first.number_id
    keys = [key_of(number_id, f"{scratch}wallet"), key_of(number_id, f"{scratch}holds")]
    rules = [str(first.block_at_micros), "cover" if first.cover else "", first.mode]
    limits = wire(first.limits, first.today) if first.today else "[]"
    arguments = [str(first.now_ms), *rules, limits, first.key, str(first.per_second or "")]
    for ask in asks:
        arguments.append(str(len(ask.parts)))
        for part in ask.parts:
            keys.append(key_of(number_id, f"{scratch}user:{part.user}"))
            arguments += [part.hold_id, part.category, part.offer]
    return keys, arguments
