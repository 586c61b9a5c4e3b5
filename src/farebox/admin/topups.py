"""Money in: what a top-up costs, and the top-up itself."""

import hashlib
import uuid
from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

import asyncpg
from pydantic import Field

from farebox import topups
from farebox.admin.estimates import PlanText
from farebox.admin.fields import Amount, AmountAboveZero, NumberId, Reference
from farebox.admin.models import MAX_PAGE, Asked, Given, Nothing, Taken
from farebox.admin.needed import DAYS, Needed, needed_of
from farebox.admin.numbers import Balance, number_in_use, show_number
from farebox.admin.problems import RETRY_AFTER_S, ProblemError
from farebox.admin.routing import Answer, Ask
from farebox.core import topup as core
from farebox.core.forecast import HORIZON_DAYS, MIN_DAYS
from farebox.core.money import MAX_MICROS, format_micros
from farebox.core.topup import State
from farebox.directory import Number
from farebox.gate import Gate
from farebox.ledger import LedgerUnavailableError
from farebox.returns import MANUAL


class TopupPost(Taken):
    """Money in: an amount, or the preview that showed what it costs."""

    amount: AmountAboveZero | None = Field(
        None,
        description="What is credited; needed unless preview_id is given. Of a preview it may be left out: then it is "
        "what the estimate suggests.",
    )
    reference: Reference | None = Field(
        None, description="Your own id of the payment. A repeated reference is the same top-up, so a retry is safe."
    )
    method: Literal["manual", "stripe", "sandbox"] = Field(
        "manual",
        description="manual: money that you have seen arrive; stripe: the account's saved card; sandbox: play money.",
    )
    preview_id: UUID | None = Field(None, description="The preview to confirm, at the price that it showed.")
    awaited: bool = Field(
        default=False,
        description="manual: the money is still on its way, so it is pending until it is confirmed.",
    )
    days: Annotated[int, Field(ge=1, le=HORIZON_DAYS)] | None = Field(
        None, description=f"Of a preview: how many days the balance is to last; null: {DAYS}."
    )
    planned: PlanText = ()


class TopupPostQuery(Asked):
    """Whether it is only asked about."""

    preview: bool = Field(
        default=False,
        description="true: nothing is charged; the answer says what the confirm would do, and fixes its price.",
    )


class Topup(Given):
    """Money that comes in."""

    topup_id: UUID
    phone_number_id: NumberId
    reference: str
    method: str
    amount: Amount
    currency: str
    state: str = Field(description="draft, pending, succeeded, failed, cancelled, refunded or disputed.")
    created_at: datetime
    fee: Amount = Field(description="Transaction fee, paid on top.")
    tax: Amount = Field(description="What of the fee is tax.")
    charge: Amount = Field(description="What the payer pays: amount and fee.")
    refunded: Amount = Field(description="What of the amount was given back.")
    why: str = Field(description="one-time or auto-renewal.")
    reason: str | None = Field(description="Why it failed, was cancelled or is disputed.")
    action_url: str | None = Field(
        description="Where the payer has to confirm the payment (3-D Secure); null: nowhere."
    )
    credited_at: datetime | None


class CreditedTopup(Topup):
    """A top-up and the balance after it. Of a preview, what would be."""

    balance: Balance
    preview_id: UUID | None = Field(description="Of a preview: what the confirm names.")
    preview_until: datetime | None = Field(description="Of a preview: until when its price stands.")
    estimate: Needed | None = Field(description="Of a preview: the balance that is needed.")


class TopupsQuery(Asked):
    """How many top-ups."""

    limit: int = Field(50, ge=1, le=MAX_PAGE)


class Topups(Given):
    """Top-ups, newest first."""

    topups: list[Topup]


async def index(ask: Ask[Nothing, TopupsQuery]) -> Answer:
    """List a number's top-ups; previews are none yet."""
    number = await number_in_use(ask.gate, ask.path["phone_number_id"])
    rows = await ask.gate.ledger.fetch("topups", [number.number_id], ask.query.limit)
    return Answer(Topups(topups=[topup_shown(core.topup_of(row), number.currency) for row in rows]))


async def post(ask: Ask[TopupPost, TopupPostQuery]) -> Answer:
    """Credit a number once per reference, or say what that would cost."""
    gate, body = ask.gate, ask.body
    number = await number_in_use(gate, ask.path["phone_number_id"])
    if body.preview_id is not None:
        if ask.query.preview or body.amount is not None:
            raise ProblemError(422, "preview_id: it fixes the amount, so it is confirmed without amount and ?preview.")
        return await _confirm(gate, number, body.preview_id, body.reference)
    if ask.query.preview:
        return await _preview(gate, number, body)
    if body.days is not None or body.planned:
        raise ProblemError(422, "days and planned: they are for an estimate; ask for one with ?preview=true.")
    if body.amount is None:
        raise ProblemError(
            422, "amount: is missing; name it, or ask with ?preview=true what is needed and confirm that preview."
        )
    reference = body.reference or (_reference_of(ask.key) if ask.key else f"{body.method}-{uuid.uuid4()}")
    if body.method == MANUAL and not body.awaited:
        return await _credit(gate, number, body.amount, reference)
    known = await gate.ledger.fetch_one("topup_by_reference", number.number_id, reference)
    topup = await topups.begin(
        gate, number, amount_micros=body.amount, method=body.method, key=reference, why=topups.ONE_TIME
    )
    if isinstance(topup, topups.Refused):
        raise ProblemError(422, topup.sentence)
    _same_amount(topup, body.amount, number.currency)
    return await answer_topup(gate, number, topup, 201 if known is None else 200)


