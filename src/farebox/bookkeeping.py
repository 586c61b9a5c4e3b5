"""What statuses decide: holds end, and what was delivered is charged. Every function may be asked again, or late."""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from uuid import UUID

from farebox import metrics
from farebox.core.fare import Verdict, verdict
from farebox.core.hold import Event
from farebox.core.in_force import InForce
from farebox.core.message import Kind
from farebox.core.tariff import FREE_ENTRY_POINT, FREE_ENTRY_POINT_OFFER, UnpricedError, month_of
from farebox.core.webhook import Status
from farebox.decisions import ended as ended_hold
from farebox.directory import Number
from farebox.gate import Gate
from farebox.rows import Ended, KnownHold, Resolution
from farebox.windows import believable_end_ms, take_proven

log = logging.getLogger(__name__)

FREE_UNIT_TYPES = frozenset({"free_customer_service", "free_group_customer_service"})  # since 2026-10-01: of the pool
# A delivery is decided before a failure of the same message in the same payload: what was delivered is due.
ORDER = (Event.DELIVER, Event.FAIL)


async def keep_statuses(
    gate: Gate, number: Number, statuses: Sequence[Status], *, compare: bool = True
) -> list[Status]:
    """End the holds that statuses decide about; return the statuses whose message is not known (yet).

    Repeated and out-of-order statuses change nothing. Unless `compare`, WhatsApp's price is not compared with ours:
    there was none. Raises WalletUnavailableError, LedgerUnavailableError or OverloadedError; it may be asked again.
    """
    await take_proven(gate, number, statuses)
    if not all(status.reference for status in statuses):
        await gate.ledger.noted_so_far()  # known by its wamid alone, a status may outrun the note of it
    wamids = dict.fromkeys(status.wamid for status in statuses if status.wamid)  # often several of one message
    holds = await gate.ledger.find_holds(_references(statuses), wamids)
    known = _Known(hold for hold in holds if hold.number_id == number.number_id)
    decided: dict[Event, dict[UUID, tuple[Status, KnownHold, Verdict]]] = {event: {} for event in ORDER}
    noted: list[UUID] = []
    unknown: list[Status] = []
    nothing, verdicts = 0, _Verdicts(gate, number)
    for status in statuses:
        found = known.holds_of(status)
        if not found:
            unknown.append(status)
        for hold in found:
            said = verdicts.of(status, hold)
            if said is None:
                nothing += 1
            elif said.event is None:
                noted.append(hold.hold_id)
            else:
                decided[said.event].setdefault(hold.hold_id, (status, hold, said))
    _count("nothing", nothing)
    if noted:
        await gate.ledger.fetch("note_delivery", noted, gate.clock.now_ms())
        _count("noted", len(noted))
    for event in ORDER:
        await _resolve(gate, number, event, list(decided[event].values()), compare=compare)
    return unknown


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


class _Verdicts:
    """What the statuses of a payload mean: most are alike, and what all of these say is found out once."""

    def __init__(self, gate: Gate, number: Number) -> None:
        self._gate = gate
        self._number = number
        self._found: dict[int, tuple[InForce | None, dict[tuple[object, ...], Verdict | None]]] = {}

    def of(self, status: Status, hold: KnownHold) -> Verdict | None:
        """Ask the tariff that is in force at the time of the delivery."""
        try:
            tariff = self._gate.tariffs.at(self._number, happened_ms(self._gate, status))
        except UnpricedError as error:
            log.warning("hold %s is decided about without a rate card: %s", hold.hold_id, error)
            tariff = None
        # By identity, of an object that is kept as long: to compare two would take longer than to decide.
        if id(tariff) not in self._found:
            self._found[id(tariff)] = (tariff, {})
        _, found = self._found[id(tariff)]
        key = alike(status, hold, tariff)
        if key not in found:
            found[key] = verdict(status, hold, tariff=tariff)
        return found[key]


def alike(status: Status, hold: KnownHold, tariff: InForce | None) -> tuple[object, ...]:
    """Return all that a verdict depends on beside the tariff: of the recipient nothing but the market counts."""
    market = tariff.market_of(status.users[0]) if status.users and tariff is not None else None
    said = (status.status, status.pricing, status.conversation_id == "", market)
    return (*said, hold.fare_micros, hold.category, hold.market, hold.message_class, hold.bid)


