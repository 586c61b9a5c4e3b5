"""Moving and correcting: give unused funds back, move them to another number, adjust them with a reason."""

import hashlib
import uuid
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field

from farebox.admin.fields import PLAIN, Amount, AmountAboveZero, NumberId, Reference, read_amount, refuse
from farebox.admin.models import Given, Nothing, Taken
from farebox.admin.numbers import Balance, number_in_use, show_number
from farebox.admin.problems import ProblemError
from farebox.admin.routing import Answer, Ask
from farebox.admin.topup_steps import topup_of_number
from farebox.core.money import format_micros
from farebox.directory import Number
from farebox.gate import Gate
from farebox.moves import Move, Moved, Short
from farebox.moves import Unfit as DoesNotFit
from farebox.returns import refund as give_back
from farebox.topups import too_much


def _not_zero(micros: int) -> int:
    if micros == 0:
        raise refuse("must not be 0.00")
    return micros


Reason = Annotated[str, Field(min_length=1, max_length=500), PLAIN]
SignedAmount = Annotated[Amount, BeforeValidator(read_amount), AfterValidator(_not_zero)]
_REFERENCE = Field(
    None, description="Your own id of it. A repeated reference is the same movement, so a retry is safe."
)


class RefundPost(Taken):
    """Unused funds to give back."""

    amount: AmountAboveZero = Field(description="At most what is available; the transaction fee is not given back.")
    reason: Reason
    topup_id: UUID | None = Field(
        None, description="The top-up whose payment it goes back to; null: you pay it out yourself."
    )
    reference: Reference | None = _REFERENCE


class TransferPost(Taken):
    """Funds to move to another number of the same account and currency."""

    to: NumberId
    amount: AmountAboveZero = Field(description="At most what is available.")
    reason: Reason
    reference: Reference | None = _REFERENCE


class AdjustmentPost(Taken):
    """A correction by hand."""

    amount: SignedAmount = Field(description="Above zero it comes in, below zero it goes out.")
    reason: Reason
    below_zero: bool = Field(default=False, description="Whether it may take more than is available.")
    reference: Reference | None = _REFERENCE


class Movement(Given):
    """A movement that is booked, and the balance after it."""

    movement_id: UUID
    kind: str
    phone_number_id: NumberId
    amount: Amount = Field(description="Above zero it came in, below zero it went out.")
    currency: str
    reason: str
    reference: str
    balance: Balance


async def refund(ask: Ask[RefundPost, Nothing]) -> Answer:
    """Give unused funds back, once per reference."""
    gate, body = ask.gate, ask.body
    number = await number_in_use(gate, ask.path["phone_number_id"])
    topup = None if body.topup_id is None else await topup_of_number(gate, number, str(body.topup_id))
    reference = _reference(ask.key, body.reference, "refund")
    moved = await give_back(gate, number, topup, micros=body.amount, reason=body.reason, reference=reference)
    return await _answer(gate, number, moved, ("refund", reference, -body.amount))


async def transfer(ask: Ask[TransferPost, Nothing]) -> Answer:
    """Move funds to another number, once per reference."""
    gate, body = ask.gate, ask.body
    number, into = [await number_in_use(gate, id_) for id_ in (ask.path["phone_number_id"], body.to)]
    if into.number_id == number.number_id:
        raise ProblemError(422, "to: is the same number; name another one.")
    if (into.account_id, into.currency) != (number.account_id, number.currency):
        raise ProblemError(
            422,
            f"to: number {body.to} is of account {into.account_id} in {into.currency}; funds move between numbers of "
            f"one account and currency only, so name one of {number.account_id} in {number.currency}.",
        )
    await _fits(gate, into, body.amount)
    reference = _reference(ask.key, body.reference, "transfer")
    move = Move(kind="transfer", micros=body.amount, reason=body.reason, reference=reference)
    moved = await gate.funds.moves.out_of(number, move, into=into)
    if isinstance(moved, DoesNotFit):
        raise _closed(into)
    return await _answer(gate, number, moved, ("transfer", reference, -body.amount))


async def adjust(ask: Ask[AdjustmentPost, Nothing]) -> Answer:
    """Correct a balance by a further entry, once per reference."""
    gate, body = ask.gate, ask.body
    number = await number_in_use(gate, ask.path["phone_number_id"])
    await _fits(gate, number, body.amount)
    reference = _reference(ask.key, body.reference, "adjustment")
    move = Move(
        kind="adjustment",
        micros=abs(body.amount),
        reason=body.reason,
        reference=reference,
        below_zero=body.below_zero,
    )
    moves = gate.funds.moves
    moved = await (moves.into(number, move) if body.amount > 0 else moves.out_of(number, move))
    if isinstance(moved, DoesNotFit):
        raise _closed(number)
    return await _answer(gate, number, moved, ("adjustment", reference, body.amount))


async def _fits(gate: Gate, into: Number, micros: int) -> None:
    if (sentence := await too_much(gate, into, micros)) is not None:
        raise ProblemError(422, sentence)


def _closed(number: Number) -> ProblemError:
    """Say that nothing comes into a number that is closed."""
    return ProblemError(
        409,
        f"Number {number.number_id} is closed and gets no funds; open it with "
        f"POST /v1/numbers/{number.number_id}/open, or name another.",
    )


def _reference(key: str | None, given: str | None, kind: str) -> str:
    """Return the client's reference, or one made of its Idempotency-Key, so that it books once for ever."""
    if given is not None:
        return given
    return f"{kind}-{hashlib.sha256(key.encode()).hexdigest() if key else uuid.uuid4()}"


async def _answer(gate: Gate, number: Number, moved: Moved | Short | DoesNotFit, asked: tuple[str, str, int]) -> Answer:
    kind, reference, asked_micros = asked
    if isinstance(moved, Short):
        raise ProblemError(
            409,
            f"Only {format_micros(max(0, moved.available_micros))} {number.currency} is available: what is held for "
            "messages on their way is not; ask for less, or wait until they are settled.",
        )
    if isinstance(moved, DoesNotFit):
        sentence = (
            "topup_id: the top-up is not credited, or less of it is left than that; look at its state and refunded."
        )
        raise ProblemError(409, sentence)
    row = await gate.ledger.fetch_one("movement_by_reference", number.number_id, reference)
    assert row is not None, "a movement that is booked has its row"
    if (row["kind"], row["amount_micros"]) != (kind, asked_micros):
        raise ProblemError(
            409,
            f'reference: "{reference}" is {"an" if row["kind"] == "adjustment" else "a"} {row["kind"]} of '
            f"{format_micros(row['amount_micros'])} {number.currency}; give another movement another reference.",
        )
    balance = (await show_number(gate, number.number_id)).balance
    movement = Movement(
        movement_id=row["movement_id"],
        kind=kind,
        phone_number_id=number.number_id,
        amount=row["amount_micros"],
        currency=number.currency,
        reason=row["reason"],
        reference=reference,
        balance=balance,
    )
    return Answer(movement, 201 if moved.new else 200)
