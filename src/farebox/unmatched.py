"""Statuses whose message is not known: they wait in the ledger, and what was delivered is charged from its own price.

A status may overtake the answer to its send, so it waits for longer than a send may take. What is still unknown then
came through this number past the gateway's records: sent elsewhere with the number's token, or passed as free while a
store was away. WhatsApp delivered it on this number's bill, so it is charged once, at the price that its webhook names.
"""

import json
import logging
from uuid import UUID

from farebox import metrics, news
from farebox.bookkeeping import FREE_UNIT_TYPES, happened_ms, keep_statuses
from farebox.core.fare import card_category
from farebox.core.hold import TTL_MS, State
from farebox.core.tariff import Class, UnpricedError
from farebox.core.webhook import Status
from farebox.directory import Number
from farebox.gate import UNAVAILABLE, Gate
from farebox.quarantine import HeldError, put, reason_of
from farebox.rows import new_hold_id

log = logging.getLogger(__name__)

WHY = "a delivery of a message that did not come through this gateway's records"
# How long after the last moment of a send its wamid may take into the ledger: a worker's death and restart included.
ANSWER_GRACE_MS = 300_000
MAX_BATCH = 500  # statuses tried again in one go
OLDEST_MS = TTL_MS + 86_400_000  # how far back an adopted message is dated, whatever its webhook says


async def wait(gate: Gate, number: Number, status: Status) -> None:
    """Keep a status for the sweep. What decides nothing is not kept."""
    if not (status.delivered or status.status == "failed"):
        return
    priced = "priced" if status.pricing is not None else ""  # of two alike, one with a price must not be lost
    await gate.ledger.fetch(
        "put_unmatched",
        number.number_id,
        status.wamid,
        " ".join((status.status, priced, *status.users)),  # of a group, each member's status is one of its own
        json.dumps(status.record()),
        gate.clock.now_ms(),
    )


async def retry(gate: Gate) -> int:
    """Try statuses again whose message is known by now, and decide about those that have waited; return how many.

    Raises WalletUnavailableError, LedgerUnavailableError or OverloadedError; what was not decided waits on.
    """
    total = 0
    while True:
        patience_ms = int(gate.settings.upstream_timeout_s * 1000) + ANSWER_GRACE_MS
        rows = await gate.ledger.fetch("take_unmatched", MAX_BATCH, gate.clock.now_ms() - patience_ms)
        decided = 0
        for row in rows:
            number = gate.directory.numbers.get(row["number_id"])
            status = news.status(json.loads(row["payload"]))
            if number is not None and not await _decide(gate, number, status, waited=row["waited"]):
                continue
            await gate.ledger.fetch("drop_unmatched", row["number_id"], row["wamid"], row["status"])
            decided += 1
        total += decided
        if len(rows) < MAX_BATCH or not decided:
            return total


async def settle(gate: Gate, number: Number, status: Status) -> bool:
    """Settle a delivery of an unknown message from its own price; False where its send is just being accounted.

    Raises HeldError where that is not possible.
    """
    if not await keep_statuses(gate, number, [status]):
        return True
    if not status.wamid:
        raise HeldError("The status names no message, so nothing tells it from another one.")
    if status.pricing is None:
        raise HeldError("The message is not known here, and its delivery came without a price.")
    if not await _adopt(gate, number, status):
        return not await keep_statuses(gate, number, [status])
    await keep_statuses(gate, number, [status], compare=False)
    metrics.UNKNOWN_WAMIDS.labels("free" if status.pricing.free else "charged").inc()
    return True


async def _decide(gate: Gate, number: Number, status: Status, *, waited: bool) -> bool:
    """Decide about a status that waited; False where it must wait on."""
    try:
        if not waited or not status.delivered:
            # A failure of a message that nobody knows charges nothing: once it has waited, it is dropped.
            return not await keep_statuses(gate, number, [status]) or waited
        return await settle(gate, number, status)
    except UNAVAILABLE:
        raise
    except Exception as error:
        if not isinstance(error, HeldError):
            log.exception("a status that waited could not be decided about")
        metrics.UNKNOWN_WAMIDS.labels("quarantined").inc()
        (piece,) = news.of_statuses(news.Kind.UNMATCHED, number.number_id, [status], gate.clock.now_ms())
        await put(gate.ledger, piece, reason_of(error), gate.clock.now_ms())
        return True


async def _adopt(gate: Gate, number: Number, status: Status) -> bool:
    """Record a hold for a delivered message; False where the message has one, or is just getting one."""
    assert status.pricing is not None, "only what has a price is adopted"
    at_ms, now_ms = happened_ms(gate, status), gate.clock.now_ms()
    user = status.users[0] if status.users else ""
    category = card_category(status.pricing.category)
    try:
        tariff = gate.tariffs.at(number, at_ms)
        market = tariff.market_of(user)
        source = "" if status.pricing.free else tariff.list_rate(market, category).source
    except UnpricedError as error:
        raise HeldError(f"The message is not known here, and its delivery can not be priced: {error}.") from error
    row = await gate.ledger.fetch_one(
        "adopt_hold",
        new_hold_id(max(at_ms, now_ms - OLDEST_MS)),
        number.number_id,
        status.wamid,
        State.ACCEPTED.value,
        (Class.FREE if status.pricing.free else Class.PAID).value,
        tariff.tariff.name,
        category or ("service" if status.pricing.type in FREE_UNIT_TYPES else "unknown"),
        market,
        WHY,
        source,
        user,
        status.reference,
        now_ms,
        max(at_ms, now_ms - OLDEST_MS),
        now_ms + TTL_MS,
        _hold_id(status, now_ms),
    )
    return row is not None


def _hold_id(status: Status, now_ms: int) -> UUID | None:
    """Return the reference as a hold id if it can be one that was made in the life of a message."""
    try:
        reference = UUID(status.reference)
    except ValueError:
        return None
    made_ms = reference.int >> 80
    return reference if reference.version == 7 and now_ms - OLDEST_MS < made_ms <= now_ms + ANSWER_GRACE_MS else None
