"""What a farebox key may do beside its numbers: categories of messages, and how many a minute. And a number's pace."""

import asyncio
import time

from farebox.access import Call
from farebox.core.reply import CODE_PERMISSION, CODE_RATE, Reply, error_reply
from farebox.funds import Reserved
from farebox.gate import Gate

LONGEST_TURN_S = 1  # take.lua gives none that is further away; a clock that was set back must not hold a message up


async def its_turn(gate: Gate, reserved: Reserved) -> None:
    """Wait until it is a send's turn, by the pace of its number (`lua/take.lua`)."""
    wait_ms = reserved.leaves_at_ms - gate.clock.now_ms()
    if wait_ms > 0:
        await asyncio.sleep(min(wait_ms / 1000, LONGEST_TURN_S))


def out_of_scope(call: Call, category: str) -> Reply | None:
    """Return the refusal of a message whose category is not its key's, None where it may go."""
    key = call.key
    if key is None or key.categories is None or category in key.categories:
        return None
    allowed = ", ".join(key.categories)
    sentence = f"This farebox key may send {allowed} only, and this is {category}. Nothing was charged."
    return error_reply(call.route.dialect, status=403, code=CODE_PERMISSION, sentence=sentence)


def too_fast(gate: Gate, call: Call) -> Reply | None:
    """Return the refusal of a message that comes too soon for its key, None where it may go and is counted."""
    key = call.key
    if key is None or key.per_minute is None:
        return None
    wait_s = gate.paces.wait_s(key, time.monotonic(), workers=gate.settings.workers)
    if wait_s <= 0:
        return None
    sentence = f"This farebox key may send {key.per_minute} messages a minute; wait and try again. Nothing was charged."
    reply = error_reply(call.route.dialect, status=429, code=CODE_RATE, sentence=sentence)
    return reply.with_headers(("Retry-After", str(max(1, round(wait_s)))))
