"""What the named queries about holds and money do, in plain values."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from farebox.rows import NewHold
from farebox.tariffs import local_day
from simulate.tables import NEW_HOLD, Database, Row


def record_holds(db: Database, holds: Sequence[NewHold], _numbers: Sequence[str]) -> Iterable[Row]:
    for hold in (new._asdict() for new in holds):
        assert hold.pop("claim_id") is None, "no send of a simulated life has an idempotency key"
        if db.numbers[hold["number_id"]]["epoch"] != hold["epoch"] or hold["hold_id"] in db.holds:
            continue
        hold.update(NEW_HOLD, **{"class": str(hold.pop("message_class"))})
        db.holds[hold["hold_id"]] = hold
        db.open[hold["number_id"]][hold["hold_id"]] = hold
        yield {"hold_id": hold["hold_id"]}


def accept_holds(
    db: Database,
    ids: Sequence[UUID],
    wamids: Sequence[Any],
    states: Sequence[str],
    state: str,
    users: Sequence[Any],
    _lasting: bool,
) -> Iterable[Row]:
    for hold_id, wamid, user in zip(ids, wamids, users, strict=True):
        hold = db.holds.get(hold_id)
        if hold is None:
            continue
        hold["wamid"] = hold["wamid"] or wamid
        hold["recipient"] = user or hold["recipient"]
        if hold["state"] in states:
            db.set_state(hold, state)
    return []


def known(hold: Row) -> Row:
    names = (
        "hold_id", "number_id", "state", "class", "fare_micros", "category", "market", "wamid", "pool", "regime",
        "created_ms", "recipient", "opens", "sent_with", "key_id",
    )  # fmt: skip
    evidence = hold["state_evidence"]
    return {name: hold[name] for name in names} | {
        "delivered": hold["delivered_ms"] is not None,
        "in_free_entry_point": evidence.startswith("fep"),
        "opened_free_entry_point": evidence.startswith("fep_offer"),
        "bid": hold["rate_source"].startswith("bid "),
    }


def holds_by_reference(db: Database, ids: Sequence[UUID], wamids: Sequence[str]) -> Iterable[Row]:
    by_id, by_wamid = set(ids), set(wamids)
    return [
        known(hold)
        for hold in db.holds.values()
        if hold["hold_id"] in by_id or hold["sent_with"] in by_id or hold["wamid"] in by_wamid
    ]


def end_holds(
    db: Database, ids: Sequence[UUID], firsts: Any, lasts: Any, numbers: Any, bills: Any, webhooks: Any, wamids: Any,
    conversation_ids: Any, untils: Any, pools: Any, drifts: Any, opened: Any, state: str, event: str,
    sources: Sequence[str], now_ms: int, open_: Sequence[str],
) -> Iterable[Row]:  # fmt: skip
    told_of = numbers, bills, webhooks, wamids, conversation_ids, untils, pools, drifts, opened
    alike = zip(firsts, lasts, *told_of, strict=True)
    asked = [(hold_id, *told) for first, last, *told in alike for hold_id in ids[first - 1 : last]]
    charged = {entry.get("hold_id") for entry in db.entries}
    ended = []
    for hold_id, number_id, bill, webhook, wamid, conversation_id, until_ms, pool, drift, opens in asked:
        hold = db.holds.get(hold_id)
        if hold is None or hold["number_id"] != number_id or hold["state"] not in sources:
            continue
        billed = bill
        if conversation_id is not None:
            claimed = bill > 0 and (number_id, conversation_id) not in db.conversations
            if claimed:
                db.conversations[number_id, conversation_id] = hold_id
            billed = bill if claimed else 0
        if billed > 0 and hold_id in charged:
            raise asyncpg.UniqueViolationError("entry_hold")
        late, epoch = hold["ended_ms"] is not None, db.numbers[number_id]["epoch"]
        day = local_day(now_ms, db.numbers[number_id]["zone"]).isoformat() if event == "deliver" else None
        ended.append(
            {
                "hold_id": hold_id, "number_id": number_id, "billed_micros": billed, "epoch": epoch, "late": late,
                "older": hold["state"] in open_ and hold["epoch"] != epoch,
                "aside_micros": hold["fare_micros"], "aside_pool": hold["pool"], "category": hold["category"],
                "charged_day": day if billed > 0 else None, "key_id": hold["key_id"], "opens": opens or hold["opens"],
            }
        )  # fmt: skip
        hold |= {
            "ended_by": event, "webhook": webhook, "drift": drift, "billed_micros": billed, "late": late,
            "wamid": hold["wamid"] or wamid, "pool": pool or hold["pool"], "conversation_until_ms": until_ms,
            "ended_ms": now_ms, "usage_day": day, "opens": opens or hold["opens"],
        }  # fmt: skip
        db.set_state(hold, state)
        if billed > 0:
            db.entries.append({"number_id": number_id, "kind": "settle", "amount_micros": billed, "hold_id": hold_id})
            db.balances[number_id] -= billed
    return ended


def next_rider(db: Database, opener: UUID, states: Sequence[str]) -> Iterable[Row]:
    riders = [hold for hold in db.holds.values() if hold["rides"] == opener and hold["state"] in states]
    return [known(hold) for hold in sorted(riders, key=lambda hold: (hold["created_ms"], hold["hold_id"]))[:1]]


def carry_conversation(
    db: Database, opener: UUID, rider: UUID, fare: int, number_id: str, class_: str, opens: str, states: Sequence[str],
    epoch: int | None,
) -> Iterable[Row]:  # fmt: skip
    hold, first = db.holds[rider], db.holds[opener]
    if hold["state"] not in states or epoch not in (None, db.numbers[number_id]["epoch"]):
        return []
    hold |= {"fare_micros": fare, "class": str(class_), "opens": opens, "rides": None}
    hold |= {name: first[name] for name in ("rate_source", "rate_micros", "markup_micros", "tax_micros", "pool")}
    hold["why"] = "carries the fare of a conversation whose first message failed"
    for other in db.holds.values():
        if other["rides"] == opener and other is not hold:
            other["rides"] = rider
    return [{"hold_id": rider, "epoch": db.numbers[number_id]["epoch"]}]


def note_delivery(db: Database, ids: Sequence[UUID], now_ms: int) -> Iterable[Row]:
    for hold in (db.holds[hold_id] for hold_id in ids if hold_id in db.holds):
        if hold["ended_ms"] is None and hold["delivered_ms"] is None:
            hold["delivered_ms"] = now_ms
    return []


def _due(db: Database, now_ms: int) -> list[Row]:
    due = [hold for holds in db.open.values() for hold in holds.values() if hold["expires_ms"] <= now_ms]
    return sorted(due, key=lambda hold: hold["expires_ms"])


def expired_holds(db: Database, now_ms: int, limit: int, failed: Sequence[UUID]) -> Iterable[Row]:
    due = [hold["hold_id"] for hold in _due(db, now_ms) if hold["hold_id"] not in failed]
    return [{"hold_id": hold_id} for hold_id in due[:limit]]


def _expiry(hold: Row) -> int:
    expires_ms: int = hold["expires_ms"]
    return expires_ms


def overdue(db: Database, now_ms: int) -> Iterable[Row]:
    due = _due(db, now_ms)
    oldest = min((hold for holds in db.open.values() for hold in holds.values()), key=_expiry, default=None)
    overdue_ms = now_ms - due[0]["expires_ms"] if due else None
    return [] if oldest is None else [{"overdue_ms": overdue_ms, "age_ms": now_ms - oldest["created_ms"]}]


def credit_topup(
    db: Database, topup_id: UUID, number_id: str, reference: str, method: str, amount: int, now_ms: int
) -> Iterable[Row]:
    if (number_id, reference) in db.topups:
        return []
    db.topups[number_id, reference] = {"topup_id": topup_id, "number_id": number_id, "amount_micros": amount}
    db.entries.append({"number_id": number_id, "kind": "topup", "amount_micros": amount, "topup_id": topup_id})
    db.balances[number_id] += amount
    return [{"topup_id": topup_id, "epoch": db.numbers[number_id]["epoch"]}]
