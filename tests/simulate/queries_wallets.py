"""What the named queries about wallets, windows and conversations do, in plain values."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from simulate.tables import OPEN, Database, Row, spent_by, units_used


def lock_numbers(db: Database, numbers: Sequence[str]) -> Iterable[Row]:
    return [{"number_id": number_id} for number_id in sorted(numbers)]


def number_epoch(db: Database, number_id: str) -> Iterable[Row]:
    return [{"epoch": db.numbers[number_id]["epoch"]}]


def next_epochs(db: Database, numbers: Sequence[str]) -> Iterable[Row]:
    for number_id in numbers:
        row = db.numbers[number_id]
        db.epochs += 1
        db.undo.append(lambda row=row, before=row["epoch"]: row.update(epoch=before))
        row["epoch"] = db.epochs
        yield {"number_id": number_id, "epoch": db.epochs}


def wallet_truths(
    db: Database, numbers: Sequence[str], pools: Sequence[str], now_ms: int, days: Sequence[date]
) -> Iterable[Row]:
    for number_id, pool, day in zip(numbers, pools, days, strict=True):
        windows = any(of == number_id and ends_ms > now_ms for (of, _, _), ends_ms in db.windows.items())
        yield {
            "number_id": number_id,
            "pool": pool,
            "day": day.isoformat(),
            **spent_by(db, number_id, day.isoformat()),
            "balance_micros": db.balances[number_id],
            "held_micros": db.held_micros(number_id),
            "units": units_used(db, number_id, pool),
            "open": windows or bool(_in_conversation(db, number_id, now_ms)),
        }


def busy_numbers(db: Database, limit: int) -> Iterable[Row]:
    busy = sorted((number_id for number_id in db.numbers if db.open[number_id]), key=lambda id_: -len(db.open[id_]))
    return [{"number_id": number_id} for number_id in busy[:limit]]


def expected_positions(db: Database, after: str, limit: int) -> Iterable[Row]:
    for number_id in sorted(number_id for number_id in db.numbers if number_id > after)[:limit]:
        held_micros = db.held_micros(number_id)
        yield {"number_id": number_id, "balance_micros": db.balances[number_id], "held_micros": held_micros}


def windows_of(db: Database, number_id: str, users: Sequence[str], now_ms: int) -> Iterable[Row]:
    return [
        {"user_id": user, "kind": kind, "ends_at_ms": ends_ms}
        for (of, user, kind), ends_ms in db.windows.items()
        if of == number_id and user in users and ends_ms > now_ms
    ]


def _in_conversation(db: Database, number_id: str, now_ms: int) -> list[Row]:
    found = [
        hold
        for hold in db.holds.values()
        if hold["number_id"] == number_id
        and hold["opens"] is not None
        and (hold["state"] in OPEN if (until := hold["conversation_until_ms"]) is None else until > now_ms)
    ]
    return sorted(found, key=lambda hold: hold["created_ms"])


def conversations_of(db: Database, number_id: str, users: Sequence[str], now_ms: int) -> Iterable[Row]:
    return [
        {
            "user_id": hold["recipient"], "category": hold["opens"], "hold_id": hold["hold_id"],
            "class": hold["class"], "ends_at_ms": hold["conversation_until_ms"] or 0,
        }
        for hold in _in_conversation(db, number_id, now_ms)
        if hold["recipient"] in users
    ]  # fmt: skip


def users_in_windows(db: Database, number_id: str, after: str, now_ms: int, limit: int) -> Iterable[Row]:
    users = {user for (of, user, _), ends_ms in db.windows.items() if of == number_id and ends_ms > now_ms}
    return [{"user_id": user} for user in sorted(user for user in users if user > after)[:limit]]


def users_in_conversations(db: Database, number_id: str, after: str, now_ms: int, limit: int) -> Iterable[Row]:
    users = {hold["recipient"] for hold in _in_conversation(db, number_id, now_ms)}
    return [{"user_id": user} for user in sorted(user for user in users if user > after)[:limit]]


def open_windows(db: Database, *columns: Sequence[Any]) -> Iterable[Row]:
    for number_id, user, kind, ends_ms, start_ms in zip(*columns, strict=True):
        known_ms = db.windows.get((number_id, user, kind), 0)
        if known_ms < ends_ms and (start_ms is None or known_ms <= start_ms):
            db.windows[number_id, user, kind] = ends_ms
    return []


def close_windows(db: Database, number_id: str, users: Sequence[str], kinds: Sequence[str]) -> Iterable[Row]:
    for user in users:
        for kind in kinds:
            db.windows.pop((number_id, user, kind), None)
    return []


def close_window_of(db: Database, number_id: str, user: str, kind: str, ends_ms: int) -> Iterable[Row]:
    if db.windows.get((number_id, user, kind)) != ends_ms:
        return []
    del db.windows[number_id, user, kind]
    return [{"user_id": user}]


def forget_windows(db: Database, now_ms: int) -> Iterable[Row]:
    for key in [key for key, ends_ms in db.windows.items() if ends_ms < now_ms]:
        del db.windows[key]
    return []
