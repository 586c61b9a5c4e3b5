"""Who looks when: at once where a send saw too little left, and every few seconds at whatever was missed."""

import asyncio
import logging
from collections.abc import Iterable

from farebox import metrics
from farebox.core import alerts
from farebox.core.alerts import SPIKE_FACTOR, SPIKE_FROM_MICROS, Alert
from farebox.core.hold import first_hold_id
from farebox.core.renewal import has_moved, propose
from farebox.gate import UNAVAILABLE, Gate
from farebox.tariffs import local_day
from farebox.watch.looks import carry_on, look

log = logging.getLogger(__name__)

WATCH_LOCK = 0x7761_7463_68  # "watch"
PAUSE_S = 0.2  # between two looks at the same number that sends ask for: well below the second that is promised
AT_ONCE = 4  # looks at a time: half of a worker's connections to the ledger
PAGE = 500  # wallets in one round trip
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SPIKE_DAYS = 7  # before, whose same hour is compared: one of each weekday


async def follow_wakes(gate: Gate) -> None:
    """Look at the numbers that sends have found low, as soon as they say so."""
    while True:
        await _look_at(gate, await gate.wakes.next())
        await asyncio.sleep(PAUSE_S)


async def watch_pass(gate: Gate) -> int | None:
    """Look at every number that may need it; return how many, None where another worker does."""
    async with gate.ledger.elected(WATCH_LOCK) as elected:
        if not elected:
            return None
        under_way = await gate.ledger.fetch("renewals_under_way", gate.clock.now_ms())
        due = {row["number_id"] for row in under_way} & gate.directory.numbers.keys()
        for number_id in due:
            await _safely(gate, number_id, carrying=True)
        due |= await _changed(gate)
        await _look_at(gate, due)
    return len(due)


async def _changed(gate: Gate) -> set[str]:
    """Return the numbers that a rule or level may have something to say about, and whose balance has moved."""
    listed = {row["number_id"] for row in await gate.ledger.fetch("levels_to_watch")}
    watched = [n for n in gate.directory.numbers.values() if n.watch_micros is not None or n.number_id in listed]
    changed = set()
    for start in range(0, len(watched), PAGE):
        page = watched[start : start + PAGE]
        for number, available in zip(page, await _available(gate, [n.number_id for n in page]), strict=True):
            low = number.watch_micros is not None and available < number.watch_micros
            if (low or number.number_id in listed) and gate.wakes.is_news(
                number.number_id, available, gate.clock.now_ms()
            ):
                changed.add(number.number_id)
    return changed


async def _available(gate: Gate, number_ids: list[str]) -> list[int]:
    """Return what numbers have available: from their wallets, and from the ledger where a wallet is missing."""
    positions = dict(zip(number_ids, await gate.wallet.positions(number_ids), strict=True))
    found = {number_id: position.available_micros for number_id, position in positions.items() if position is not None}
    missing = [number_id for number_id in number_ids if number_id not in found]
    if missing:
        for row in await gate.ledger.fetch("ledger_money", missing):
            found[row["number_id"]] = row["balance_micros"] - row["held_micros"]
    return [found[number_id] for number_id in number_ids]


async def _look_at(gate: Gate, number_ids: Iterable[str]) -> None:
    turns = asyncio.Semaphore(AT_ONCE)

    async def in_turn(number_id: str) -> None:
        async with turns:
            await _safely(gate, number_id, carrying=False)

    await asyncio.gather(*(in_turn(number_id) for number_id in number_ids if number_id in gate.directory.numbers))


async def _safely(gate: Gate, number_id: str, *, carrying: bool) -> None:
    """Look at a number; one that can not be looked at must not keep the others waiting."""
    number = gate.directory.numbers[number_id]
    try:
        await (carry_on if carrying else look)(gate, number)
    except UNAVAILABLE as error:
        log.warning("number %s is looked at later: %s", number_id, error)
    except Exception:
        log.exception("number %s was not looked at", number_id)


async def slow_pass(gate: Gate) -> None:
    """Tell what is no matter of seconds; once for each occasion, whoever looks."""
    await _spikes(gate)
    await _cards(gate)
    await _moved(gate)


async def _spikes(gate: Gate) -> None:
    """Tell of numbers whose last hour cost far more than usual; once an hour for each.

    Usual is what the same hour of the days before has cost: so a campaign every morning is no news. At a quiet hour the
    mean hour stands in for it, so that a night's first messages are none either. A number without a past has no usual.
    """
    now_ms = gate.clock.now_ms()
    ends = [now_ms - days * DAY_MS for days in range(SPIKE_DAYS + 1)]
    hours = [first_hold_id(end - HOUR_MS) for end in ends], [first_hold_id(end) for end in ends]
    for row in await gate.ledger.fetch("spikes", now_ms, *hours, SPIKE_FROM_MICROS):
        number = gate.directory.numbers.get(row["number_id"])
        usual_micros = max(row["same_micros"], row["mean_micros"])
        if number is None or usual_micros <= 0 or row["hour_micros"] < SPIKE_FACTOR * usual_micros:
            continue
        alert = alerts.spike(
            hour_micros=row["hour_micros"],
            usual_micros=usual_micros,
            currency=number.currency,
            occasion=f"hour {now_ms // HOUR_MS}",
        )
        await _raise(gate, number.number_id, alert, row["balance_micros"])


async def _cards(gate: Gate) -> None:
    """Tell of cards that rules charge and that end soon."""
    for row in await gate.ledger.fetch("cards_ending", gate.clock.now_ms(), alerts.CARD_ENDS_DAYS):
        alert = alerts.card_expiring(
            brand=row["brand"],
            last4=row["last4"],
            expires=row["expires"],
            account_id=row["account_id"],
            method=row["method"],
        )
        await _raise(gate, row["number_id"], alert, row["balance_micros"])


async def _moved(gate: Gate) -> None:
    """Tell of smart rules whose formula makes far more or less of the spend than what was accepted; once a month."""
    now_ms = gate.clock.now_ms()
    for row in await gate.ledger.fetch("smart_rules", now_ms):
        number, proposal = gate.directory.numbers.get(row["number_id"]), propose(row["daily_micros"])
        if number is None or proposal is None or not has_moved(row["amount_micros"], proposal.amount_micros):
            continue
        alert = alerts.moved(
            accepted=(row["threshold_micros"], row["amount_micros"]),
            now=(proposal.threshold_micros, proposal.amount_micros),
            currency=number.currency,
            occasion=f"{row['amount_micros']} {local_day(now_ms, number.zone):%Y-%m}",
        )
        await _raise(gate, number.number_id, alert, row["balance_micros"])


async def _raise(gate: Gate, number_id: str, alert: Alert, balance_micros: int) -> None:
    said = (alert.kind.value, alert.occasion, alert.sentence, balance_micros, alert.missing_micros)
    if await gate.ledger.fetch("raise_alert", number_id, *said, gate.clock.now_ms()):
        metrics.ALERTS.labels(alert.kind.value).inc()