async def answer_topup(
    gate: Gate, number: Number, topup: core.Topup, status: int = 200, estimate: Needed | None = None
) -> Answer:
    """Return a top-up with the balance after it."""
    balance = (await show_number(gate, number.number_id)).balance
    draft = topup.state is State.DRAFT
    return Answer(
        CreditedTopup(
            **dict(topup_shown(topup, number.currency)),
            balance=balance,
            preview_id=topup.topup_id if draft else None,
            preview_until=topup.created_at + timedelta(milliseconds=topups.PREVIEW_MS) if draft else None,
            estimate=estimate,
        ),
        status,
    )


async def _preview(gate: Gate, number: Number, body: TopupPost) -> Answer:
    if (sentence := await topups.hindrance(gate, number)) is not None:
        raise ProblemError(422, sentence)
    balance = (await show_number(gate, number.number_id)).balance
    days = body.days or DAYS
    estimate = await needed_of(gate, number, balance, days=days, planned=body.planned, amount_micros=body.amount)
    amount_micros = body.amount or estimate.suggested
    if amount_micros is None:
        raise ProblemError(422, _nothing_suggested(estimate))
    topup_id = uuid.uuid4()
    refused = await topups.write_down(
        gate,
        number,
        topup_id,
        amount_micros=amount_micros,
        method=body.method,
        key=f"preview-{topup_id}",
        why=topups.ONE_TIME,
        state=State.DRAFT,
    )
    if refused is not None:
        raise ProblemError(422, refused.sentence)
    return await answer_topup(gate, number, await topups.read(gate, topup_id), estimate=estimate)


def _nothing_suggested(estimate: Needed) -> str:
    """Say why a preview without an amount has none."""
    if estimate.plan is not None:
        return "amount: is missing, and what is available covers the plan already; name an amount if you want more."
    if estimate.consumption is not None:
        return (
            f"amount: is missing, and what is available lasts for {estimate.days} days already; name an amount, "
            "more days, or what is planned."
        )
    return (
        f"amount: is missing, and an estimate needs {MIN_DAYS} days with charges; name an amount, or what is planned, "
        'like "planned": "DE:marketing:1000".'
    )


async def _confirm(gate: Gate, number: Number, topup_id: UUID, reference: str | None) -> Answer:
    if (sentence := await topups.hindrance(gate, number)) is not None:
        raise ProblemError(422, sentence)
    try:
        topup = await topups.confirm_draft(gate, number, topup_id, reference)
    except asyncpg.UniqueViolationError as error:
        sentence = f'reference: "{reference}" is another top-up; give another payment another reference.'
        raise ProblemError(409, sentence) from error
    if isinstance(topup, topups.Refused):
        raise ProblemError(422, topup.sentence)
    if topup is None:
        minutes = topups.PREVIEW_MS // 60_000
        raise ProblemError(
            409,
            f"preview_id: this number has no such preview that is younger than {minutes} minutes; ask for a new one.",
        )
    return await answer_topup(gate, number, topup, 201)


async def _credit(gate: Gate, number: Number, amount_micros: int, reference: str) -> Answer:
    """Book money that the caller has seen."""
    known = await gate.ledger.fetch_one("topup_by_reference", number.number_id, reference)
    if known is None and (sentence := await topups.hindrance(gate, number)) is not None:
        raise ProblemError(422, sentence)
    try:
        new = await gate.funds.credit(
            number,
            topup_id=uuid.uuid4(),
            amount_micros=amount_micros,
            reference=reference,
            method=MANUAL,
        )
    except asyncpg.CheckViolationError as error:
        # The largest balance is a constraint of the database: only there no other top-up can come in between.
        raise ProblemError(
            422, f"amount: the balance would exceed the largest one, {format_micros(MAX_MICROS)}; ask for less."
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
    topup = core.topup_of(row)
    _same_amount(topup, amount_micros, number.currency)
    return await answer_topup(gate, number, topup, 201 if new else 200)


def _same_amount(topup: core.Topup, amount_micros: int, currency: str) -> None:
    if topup.amount_micros != amount_micros:
        raise ProblemError(
            409,
            f'reference: "{topup.reference}" is a top-up of {format_micros(topup.amount_micros)} {currency}, '
            f"not {format_micros(amount_micros)}; give another payment another reference.",
        )


def _reference_of(key: str) -> str:
    """Return the reference of a top-up that brings an Idempotency-Key alone: it books once, however often it is tried.

    Like every reference for ever, not for a day: a payment that is repeated late must not be booked again.
    """
    return f"idempotency-key-{hashlib.sha256(key.encode()).hexdigest()}"


def topup_shown(topup: core.Topup, currency: str) -> Topup:
    """Return a top-up as it is shown."""
    return Topup(
        topup_id=topup.topup_id,
        phone_number_id=topup.number_id,
        reference=topup.reference,
        method=topup.method,
        amount=topup.amount_micros,
        currency=currency,
        state=topup.state.value,
        created_at=topup.created_at,
        fee=topup.fee_micros,
        tax=topup.tax_micros,
        charge=topup.total_micros,
        refunded=topup.refunded_micros,
        why=topup.why,
        reason=topup.reason,
        action_url=topup.action_url,
        credited_at=topup.credited_at,
    )
