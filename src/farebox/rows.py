"""What goes into the ledger and comes out of it, as values."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple
from uuid import UUID

import asyncpg
from asyncpg.pgproto import pgproto

from farebox.core.hold import OPEN, State


class NewHold(NamedTuple):
    """A hold to be recorded, with everything that will explain it, in the order of the type new_hold (sql/0035)."""

    hold_id: UUID
    number_id: str
    epoch: int
    message_class: str
    fare_micros: int
    regime: str
    category: str
    market: str
    why: str
    rate_source: str
    state_evidence: str
    pool: str | None
    recipient: str
    template: str | None
    note: str | None
    client_reference: str | None
    created_ms: int
    expires_ms: int
    opens: str | None
    rides: UUID | None
    overdrawn: bool
    rate_micros: int
    markup_micros: int
    tax_micros: int
    sent_with: UUID | None  # of a group: the hold that speaks for the send
    claim_id: UUID | None  # of a send with an Idempotency-Key: recorded only while the claim is the sender's own
    key_id: UUID | None  # the farebox key that sent it, where that has a spend limit


class KnownHold(NamedTuple):
    """What a status handler needs to know of a hold."""

    hold_id: UUID
    number_id: str
    state: State
    message_class: str
    fare_micros: int
    category: str
    market: str
    wamid: str | None
    pool: str | None
    delivered: bool
    in_free_entry_point: bool
    opened_free_entry_point: bool  # it was the answer to a click on an ad
    regime: str
    created_ms: int
    recipient: str
    opens: str | None
    sent_with: UUID | None
    key_id: UUID | None = None  # the farebox key with a spend limit that sent it
    bid: bool = False  # the fare is a maximum price

    @property
    def open(self) -> bool:
        """Tell whether the fare is still set aside."""
        return self.state in OPEN

    @property
    def aside(self) -> tuple[int, str | None]:
        """Return what is set aside: micro-units, and the pool of a free unit."""
        return (self.fare_micros, self.pool) if self.open else (0, None)


class End(NamedTuple):
    """A hold that is to end, and what it is billed, in the order of end_holds' parameters."""

    hold_id: UUID
    number_id: str
    billed_micros: int
    webhook: str | None = None  # JSON
    wamid: str | None = None
    conversation_id: str | None = None
    conversation_until_ms: int | None = None
    pool: str | None = None  # the pool that the delivery used a unit of
    drift: str | None = None  # JSON
    opens: str | None = None  # the category of the conversation that the delivery opened


class Ended(NamedTuple):
    """A hold that this call ended, the number's epoch at that moment, and what the hold had set aside (Closing)."""

    hold_id: UUID
    number_id: str
    billed_micros: int
    epoch: int
    late: bool
    older: bool
    aside_micros: int
    pool: str | None
    category: str
    day: str | None  # the number's day that its charge counts for; None: nothing was charged
    key_id: UUID | None
    opens: str | None  # the category of its conversation, which it may have been handed since it was read


@dataclass(frozen=True, slots=True)
class Truth:
    """What a wallet must hold. `open`: some user of the number has a window or a conversation open.

    The last three are by category, and by key with a limit, in micro-units: what is set aside, and what was charged
    today and this month.
    """

    number_id: str
    balance_micros: int
    held_micros: int
    pool: str
    day: str
    units: int
    open: bool
    held_by: Mapping[str, int]
    day_by: Mapping[str, int]
    month_by: Mapping[str, int]


class Resolution(NamedTuple):
    """A hold that is to end: what it is billed, and the status that says so."""

    hold: KnownHold
    billed_micros: int
    webhook: str | None = None  # JSON
    wamid: str | None = None
    conversation_id: str | None = None
    conversation: tuple[str, int] | None = None  # the category that is open from now on, and until when in ms
    pool: str | None = None  # the pool that the delivery used a unit of, where WhatsApp says that it did
    drift: str | None = None  # where WhatsApp's view differs from ours (core/drift.py), JSON


# The columns of `holds_by_reference` and `next_rider` in the order of KnownHold, and those of `end_holds` in Ended's.
_KNOWN = itemgetter(
    "hold_id", "number_id", "state", "class", "fare_micros", "category", "market", "wamid", "pool", "delivered",
    "in_free_entry_point", "opened_free_entry_point", "regime", "created_ms", "recipient", "opens", "sent_with",
    "key_id", "bid",
)  # fmt: skip
_ENDED = itemgetter(
    "hold_id", "number_id", "billed_micros", "epoch", "late", "older", "aside_micros", "aside_pool", "category",
    "charged_day", "key_id", "opens",
)  # fmt: skip
_STATES = {state.value: state for state in State}


def new_hold_id(now_ms: int) -> UUID:
    """Make a hold id that sorts by time (UUID version 7, RFC 9562), so that inserts stay at one end of the index.

    It is of asyncpg's type, as those that come back from the ledger: to make one, write it out twice and look it up
    takes 2.7 microseconds, with the standard library's 4.3.
    """
    random = int.from_bytes(_ten_random_bytes(), "big") & ~(0xF << 76) & ~(0x3 << 62)
    return pgproto.UUID((now_ms << 80 | 0x7 << 76 | 0x2 << 62 | random).to_bytes(16, "big"))


_IDS_AT_ONCE = 256  # whose random bytes are asked for together: a call of the system costs as much as the rest of an id
_ready: list[bytes] = []
os.register_at_fork(after_in_child=_ready.clear)  # no two processes may make ids of the same bytes


def _ten_random_bytes() -> bytes:
    try:
        return _ready.pop()
    except IndexError:
        many = os.urandom(10 * _IDS_AT_ONCE)
        _ready.extend([many[at : at + 10] for at in range(10, len(many), 10)])
        return many[:10]


def known_hold(row: asyncpg.Record) -> KnownHold:
    """Read a hold as `holds_by_reference` and `next_rider` return it."""
    hold_id, number_id, state, *others = _KNOWN(row)
    return KnownHold(hold_id, number_id, _STATES[state], *others)


def ended_hold(row: asyncpg.Record) -> Ended:
    """Read an end as `end_holds` returns it."""
    return Ended(*_ENDED(row))


def conversation_state(ends_at_ms: int, opener: UUID, *, paid: bool) -> str:
    """Write a conversation as the wallet keeps it; 0 is pending (see take.lua)."""
    return f"{ends_at_ms}:{int(paid)}:{opener}"


def known_conversation(row: asyncpg.Record) -> str:
    """Write a conversation that `conversations_of` returned, as the wallet keeps it."""
    return conversation_state(row["ends_at_ms"], row["hold_id"], paid=row["class"] == "paid")
