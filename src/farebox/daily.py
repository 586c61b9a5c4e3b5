"""Compares all books once a day, by the one clock: what `farebox reconcile` does by hand, as a metric and in the log.

One worker does it, elected by a lock of its own, so that the sweep goes on meanwhile. The day is remembered in the
database: a restart does not repeat it, and a run that was cut short is not remembered and so is made again.
"""

import json
import logging
from collections import Counter
from datetime import UTC, datetime

from farebox import metrics
from farebox.core.difference import Kind
from farebox.gate import Gate
from farebox.ledger import Ledger
from farebox.reconcile import LOOKS, compare

log = logging.getLogger(__name__)

DAILY_LOCK = 0x6461_696C_79  # "daily"
TIMEOUT_S = 300  # the sums of a large ledger take longer than a send may wait
MAX_LOGGED = 100  # numbers that differ, in the log; `farebox reconcile` says all


async def reconcile_daily(gate: Gate) -> bool:
    """Compare all books if that was not done today; return whether it was done now."""
    async with gate.ledger.elected(DAILY_LOCK) as elected:
        if not elected:
            return False
        today = datetime.fromtimestamp(gate.clock.now_ms() / 1000, UTC).date()
        last = await gate.ledger.fetch_one("last_reconciliation")
        if last is not None and last["day"] >= today:
            _show(json.loads(last["differing"]))
            return False
        numbers, differing = await _compare(gate)
        await gate.ledger.fetch("put_reconciliation", today, numbers, json.dumps(differing), gate.clock.now_ms())
        _show(differing)
        log.info("the books of %d numbers compared, %s", numbers, differing or "all agree")
        return True


async def _compare(gate: Gate) -> tuple[int, Counter[str]]:
    assert gate.settings.database_url is not None, "the supervisor names the stores"
    numbers, differing, logged = 0, Counter[str](), 0
    patient = await Ledger.connect(gate.settings.database_url, timeout_s=TIMEOUT_S)
    try:
        async for comparison in compare(patient, gate.wallet, looks=LOOKS):
            numbers += 1
            differing.update({difference.kind.value for difference in comparison.found})
            logged += bool(comparison.found)
            if logged <= MAX_LOGGED:
                for text in comparison.differences:
                    log.warning("number %s: %s", comparison.facts.number_id, text)
    finally:
        await patient.aclose()
    return numbers, differing


def _show(differing: dict[str, int]) -> None:
    for kind in Kind:
        metrics.LEDGER_DRIFT.labels(kind.value).set(differing.get(kind.value, 0))