async def _resolve(
    gate: Gate, number: Number, event: Event, decided: list[tuple[Status, KnownHold, Verdict]], *, compare: bool
) -> None:
    texts: dict[tuple[object, ...], str] = {}
    ended = await gate.funds.resolve(
        event,
        [
            Resolution(
                hold,
                said.billed_micros,
                _evidence(status, said, texts),
                status.wamid or None,
                conversation_id=status.conversation_id or None,
                conversation=_conversation(gate, number, status, hold, said),
                drift=json.dumps(said.drift.record()) if said.drift and compare else None,
                pool=_pool(gate, number, status, hold),
            )
            for status, hold, said in decided
        ],
    )
    changed = {end.hold_id: end for end in ended}
    took_effect = [(*each, changed[each[1].hold_id]) for each in decided if each[1].hold_id in changed]
    _count("nothing", len(decided) - len(took_effect))
    _count_ends(number, [(hold, end) for _, hold, _, end in took_effect])
    for status, hold, said, end in took_effect:
        ended_hold(hold.hold_id, number.number_id, end.billed_micros, late=end.late)
        if said.unknown:
            metrics.UNKNOWN_PRICING.inc()
            log.warning("hold %s: WhatsApp priced it in words not known here: %s", hold.hold_id, status.pricing)
        if said.drift is not None and compare:
            metrics.DRIFT.labels(hold.category).inc()
            log.info("drift on hold %s: %s", hold.hold_id, said.drift)
            if hold.in_free_entry_point and end.billed_micros:
                # The window that we believed open is not: the next message there would be free in our eyes only.
                closed = [FREE_ENTRY_POINT, FREE_ENTRY_POINT_OFFER]
                await gate.ledger.fetch("close_windows", number.number_id, list(status.users), closed)
                await gate.wallet.close_windows(number.number_id, status.users, closed)


def _count(outcome: str, statuses: int) -> None:
    if statuses:
        metrics.STATUSES.labels(outcome).inc(statuses)


def _count_ends(number: Number, ends: Sequence[tuple[KnownHold, Ended]]) -> None:
    """Count ends in the metrics: those of a webhook are a few sums."""
    spent: Counter[tuple[str, str]] = Counter()
    for hold, end in ends:
        if end.billed_micros:
            spent[hold.category, hold.market] += end.billed_micros
    for (category, market), billed_micros in spent.items():
        metrics.count_spend(number.currency, category, market, billed_micros)
    settled = [end for _, end in ends if end.billed_micros]
    _count("settled", len(settled))
    _count("released", len(ends) - len(settled))
    metrics.LATE_CHARGES.inc(sum(end.late for end in settled))


def _evidence(status: Status, said: Verdict, texts: dict[tuple[object, ...], str]) -> str:
    """Return what the explanation of a charge keeps, as JSON; `texts` are those of this webhook, many of them alike."""
    key = (status.status, status.at_ms, status.pricing, status.error_code, said.priced_by)
    if key not in texts:
        texts[key] = json.dumps(status.evidence() | ({"priced_by": said.priced_by} if said.priced_by else {}))
    return texts[key]


def happened_ms(gate: Gate, status: Status) -> int:
    """Return when a status happened: now where it does not say, and not in the future whatever it says."""
    now_ms = gate.clock.now_ms()
    return min(status.at_ms or now_ms, now_ms)


def _conversation(gate: Gate, number: Number, status: Status, hold: KnownHold, said: Verdict) -> tuple[str, int] | None:
    """Return the conversation that a delivery opened and until when, None where it opened none.

    It is open for 24 hours from the delivery of the message that opened it; one that rides it changes nothing.
    """
    if said.event is not Event.DELIVER or said.conversation is None or hold.opens is None:
        return None
    at_ms = happened_ms(gate, status)
    tariff, _ = gate.tariffs.regime_at(number, at_ms)
    category = said.conversation if said.conversation in tariff.conversation_categories else hold.opens
    until_ms = status.conversation_until_ms or at_ms + tariff.conversation_ms
    return category, believable_end_ms(until_ms, gate.clock.now_ms())


def _pool(gate: Gate, number: Number, status: Status, hold: KnownHold) -> str | None:
    """Return the pool that a delivery used a unit of: that of the month of delivery, whenever it was sent.

    A reaction uses none, and where nothing is counted there is none.
    """
    if status.pricing is None or status.pricing.type not in FREE_UNIT_TYPES or not status.delivered:
        return None
    tariff, day = gate.tariffs.regime_at(number, happened_ms(gate, status))
    return None if tariff.pool_size == 0 or hold.category == Kind.REACTION else tariff.pool(month_of(day))


def _references(statuses: Iterable[Status]) -> list[UUID]:
    """Return the references that could be hold ids."""
    ids = []
    for status in statuses:
        if status.reference:  # few have one where they are known by their wamids
            try:
                ids.append(UUID(status.reference))
            except ValueError:
                continue
    return ids
