"""What the named queries about statuses without a message do, in plain values; and the clock."""

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from farebox.rows import NewHold
from simulate.tables import NEW_HOLD, Database, Row


def put_unmatched(db: Database, number_id: str, wamid: str, status: str, payload: str, now_ms: int) -> Iterable[Row]:
    row = {"number_id": number_id, "wamid": wamid, "status": status, "payload": payload, "created_ms": now_ms}
    db.unmatched.setdefault((number_id, wamid, status), row)
    return []


def take_unmatched(db: Database, limit: int, waited_until_ms: int) -> Iterable[Row]:
    wamids, references = {hold["wamid"] for hold in db.holds.values()}, {str(hold_id) for hold_id in db.holds}
    found = [
        {**row, "waited": row["created_ms"] <= waited_until_ms}
        for row in db.unmatched.values()
        if row["created_ms"] <= waited_until_ms
        or row["wamid"] in wamids
        or json.loads(row["payload"])["reference"] in references
    ]
    rows = sorted(found, key=lambda row: row["created_ms"])[:limit]
    return [{name: row[name] for name in ("number_id", "wamid", "status", "payload", "waited")} for row in rows]


def drop_unmatched(db: Database, number_id: str, wamid: str, status: str) -> Iterable[Row]:
    db.unmatched.pop((number_id, wamid, status), None)
    return []


def adopt_hold(
    db: Database, hold_id: UUID, number_id: str, wamid: str, state: str, class_: str, regime: str, category: str,
    market: str, why: str, source: str, user: str, client_reference: str, now_ms: int, created_ms: int, expires_ms: int,
    reference: UUID | None,
) -> Iterable[Row]:  # fmt: skip
    known_ids = {hold["wamid"] for hold in db.holds.values() if hold["number_id"] == number_id}
    if wamid in known_ids or (number_id, wamid) in db.claims:
        return []
    own = hold_id if reference is None or reference in db.holds else reference
    if own in db.claims.values():
        return []
    db.claims[number_id, wamid] = own
    hold = dict.fromkeys(NewHold._fields) | NEW_HOLD | {
        "hold_id": own, "number_id": number_id, "epoch": db.numbers[number_id]["epoch"], "state": state,
        "class": class_, "fare_micros": 0, "regime": regime, "category": category, "market": market, "why": why,
        "rate_source": source, "state_evidence": "", "recipient": user, "wamid": wamid,
        "client_reference": client_reference or None, "created_ms": created_ms, "expires_ms": expires_ms,
        "rate_micros": 0, "markup_micros": 0, "tax_micros": 0,
    }  # fmt: skip
    db.holds[own] = hold
    db.open[number_id][own] = hold
    return [{"hold_id": own}]


def put_quarantine(
    db: Database, about: str, kind: str, reason: str, payload: str, digest: Any, now_ms: int, most: int
) -> Iterable[Row]:
    db.quarantine.append(f"{kind} {about}: {reason}")
    return [{"quarantine_id": len(db.quarantine)}]


def nothing(db: Database, *_: Any) -> Iterable[Row]:
    """What no life here needs: partitions, and the end of rows in quarantine."""
    return [{"made": 0}]


def now(db: Database) -> Iterable[Row]:
    return [{"now_ms": db.clock_ms() + db.offset_ms, "offset_ms": db.offset_ms}]
