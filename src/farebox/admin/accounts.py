"""Accounts: who owns numbers."""

from datetime import datetime

import asyncpg
from pydantic import ConfigDict, Field

from farebox.admin.fields import (
    AccountId,
    Amount,
    Country,
    Currency,
    FixedMarkup,
    Label,
    MarkupPercent,
    Name,
    Percent,
    TaxPercent,
)
from farebox.admin.models import Given, Nothing, Taken, without_defaults
from farebox.admin.problems import ProblemError
from farebox.admin.routing import Answer, Ask, Get
from farebox.gate import Gate


class AccountPut(Taken):
    """An account's fields."""

    name: Name
    currency: Currency
    country: Country | None = None
    tax_id: Label | None = None
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
    markup_percent: Percent
    markup_fixed: Amount
    tax_percent: Percent
    created_at: datetime


async def show(ask: Get) -> Answer:
    """Show an account."""
    return Answer(_shown(await _find(ask.gate, ask.path["account_id"])))


async def put(ask: Ask[AccountPut, Nothing]) -> Answer:
    """Create an account, or replace all its fields."""
    row = await _write(ask.gate, ask.path["account_id"], ask.body, set(AccountPut.model_fields))
    return Answer(_shown(row), 201 if row["created"] else 200)


async def patch(ask: Ask[AccountPatch, Nothing]) -> Answer:
    """Change the fields that are given."""
    known = await _find(ask.gate, ask.path["account_id"])
    given = ask.body.model_fields_set
    body = ask.body.model_copy(update={name: known[name] for name in ("name", "currency") if name not in given})
    return Answer(_shown(await _write(ask.gate, ask.path["account_id"], body, given)))


async def _find(gate: Gate, account_id: str) -> asyncpg.Record:
    row = await gate.ledger.fetch_one("account", account_id)
    if row is None:
        raise ProblemError(404, f"There is no account {account_id}; create it with PUT /v1/accounts/{account_id}.")
    return row


async def _write(gate: Gate, account_id: str, body: AccountPut, given: set[str]) -> asyncpg.Record:
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
    )
    assert row is not None, "an upsert returns its row"
    await gate.directory.load_numbers(gate.ledger)  # they carry the account's price terms
    return row


def _shown(row: asyncpg.Record) -> Account:
    terms = {"markup_percent": "markup_ppm", "markup_fixed": "markup_fixed_micros", "tax_percent": "tax_ppm"}
    return Account(**{name: row[terms.get(name, name)] for name in Account.model_fields})
