"""How sends are put to `farebox/lua/take.lua`, and what it answers."""

from collections.abc import Sequence
from typing import Any

from farebox.asks import Ask, Decision, Gap, Taken
from farebox.core.limits import Limit, Reached, wire
from farebox.scripts import as_raised

MAX_PARTS_PER_CALL = 100  # of sends in one script call: it holds the store for about two milliseconds


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


def decisions_of(answer: Any, asks: Sequence[Ask]) -> Sequence[Decision | Gap | Exception]:
    """Read what was decided about the sends of one number, which share an answer."""
    if isinstance(answer, Exception):
        return [as_raised(answer)] * len(asks)
    epoch, *results = answer
    if not epoch:
        return [Gap.MISSING] * len(asks)
    return [
        Gap.UNREAD if result[0] == "unread" else decision_of(epoch, result, ask.limits)
        for result, ask in zip(results, asks, strict=True)
    ]


def in_calls(asks: list[Ask], *, shared: bool) -> list[list[list[int]]]:
    """Return for each call the places of the asks of each of its numbers, cut to what one call may carry.

    Those of one number that its rules are the same for stay together. Numbers that do not share their calls are alone,
    and so is a group that is more than that by itself.
    """
    by_number: dict[tuple[object, ...], list[int]] = {}
    for place, ask in enumerate(asks):
        rules = (ask.block_at_micros, ask.cover, ask.mode, ask.limits, ask.today, ask.key, ask.per_second)
        by_number.setdefault((ask.number_id, *rules), []).append(place)
    calls: list[list[list[int]]] = []
    room = 0
    for places in by_number.values():
        begun = False
        for place in places:
            parts = len(asks[place].parts)
            if parts > room or not (begun or shared):
                calls.append([])
                room, begun = MAX_PARTS_PER_CALL, False
            if not begun:
                calls[-1].append([])
                begun = True
            calls[-1][-1].append(place)
            room -= parts
    return calls


def take_arguments(numbers: list[list[Ask]], scratch: str = "") -> tuple[list[str], list[str]]:
    """Return keys and arguments of take.lua for the asks of each number, which share its rules.

    `scratch` begins the names of other keys than the number's own.
    """
    keys: list[str] = []
    arguments = [str(numbers[0][0].now_ms)]
    for asks in numbers:
        first = asks[0]
        number_id = first.number_id
        keys += (key_of(number_id, f"{scratch}wallet"), key_of(number_id, f"{scratch}holds"))
        limits = wire(first.limits, first.today) if first.today else "[]"
        arguments += (str(first.block_at_micros), "cover" if first.cover else "", first.mode, limits)
        arguments += (first.key, str(first.per_second or ""), str(len(asks)))
        for ask in asks:
            arguments.append(str(len(ask.parts)))
            for part in ask.parts:
                keys.append(key_of(number_id, f"{scratch}user:{part.user}"))
                arguments += (part.hold_id, part.category, part.offer)
    return keys, arguments
