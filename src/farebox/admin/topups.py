"""Money in, and every movement of a number's balance."""

import uuid

import asyncpg

from farebox.admin.models import (
    Balance,
    CreditedTopup,
    Entries,
    EntriesQuery,
    Entry,
    Nothing,
    Topup,
    TopupPost,
    Topups,
    TopupsQuery,
)
from farebox.admin.numbers import show_number, unknown_number
from farebox.admin.problems import RETRY_AFTER_S, ProblemError
from farebox.admin.routing import Answer, Ask
from farebox.core.money import MAX_MICROS, format_micros
from farebox.directory import Number
from farebox.gate import Gate
from farebox.ledger import LedgerUnavailableError


async def index(ask: Ask[Nothing, TopupsQuery]) -> Answer:
    """List a number's top-ups."""
    number = await _number(ask.gate, ask.path["phone_number_id"])
    rows = await ask.gate.ledger.fetch("topups", number.number_id, ask.query.limit)
    return Answer(Topups(topups=[_topup(row, number.currency) for row in rows]))


async def post(ask: Ask[TopupPost, Nothing]) -> Answer:
    """Credit a number once per reference."""
    gate = ask.gate
    number = await _number(gate, ask.path["phone_number_id"])
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


async def entries(ask: Ask[Nothing, EntriesQuery]) -> Answer:
    """List a number's entries, a page at a time."""
    number = await _number(ask.gate, ask.path["phone_number_id"])
    limit = ask.query.limit
    rows = await ask.gate.ledger.fetch("entries", number.number_id, ask.query.before, limit + 1)
    shown = [_entry(row, number.currency) for row in rows[:limit]]
    return Answer(Entries(entries=shown, next=str(shown[-1].entry_id) if len(rows) > limit else None))


async def _number(gate: Gate, number_id: str) -> Number:
    """Return a number from memory; another worker may have made it a moment ago, so a miss looks again."""
    if number_id not in gate.directory.numbers:
        await gate.directory.load_numbers(gate.ledger)
    number = gate.directory.numbers.get(number_id)
    if number is None:
        raise unknown_number(number_id)
    return number


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


def _entry(row: asyncpg.Record, currency: str) -> Entry:
    return Entry(
        entry_id=row["entry_id"],
        kind=row["kind"],
        amount=row["amount_micros"] if row["into_book"] == "number" else -row["amount_micros"],
        currency=currency,
        at=row["at"],
        hold_id=row["hold_id"],
        wamid=row["wamid"],
        category=row["category"],
        market=row["market"],
        topup_id=row["topup_id"],
        reference=row["reference"],
    )
