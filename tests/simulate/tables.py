"""The ledger's tables in memory, as far as simulated lives need them."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

Row = dict[str, Any]
OPEN = ("reserved", "accepted")
NEW_HOLD: Row = {
    "state": "reserved", "billed_micros": None, "wamid": None, "ended_by": None, "late": False, "webhook": None,
    "delivered_ms": None, "ended_ms": None, "conversation_until_ms": None, "drift": None, "usage_day": None,
}  # fmt: skip


@dataclass
class Database:
    """The tables."""

    clock_ms: Callable[[], int]
    offset_ms: int = 0
    numbers: dict[str, Row] = field(default_factory=dict)
    balances: dict[str, int] = field(default_factory=dict)
    holds: dict[UUID, Row] = field(default_factory=dict)
    open: dict[str, dict[UUID, Row]] = field(default_factory=dict)  # of each number, those of the holds that are open
    entries: list[Row] = field(default_factory=list)
    topups: dict[tuple[str, str], Row] = field(default_factory=dict)
    windows: dict[tuple[str, str, str], int] = field(default_factory=dict)
    conversations: dict[tuple[str, str], UUID] = field(default_factory=dict)
    unmatched: dict[tuple[str, str, str], Row] = field(default_factory=dict)
    claims: dict[tuple[str, str], UUID] = field(default_factory=dict)
    quarantine: list[str] = field(default_factory=list)
    epochs: int = 0  # a sequence: what it gave is not taken back
    undo: list[Callable[[], None]] = field(default_factory=list)

    def add_number(self, number_id: str, zone: ZoneInfo) -> None:
        self.numbers[number_id] = {"number_id": number_id, "epoch": 0, "currency": "USD", "zone": zone}
        self.balances[number_id] = 0
        self.open[number_id] = {}

    def held_micros(self, number_id: str) -> int:
        return sum(hold["fare_micros"] for hold in self.open[number_id].values())

    def available_micros(self, number_id: str) -> int:
        return self.balances[number_id] - self.held_micros(number_id)

    def set_state(self, hold: Row, state: str) -> None:
        hold["state"] = state
        if state not in OPEN:
            self.open[hold["number_id"]].pop(hold["hold_id"], None)


def spent_by(db: Database, number_id: str, day: str) -> dict[str, str]:
    """Return as JSON what is set aside, and what was charged in a day and its month, by category."""
    sums: dict[str, dict[str, int]] = {"held_by": {}, "day_by": {}, "month_by": {}}

    def add(name: str, hold: Row, micros: int) -> None:
        if micros > 0:
            sums[name][hold["category"]] = sums[name].get(hold["category"], 0) + micros

    for hold in (hold for hold in db.holds.values() if hold["number_id"] == number_id):
        charged = hold["usage_day"] or ""
        add("held_by", hold, hold["fare_micros"] if hold["state"] in OPEN else 0)
        add("day_by", hold, hold["billed_micros"] if charged == day else 0)
        add("month_by", hold, hold["billed_micros"] if charged[:7] == day[:7] else 0)
    # In the order of jsonb: by length, then by name.
    return {name: json.dumps(dict(sorted(by.items(), key=lambda row: (len(row[0]), row)))) for name, by in sums.items()}


def units_used(db: Database, number_id: str, pool: str) -> int:
    """Return the units of a pool that messages use which were delivered or still may be."""
    return sum(
        hold["pool"] == pool and hold["number_id"] == number_id and hold["ended_by"] in (None, "deliver")
        for hold in db.holds.values()
    )
