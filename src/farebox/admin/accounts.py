"""Accounts: who owns numbers, and who pays for them."""

from datetime import datetime
from typing import Annotated

import asyncpg
from pydantic import ConfigDict, Field

from farebox.admin.fields import (
    AccountId,
    Amount,
    Country,
    Currency,
    Email,
    FixedMarkup,
    Label,
    Line,
    MarkupPercent,
    Name,
    Percent,
    TaxPercent,
)
from farebox.admin.models import Given, Nothing, Taken, without_defaults
from farebox.admin.problems import ProblemError
from farebox.admin.routing import Answer, Ask, Get
from farebox.core.tax_id import EU, TaxIdError, read_tax_id
from farebox.gate import Gate
from farebox.vies import is_registered

NO_SUCH_TAX_ID = "tax_id: {tax_id} is not registered, says the EU's VIES; check it, or register it first."


class AccountPut(Taken):
    """An account's fields."""

    name: Name
    currency: Currency
    country: Country | None = Field(None, description="Where the company is registered: says which Tax ID it has.")
    tax_id: Label | None = Field(
        None, description="VAT ID or the country's own number; checked if the country is known, and shown on receipts."
    )
    legal_name: Name | None = Field(None, description="Name on receipts; null: `name`.")
    address: Annotated[list[Line], Field(min_length=1, max_length=6)] | None = Field(
        None, description="Lines of the address on receipts."
    )
    billing_email: Email | None = None
    markup_percent: MarkupPercent = Field(
        0,
        description="Added to Meta's rate, in percent; the sum is rounded half up to a millionth of the currency.",
        json_schema_extra={"default": "0"},
    )
    markup_fixed: FixedMarkup = Field(
        0,
        description="Added to each paid message after that, in the currency of its number.",
        json_schema_extra={"default": "0.00"},
    )
    tax_percent: TaxPercent = Field(
        0,
        description="Added to the whole, in percent, rounded half up to a millionth. What is free at Meta stays free.",
        json_schema_extra={"default": "0"},
    )


class AccountPatch(AccountPut):
    """The fields of an account that change."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    name: Name = ""
    currency: Currency = ""


class Account(Given):
    """A customer. Owns numbers."""

    account_id: AccountId
    name: str
    currency: str
    country: str | None
    tax_id: str | None
    tax_id_checked_at: datetime | None = Field(
        description="When the EU's VIES called it valid; null: it was not asked."
    )
    legal_name: str | None
    address: list[str] | None
    billing_email: str | None
    markup_percent: Percent
    markup_fixed: Amount
    tax_percent: Percent
    created_at: datetime


async def show(ask: Get) -> Answer:
    """Show an account."""
    return Answer(_shown(await _find(ask.gate, ask.path["account_id"])))


async def put(ask: Ask[AccountPut, Nothing]) -> Answer:
    """Create an account, or replace all its fields."""
    body, checked_ms = await _with_tax_id(ask.gate, ask.body)
    row = await _write(ask.gate, ask.path["account_id"], body, set(AccountPut.model_fields), checked_ms)
    return Answer(_shown(row), 201 if row["created"] else 200)


async def patch(ask: Ask[AccountPatch, Nothing]) -> Answer:
    """Change the fields that are given."""
    known = await _find(ask.gate, ask.path["account_id"])
    given = ask.body.model_fields_set
    rest = {name: known[name] for name in ("name", "currency", "country", "tax_id") if name not in given}
    body: AccountPut = ask.body.model_copy(update=rest)
    checked_ms = None
    if given & {"country", "tax_id"}:
        body, checked_ms = await _with_tax_id(ask.gate, body)
        given = given | {"tax_id"}
    return Answer(_shown(await _write(ask.gate, ask.path["account_id"], body, given, checked_ms)))


async def _find(gate: Gate, account_id: str) -> asyncpg.Record:
    row = await gate.ledger.fetch_one("account", account_id)
    if row is None:
        raise ProblemError(404, f"There is no account {account_id}; create it with PUT /v1/accounts/{account_id}.")
    return row


async def _with_tax_id(gate: Gate, body: AccountPut) -> tuple[AccountPut, int | None]:
    """Return the body with its Tax ID as it is kept, and when VIES called it valid."""
    if body.tax_id is None or body.country is None:
        return body, None
    try:
        tax_id = read_tax_id(body.country, body.tax_id)
    except TaxIdError as error:
        raise ProblemError(422, f"tax_id: {error}; correct it, or the country.") from None
    checked_ms = None
    if gate.settings.vies_url and body.country in EU:
        registered = await is_registered(gate.upstream.session, gate.settings.vies_url, tax_id)
        if registered is False:
            raise ProblemError(422, NO_SUCH_TAX_ID.format(tax_id=tax_id))
        checked_ms = gate.clock.now_ms() if registered else None
    return body.model_copy(update={"tax_id": tax_id}), checked_ms


async def _write(
    gate: Gate, account_id: str, body: AccountPut, given: set[str], checked_ms: int | None
) -> asyncpg.Record:
    row = await gate.ledger.fetch_one(
        "put_account",
        account_id,
        body.name,
        body.currency,
        body.country,
        body.tax_id,
        gate.clock.now_ms(),
        list(given),
        body.markup_percent,
        body.markup_fixed,
        body.tax_percent,
        body.legal_name,
        body.address,
        body.billing_email,
        checked_ms,
    )
    assert row is not None, "an upsert returns its row"
    await gate.directory.load_numbers(gate.ledger)  # they carry the account's price terms
    return row


def _shown(row: asyncpg.Record) -> Account:
    terms = {"markup_percent": "markup_ppm", "markup_fixed": "markup_fixed_micros", "tax_percent": "tax_ppm"}
    return Account(**{name: row[terms.get(name, name)] for name in Account.model_fields})
