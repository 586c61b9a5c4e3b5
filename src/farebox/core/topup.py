"""The life of a top-up: money in, from the first look at its price until it is credited, or came to nothing.

The table below is the only place that says which step may follow which; the ledger takes its `WHERE state = ANY(...)`
from it, so a repeated, late or reordered event of a payment provider changes nothing. Rules it expresses:

- Nothing is spendable before `succeeded`, and `succeeded` is reached once: that step, and no other, books the money.
- A provider that reports success after we had given the payment up (failed, cancelled) is believed: the payer paid.
- A failure after a success changes nothing. Money leaves again only as a refund or a dispute, by entries of their own.
- A dispute that is won gives the top-up back; one that is lost stays `disputed`.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class State(StrEnum):
    """Where a top-up is."""

    DRAFT = "draft"  # price and fee were asked about and are fixed; nothing was charged
    PENDING = "pending"  # confirmed by the payer; the money is on its way, and not spendable
    SUCCEEDED = "succeeded"  # credited
    FAILED = "failed"  # declined, with the reason
    CANCELLED = "cancelled"  # given up by the payer, or a draft that was never confirmed
    REFUNDED = "refunded"  # credited, and all of it given back to the payer
    DISPUTED = "disputed"  # credited, and taken back by the payer's bank


class Event(StrEnum):
    """What can happen to a top-up."""

    CONFIRM = "confirm"  # the payer agrees to a draft
    SUCCEED = "succeed"  # the money has arrived
    FAIL = "fail"  # the provider declines
    CANCEL = "cancel"  # the payer gives up
    REFUND = "refund"  # all of it was given back
    DISPUTE = "dispute"  # the payer's bank takes it back
    WIN = "win"  # the dispute ended for us


TRANSITIONS: dict[Event, dict[State, State]] = {
    Event.CONFIRM: {State.DRAFT: State.PENDING},
    Event.SUCCEED: {
        State.PENDING: State.SUCCEEDED,
        State.FAILED: State.SUCCEEDED,  # late
        State.CANCELLED: State.SUCCEEDED,  # late
    },
    Event.FAIL: {State.PENDING: State.FAILED},
    Event.CANCEL: {State.DRAFT: State.CANCELLED, State.PENDING: State.CANCELLED},
    Event.REFUND: {State.SUCCEEDED: State.REFUNDED},
    Event.DISPUTE: {State.SUCCEEDED: State.DISPUTED},
    Event.WIN: {State.DISPUTED: State.SUCCEEDED},
}

# Credited once, whatever became of it later.
CREDITED = (State.SUCCEEDED, State.REFUNDED, State.DISPUTED)


def step(state: State, event: Event) -> State | None:
    """Return the state after an event, or None where the event changes nothing."""
    return TRANSITIONS[event].get(state)


def sources(event: Event) -> list[str]:
    """Return the states that an event changes, as the ledger names them."""
    return [state.value for state in TRANSITIONS[event]]


def target(event: Event) -> State:
    """Return the state that an event leads to; each event has one."""
    (state,) = set(TRANSITIONS[event].values())
    return state


@dataclass(frozen=True, slots=True)
class Topup:
    """A top-up as the ledger has it. Amounts in micro-units of the number's currency."""

    topup_id: UUID
    number_id: str
    reference: str
    method: str
    why: str
    state: State
    amount_micros: int
    fee_micros: int
    tax_micros: int  # inside the fee
    refunded_micros: int  # of the amount
    provider_id: str | None
    action_url: str | None
    reason: str | None
    created_at: datetime
    credited_at: datetime | None

    @property
    def total_micros(self) -> int:
        """What its payer pays."""
        return self.amount_micros + self.fee_micros


def topup_of(row: Any) -> Topup:
    """Return a row of the ledger as a value."""
    return Topup(
        topup_id=row["topup_id"],
        number_id=row["number_id"],
        reference=row["reference"],
        method=row["method"],
        why=row["why"],
        state=State(row["state"]),
        amount_micros=row["amount_micros"],
        fee_micros=row["fee_micros"],
        tax_micros=row["tax_micros"],
        refunded_micros=row["refunded_micros"],
        provider_id=row["provider_id"],
        action_url=row["action_url"],
        reason=row["reason"],
        created_at=row["created_at"],
        credited_at=row["credited_at"],
    )
