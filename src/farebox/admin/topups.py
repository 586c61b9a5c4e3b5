"""Money in, and every movement of a number's balance."""

import uuid
from datetime import datetime
from typing import Literal
from uuid import UUID

import asyncpg
from pydantic import Field

from farebox.admin.fields import Amount, AmountAboveZero, NumberId, Reference
from farebox.admin.models import MAX_PAGE, Asked, Given, Nothing, Taken
from farebox.admin.numbers import Balance, number_in_use, show_number
from farebox.admin.problems import RETRY_AFTER_S, ProblemError
from farebox.admin.routing import Answer, Ask
from farebox.core.money import MAX_MICROS, format_micros
from farebox.ledger import LedgerUnavailableError


class TopupPost(Taken):
    """Money in."""

    amount: AmountAboveZero
    reference: Reference | None = Field(
        None, description="Your own id of the payment. A repeated reference is the same top-up, so a retry is safe."
    )
    method: Literal["manual"] = "manual"


class Topup(Given):
    """Money that came in."""

    topup_id: UUID
    phone_number_id: NumberId
    reference: str
    method: str
    amount: Amount
    currency: str
    state: str
    created_at: datetime


class CreditedTopup(Topup):
    """A top-up and the balance after it."""

    balance: Balance


class TopupsQuery(Asked):
    """How many top-ups."""

    limit: int = Field(50, ge=1, le=MAX_PAGE)


class Topups(Given):
    """Top-ups, newest first."""

    topups: list[Topup]


async def index(ask: Ask[Nothing, TopupsQuery]) -> Answer:
    """List a number's top-ups."""
    number = await number_in_use(ask.gate, ask.path["phone_number_id"])
    rows = await ask.gate.ledger.fetch("topups", number.number_id, ask.query.limit)
    return Answer(Topups(topups=[_topup(row, number.currency) for row in rows]))


async def post(ask: Ask[TopupPost, Nothing]) -> Answer:
    """Credit a number once per reference."""
    gate = ask.gate
    number = await number_in_use(gate, ask.path["phone_number_id"])
    topup_id = uuid.uuid4()
    reference = ask.body.reference or f"manual-{topup_id}"
    try:
        new = await gate.funds.credit(
            number,
            topup_id=topup_id,
            amount_micros=ask.body.amount,
            reference=reference,
            method=ask.body.method,
        )
    except asyncpg.CheckViolationError as error:
        # The largest balance is a constraint of the database: only there no other top-up can come in between.
        raise ProblemError(
            422, f"amount: the balance would exceed the largest one, {format_micros(MAX_MICROS)}; top up less."
        ) from error
    except LedgerUnavailableError as error:
        # The money may be booked. A retry under a new reference could book it twice, so the reference is told.
        raise ProblemError(
            503,
            f'It is not known whether the top-up was booked ({error}); repeat it with "reference": "{reference}", '
            "which books it at most once.",
            headers={"Retry-After": RETRY_AFTER_S},
        ) from error
    row = await gate.ledger.fetch_one("topup_by_reference", number.number_id, reference)
    assert row is not None, "a top-up that was booked, now or before, has its row"
    if row["amount_micros"] != ask.body.amount:
        raise ProblemError(
            409,
            f'reference: "{reference}" is a top-up of {format_micros(row["amount_micros"])} {number.currency}, '
            f"not {format_micros(ask.body.amount)}; give another payment another reference.",
        )
    balance = (await show_number(gate, number.number_id)).balance
    return Answer(_credited(row, number.currency, balance), 201 if new else 200)


def _topup(row: asyncpg.Record, currency: str) -> Topup:
    return Topup(
        topup_id=row["topup_id"],
        phone_number_id=row["number_id"],
        reference=row["reference"],
        method=row["method"],
        amount=row["amount_micros"],
        currency=currency,
        state=row["state"],
        created_at=row["created_at"],
    )


def _credited(row: asyncpg.Record, currency: str, balance: Balance) -> CreditedTopup:
    return CreditedTopup(**dict(_topup(row, currency)), balance=balance)
