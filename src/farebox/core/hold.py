"""The life of a hold: funds set aside for one fare until it is known whether the fare is due.

The table below is the only place that says which step may follow which; the ledger takes its `WHERE state = ANY(...)`
from it, so a repeated or late event changes nothing. Rules it expresses:

- A delivery is charged once. `settled` is final: later statuses never change it.
- A delivery after the hold has ended (a "delivered" that overtook nothing for a month, or that follows a "failed") is
  charged all the same, once, and flagged as late.
- A failure after a delivery changes nothing.

A free message has a hold too, of fare 0: that is how it is counted, and how its free unit comes back if it fails.
"""

import uuid
from enum import StrEnum

DAY_MS = 86_400_000
# How long Meta tries to deliver: "Time-to-live (TTL)", 30 days; authentication templates 10 minutes.
TTL_MS = 30 * DAY_MS
AUTHENTICATION_TTL_MS = 600_000
CALL_TTL_MS = DAY_MS  # a call is over within a day, whatever became of it


class State(StrEnum):
    """Where a hold is."""

    RESERVED = "reserved"  # the ledger has it; bytes may have left
    ACCEPTED = "accepted"  # WhatsApp took the message; its fate is open
    SETTLED = "settled"  # delivered: charged at the billed fare, which may be 0
    RELEASED = "released"  # refused or failed: given back
    EXPIRED = "expired"  # not heard of within its time to live: given back


class Event(StrEnum):
    """What can happen to a hold."""

    ACCEPT = "accept"  # the upstream answered 2xx
    REJECT = "reject"  # the upstream answered 4xx or 5xx: the message was not taken
    DELIVER = "deliver"  # a status webhook says delivered or read, with its price
    FAIL = "fail"  # a status webhook says failed
    TIME_OUT = "time_out"  # the sweep: no word within the time to live


OPEN = (State.RESERVED, State.ACCEPTED)

TRANSITIONS: dict[Event, dict[State, State]] = {
    Event.ACCEPT: {State.RESERVED: State.ACCEPTED},
    Event.REJECT: {State.RESERVED: State.RELEASED},
    Event.DELIVER: {
        State.RESERVED: State.SETTLED,
        State.ACCEPTED: State.SETTLED,
        State.RELEASED: State.SETTLED,  # late
        State.EXPIRED: State.SETTLED,  # late
    },
    Event.FAIL: {State.RESERVED: State.RELEASED, State.ACCEPTED: State.RELEASED},
    Event.TIME_OUT: {State.RESERVED: State.EXPIRED, State.ACCEPTED: State.EXPIRED},
}

# Events after which the message was not delivered: its free unit goes back to the pool.
GIVES_UNIT_BACK = frozenset({Event.REJECT, Event.FAIL, Event.TIME_OUT})


def step(state: State, event: Event) -> State | None:
    """Return the state after an event, or None where the event changes nothing."""
    return TRANSITIONS[event].get(state)


def sources(event: Event) -> list[State]:
    """Return the states that an event changes."""
    return list(TRANSITIONS[event])


def target(event: Event) -> State:
    """Return the state that an event leads to; each event has one."""
    (state,) = set(TRANSITIONS[event].values())
    return state


def first_hold_id(at_ms: int) -> uuid.UUID:
    """Return the id that sorts before all holds of a moment and after all earlier ones."""
    return uuid.UUID(int=at_ms << 80)
