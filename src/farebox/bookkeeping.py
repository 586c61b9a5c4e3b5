"""What a webhook changes: windows open, holds end, templates move. The relay never waits for a fault in here."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from uuid import UUID

from farebox import metrics
from farebox.core.fare import Verdict, verdict
from farebox.core.hold import Event
from farebox.core.message import Kind
from farebox.core.tariff import (
    CUSTOMER_SERVICE,
    FREE_ENTRY_POINT,
    FREE_ENTRY_POINT_OFFER,
    UnpricedError,
    Window,
    month_of,
)
from farebox.core.webhook import Inbound, Part, Pricing, Status, TemplateChange
from farebox.directory import Number
from farebox.funds import count_spend
from farebox.gate import Gate
from farebox.outbound import UNAVAILABLE
from farebox.rows import KnownHold, Resolution

log = logging.getLogger(__name__)

FREE_UNIT_TYPES = frozenset({"free_customer_service", "free_group_customer_service"})  # since 2026-10-01: of the pool
# A delivery is decided before a failure of the same message in the same payload: what was delivered is due.
ORDER = (Event.DELIVER, Event.FAIL)


async def keep_books(gate: Gate, number: Number, part: Part) -> None:
    """Take over what one change of a payload says about a number."""
    await _open_windows(gate, number, _inbound_windows(gate, number, part.inbound))
    await keep_statuses(gate, number, part.statuses)


async def keep_templates(gate: Gate, changes: Iterable[TemplateChange]) -> None:
    """Take over what changed about templates."""
    for change in changes:  # one by one: a statement may not touch a template twice
        await gate.templates.registry.take_over([change], source="webhook")


async def keep_statuses(gate: Gate, number: Number, statuses: Sequence[Status]) -> None:
    """End the holds that statuses decide about. Repeated and out-of-order statuses change nothing."""
    if not statuses:
        return
    await _open_windows(gate, number, _proven_windows(gate, number, statuses))
    holds = await gate.ledger.find_holds(_references(statuses), [status.wamid for status in statuses])
    known = _Known(hold for hold in holds if hold.number_id == number.number_id)
    decided: dict[Event, dict[UUID, tuple[Status, KnownHold, Verdict]]] = {event: {} for event in ORDER}
    noted = []
    for status in statuses:
        found = known.holds_of(status)
        if not found:
            await _keep_unmatched(gate, number, status)
        for hold in found:
            said = _verdict(gate, number, status, hold)
            if said is None:
                metrics.STATUSES.labels("nothing").inc()
            elif said.event is None:
                noted.append(hold.hold_id)
            else:
                decided[said.event].setdefault(hold.hold_id, (status, hold, said))
    if noted:
        await gate.ledger.fetch("note_delivery", noted, gate.clock.now_ms())
        metrics.STATUSES.labels("noted").inc(len(noted))
    for event in ORDER:
        await _resolve(gate, number, event, list(decided[event].values()))


class _Known:
    """The holds that a payload may speak of, by wamid and by reference."""

    def __init__(self, holds: Iterable[KnownHold]) -> None:
        self._by_wamid: dict[str, list[KnownHold]] = {}
        self._by_reference: dict[str, list[KnownHold]] = {}
        for hold in holds:
            if hold.wamid:
                self._by_wamid.setdefault(hold.wamid, []).append(hold)
            self._by_reference.setdefault(str(hold.sent_with or hold.hold_id), []).append(hold)

    def holds_of(self, status: Status) -> list[KnownHold]:
        """Return the holds of a status: one, or in a group that of the member it names, or all where it names nobody.

        A reference is trusted only while the hold has no other wamid: clients may write any text into that field.
        """
        found = self._by_wamid.get(status.wamid)
        if found is None:
            referred = self._by_reference.get(status.reference, [])
            found = [hold for hold in referred if hold.wamid in (None, status.wamid)]
        if len(found) < 2 or not status.users:
            return found
        return [hold for hold in found if hold.recipient in status.users]


async def retry_unmatched(gate: Gate, limit: int) -> int:
    """Try statuses again whose message was not known when they came; return how many were decided."""
    rows = await gate.ledger.fetch("take_unmatched", limit)
    for row in rows:
        number = gate.directory.numbers.get(row["number_id"])
        if number is None:
            continue
        fields = json.loads(row["payload"])
        pricing = fields.pop("pricing")
        status = Status(**{**fields, "users": tuple(fields["users"])}, pricing=Pricing(**pricing) if pricing else None)
        await keep_statuses(gate, number, [status])
        await gate.ledger.fetch("drop_unmatched", row["number_id"], row["wamid"], row["status"])
    return len(rows)


async def _resolve(gate: Gate, number: Number, event: Event, decided: list[tuple[Status, KnownHold, Verdict]]) -> None:
    try:
        ended = await gate.funds.resolve(
            event,
            [
                Resolution(
                    hold,
                    said.billed_micros,
                    status.evidence() | ({"priced_by": said.priced_by} if said.priced_by else {}),
                    status.wamid or None,
                    conversation_id=status.conversation_id or None,
                    conversation=_conversation(gate, number, status, hold, said),
                    drift=said.drift.record() if said.drift else None,
                    pool=_pool(gate, number, status, hold),
                )
                for status, hold, said in decided
            ],
        )
    except UNAVAILABLE:
        # The wallet is away, and it would have had to be asked first. The ledger keeps the statuses for the sweep.
        for status, _, _ in decided:
            await _postpone(gate, number, status)
        metrics.STATUSES.labels("postponed").inc(len(decided))
        return
    changed = {end.hold_id: end for end in ended}
    for status, hold, said in decided:
        end = changed.get(hold.hold_id)
        if end is None:
            metrics.STATUSES.labels("nothing").inc()
            continue
        metrics.STATUSES.labels("settled" if end.billed_micros else "released").inc()
        if end.billed_micros:
            count_spend(number.currency, hold.category, end.billed_micros)
        if end.late and end.billed_micros:
            metrics.LATE_CHARGES.inc()
        if said.unknown:
            metrics.UNKNOWN_PRICING.inc()
            log.warning("hold %s: WhatsApp priced it in words not known here: %s", hold.hold_id, status.pricing)
        if said.drift is not None:
            metrics.DRIFT.labels(hold.category).inc()
            log.info("drift on hold %s: %s", hold.hold_id, said.drift)
            if hold.in_free_entry_point and end.billed_micros:
                # The window that we believed open is not: the next message there would be free in our eyes only.
                closed = [FREE_ENTRY_POINT, FREE_ENTRY_POINT_OFFER]
                await gate.ledger.fetch("close_windows", number.number_id, list(status.users), closed)
                await gate.wallet.close_windows(number.number_id, status.users, closed)


def _verdict(gate: Gate, number: Number, status: Status, hold: KnownHold) -> Verdict | None:
    """Ask the tariff that is in force at the time of the delivery."""
    try:
        tariff = gate.tariffs.at(number, status.at_ms or gate.clock.now_ms())
    except UnpricedError as error:
        log.warning("hold %s is decided about without a rate card: %s", hold.hold_id, error)
        tariff = None
    return verdict(status, hold, tariff=tariff)


def _conversation(gate: Gate, number: Number, status: Status, hold: KnownHold, said: Verdict) -> tuple[str, int] | None:
    """Return the conversation that a delivery opened and until when, None where it opened none.

    It is open for 24 hours from the delivery of the message that opened it; one that rides it changes nothing.
    """
    if said.event is not Event.DELIVER or said.conversation is None or hold.opens is None:
        return None
    tariff, _ = gate.tariffs.regime_at(number, status.at_ms or gate.clock.now_ms())
    category = said.conversation if said.conversation in tariff.conversation_categories else hold.opens
    return category, status.conversation_until_ms or status.at_ms + tariff.conversation_ms


def _pool(gate: Gate, number: Number, status: Status, hold: KnownHold) -> str | None:
    """Return the pool that a delivery used a unit of: that of the month of delivery, whenever it was sent.

    A reaction uses none, and where nothing is counted there is none.
    """
    if status.pricing is None or status.pricing.type not in FREE_UNIT_TYPES or not status.delivered:
        return None
    tariff, day = gate.tariffs.regime_at(number, status.at_ms or gate.clock.now_ms())
    return None if tariff.pool_size == 0 or hold.category == Kind.REACTION else tariff.pool(month_of(day))


def _references(statuses: Iterable[Status]) -> list[UUID]:
    """Return the references that could be hold ids."""
    ids = []
    for status in statuses:
        try:
            ids.append(UUID(status.reference))
        except ValueError:
            continue
    return ids


async def _keep_unmatched(gate: Gate, number: Number, status: Status) -> None:
    """Keep a status whose message nobody knows yet: it may have overtaken the answer to its send."""
    metrics.STATUSES.labels("unmatched").inc()
    if status.delivered or status.status == "failed":
        await _postpone(gate, number, status)


async def _postpone(gate: Gate, number: Number, status: Status) -> None:
    await gate.ledger.fetch(
        "put_unmatched",
        number.number_id,
        status.wamid,
        " ".join((status.status, *status.users)),  # of a group, each member's status is one of its own
        json.dumps(asdict(status)),
        gate.clock.now_ms(),
    )


def _inbound_windows(gate: Gate, number: Number, inbound: Iterable[Inbound]) -> list[Window]:
    now_ms = gate.clock.now_ms()
    tariff, _ = gate.tariffs.regime_at(number, now_ms)
    windows: list[Window] = []
    for message in inbound:
        # A window starts when the user wrote, which can not lie in the future whatever the timestamp says.
        start_ms = min(message.at_ms or now_ms, now_ms)
        for user in message.users:
            windows.append((user, CUSTOMER_SERVICE, start_ms + tariff.customer_service_ms, None))
            if message.from_ad:
                windows.append((user, FREE_ENTRY_POINT_OFFER, start_ms + tariff.free_entry_point_answer_ms, None))
    return windows


def _proven_windows(gate: Gate, number: Number, statuses: Iterable[Status]) -> list[Window]:
    """Return the free entry points that statuses prove.

    Where one says until when, that counts. Every message of the window proves it; without an end, the first one does.
    """
    tariff, _ = gate.tariffs.regime_at(number, gate.clock.now_ms())
    return [
        (user, FREE_ENTRY_POINT, status.conversation_until_ms, None)
        if status.conversation_until_ms is not None
        else (user, FREE_ENTRY_POINT, status.at_ms + tariff.free_entry_point_ms, status.at_ms)
        for status in statuses
        if status.pricing is not None and status.pricing.free_entry_point
        for user in status.users
    ]


async def _open_windows(gate: Gate, number: Number, windows: list[Window]) -> None:
    """Open windows in the ledger first: a wallet that is rebuilt meanwhile finds them there."""
    if not windows:
        return
    # One statement may not touch a row twice: a known end counts, the latest one; else the earliest start.
    ranked = sorted(windows, key=lambda window: (window[3] is None, window[2] if window[3] is None else -window[2]))
    rows = list({(user, kind): (user, kind, ends_ms, start_ms) for user, kind, ends_ms, start_ms in ranked}.values())
    await gate.ledger.fetch("open_windows", [number.number_id] * len(rows), *zip(*rows, strict=True))
    await gate.wallet.open_windows(number.number_id, rows)
