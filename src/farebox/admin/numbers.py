"""Numbers: how each is metered, and what it has."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg
from pydantic import ConfigDict, Field

from farebox import directory
from farebox.admin.fields import (
    AccountId,
    Amount,
    AmountFromZero,
    ApplicationUrl,
    Currency,
    FundsRule,
    Label,
    Mode,
    NumberId,
    RegimeName,
    Secret,
    WabaId,
    WebhookSecret,
    Zone,
)
from farebox.admin.models import MAX_PAGE, Asked, Given, Nothing, Taken, without_defaults
from farebox.admin.problems import ProblemError
from farebox.admin.rate_cards import check_rate_card
from farebox.admin.routing import Answer, Ask, Get
from farebox.core.reply import Dialect
from farebox.gate import Gate
from farebox.wallet import Position, WalletUnavailableError

MAX_THROUGHPUT = 1_000  # messages a second: the most that WhatsApp gives a number


class NumberPut(Taken):
    """A number's fields."""

    account_id: AccountId
    display_phone_number: Label = ""
    waba_id: WabaId = ""
    timezone: Zone = Field(
        "UTC", description="Time zone of the WhatsApp Business Account: months and tariffs turn there."
    )
    currency: Currency | None = Field(None, description="Currency of balance and rate card; null: the account's.")
    dialect: Dialect = Field(
        Dialect.CLOUD, description="API that the application speaks; WhatsApp is called in the same one."
    )
    regime: RegimeName = Field("auto", description="A tariff's name; auto: the one in force on the day.")
    upstream_token: Secret | None = Field(
        None, description="Token towards WhatsApp, never shown; null: the application's own passes through."
    )
    app_secret: Secret | None = Field(
        None,
        description="Meta app secret that signs this number's webhooks, never shown; null: the one in the settings.",
    )
    webhook_secret: WebhookSecret | None = Field(
        None,
        description="What its webhooks present at /webhooks/360dialog, never shown; null: none are taken there.",
    )
    app_url: ApplicationUrl | None = Field(None, description="Where webhooks are relayed to.")
    mode: Mode = Field(
        "enforce",
        description="shadow: everything is metered, nothing is refused; off: sends pass without being metered.",
    )
    funds_rule: FundsRule = Field(
        "above_zero", description="above_zero: the balance must be above block_at; cover: it must hold the whole fare."
    )
    block_at: AmountFromZero = Field(
        0,
        description="Paid messages are refused when available is at or below this.",
        json_schema_extra={"default": "0.00"},
    )
    auth_international: bool | None = Field(
        None,
        description="Whether authentication templates to other countries cost the international rate; null: as "
        "WhatsApp's account_update webhook says.",
    )
    low_balance_at: AmountFromZero | None = Field(
        None, description="low_balance is true while available is below this; crossing it raises an alert."
    )
    throughput: int | None = Field(
        None,
        ge=1,
        le=MAX_THROUGHPUT,
        description="Messages a second that WhatsApp takes from it (80, or 1,000 after its upgrade): what comes faster "
        "waits for a second at most, then it gets a 429; null: only WhatsApp itself limits it.",
    )


class NumberPatch(NumberPut):
    """The fields of a number that change."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    account_id: AccountId = ""


class Balance(Given):
    """What a number has: balance = available + held."""

    available: Amount
    held: Amount = Field(description="Set aside for messages whose fate is open.")
    pending: Amount = Field(description="Top-ups that are not confirmed yet.")
    currency: str


class Number(Given):
    """A WhatsApp phone number: how it is metered, and its balance. Its secrets are never shown."""

    phone_number_id: NumberId
    account_id: AccountId
    display_phone_number: str
    waba_id: str
    timezone: str
    currency: str
    dialect: Dialect
    regime: str
    upstream_token_set: bool
    app_secret_set: bool
    webhook_secret_set: bool
    app_url: str | None
    mode: str
    funds_rule: str
    block_at: Amount
    auth_international: bool | None
    low_balance_at: Amount | None
    throughput: int | None
    created_at: datetime
    balance: Balance
    low_balance: bool
    closed_at: datetime | None = Field(description="Since when nothing is sent from it; null: it is open.")


class NumbersQuery(Asked):
    """Which page of the numbers."""

    limit: int = Field(50, ge=1, le=MAX_PAGE)
    after: Label | None = Field(None, description="The phone number id that the page before ended with: its `next`.")


class Numbers(Given):
    """Numbers in the order of their ids."""

    numbers: list[Number]
    next: str | None = Field(description="Give this as `after` for the next page; null: there is none.")


async def index(ask: Ask[Nothing, NumbersQuery]) -> Answer:
    """List the numbers, a page at a time."""
    limit = ask.query.limit
    rows = await ask.gate.ledger.fetch("numbers_after", ask.query.after or "", limit + 1)
    shown = await shown_numbers(ask.gate, rows[:limit])
    return Answer(Numbers(numbers=shown, next=shown[-1].phone_number_id if len(rows) > limit else None))


async def show(ask: Get) -> Answer:
    """Show a number."""
    return Answer(await show_number(ask.gate, ask.path["phone_number_id"]))


async def put(ask: Ask[NumberPut, Nothing]) -> Answer:
    """Create a number, or replace all its fields."""
    number_id = ask.path["phone_number_id"]
    created = await _write(ask.gate, number_id, ask.body, set(NumberPut.model_fields))
    return Answer(await show_number(ask.gate, number_id), 201 if created else 200)


async def patch(ask: Ask[NumberPatch, Nothing]) -> Answer:
    """Change the fields that are given."""
    number_id = ask.path["phone_number_id"]
    known = await _find(ask.gate, number_id)
    given = ask.body.model_fields_set
    # What is checked together is completed; every other field that is not given is left alone by the query.
    rest = {name: known[name] for name in ("account_id", "currency", "regime") if name not in given}
    await _write(ask.gate, number_id, ask.body.model_copy(update=rest), given)
    return Answer(await show_number(ask.gate, number_id))


async def show_number(gate: Gate, number_id: str) -> Number:
    """Return a number as it is shown."""
    (number,) = await shown_numbers(gate, [await _find(gate, number_id)])
    return number


async def number_in_use(gate: Gate, number_id: str) -> directory.Number:
    """Return a number from memory; another worker may have made it a moment ago, so a miss looks again."""
    if number_id not in gate.directory.numbers:
        await gate.directory.load_numbers(gate.ledger)
    number = gate.directory.numbers.get(number_id)
    if number is None:
        raise unknown_number(number_id)
    return number


async def _find(gate: Gate, number_id: str) -> asyncpg.Record:
    row = await gate.ledger.fetch_one("number", number_id)
    if row is None:
        raise unknown_number(number_id)
    return row


def unknown_number(number_id: str) -> ProblemError:
    """Return the problem of a number that is not set up."""
    return ProblemError(404, f"There is no number {number_id}; create it with PUT /v1/numbers/{number_id}.")


async def _write(gate: Gate, number_id: str, body: NumberPut, given: set[str]) -> bool:
    """Write the given fields of a number and take them over; tell whether it is new."""
    account = await gate.ledger.fetch_one("account", body.account_id)
    if account is None:
        raise ProblemError(
            422,
            f"account_id: there is no account {body.account_id}; create it with PUT /v1/accounts/{body.account_id}.",
        )
    currency = body.currency or account["currency"]
    if given & {"regime", "currency"}:  # otherwise both are as they were, and a missing card is no fault of this change
        check_rate_card(gate, body.regime, currency, body.timezone)
    row = await gate.ledger.fetch_one(
        "put_number",
        number_id,
        body.account_id,
        body.display_phone_number,
        body.waba_id,
        body.timezone,
        currency,
        body.dialect.value,
        body.regime,
        gate.directory.vault.seal(body.upstream_token),
        gate.directory.vault.seal(body.app_secret),
        body.app_url,
        body.mode,
        body.funds_rule,
        body.block_at,
        body.low_balance_at,
        gate.directory.vault.seal(body.webhook_secret),
        gate.clock.now_ms(),
        list(given),
        body.auth_international,
        body.throughput,
    )
    if row is None:
        raise ProblemError(
            409,
            f"currency: number {number_id} has messages or entries in another currency, so it can not change to "
            f"{currency}; keep the currency, or set up another number.",
        )
    await gate.directory.load_numbers(gate.ledger)
    return bool(row["created"])


async def shown_numbers(gate: Gate, rows: Sequence[asyncpg.Record]) -> list[Number]:
    """Return numbers as they are shown, each with its money as it is now."""
    positions = await _positions(gate, rows)
    on_their_way = await gate.ledger.fetch("pending_topups", [row["number_id"] for row in rows])
    pending = {row["number_id"]: row["pending_micros"] for row in on_their_way}
    numbers = []
    for row in rows:
        position = positions[row["number_id"]]
        low_at = row["low_balance_at_micros"]
        numbers.append(
            Number(
                phone_number_id=row["number_id"],
                account_id=row["account_id"],
                display_phone_number=row["display_phone_number"],
                waba_id=row["waba_id"],
                timezone=row["timezone"],
                currency=row["currency"],
                dialect=row["dialect"],
                regime=row["regime"],
                upstream_token_set=row["upstream_token_set"],
                app_secret_set=row["app_secret_set"],
                webhook_secret_set=row["webhook_secret_set"],
                app_url=row["app_url"],
                mode=row["mode"],
                funds_rule=row["funds_rule"],
                block_at=row["block_at_micros"],
                auth_international=row["auth_international"],
                low_balance_at=low_at,
                throughput=row["throughput"],
                created_at=row["created_at"],
                balance=Balance(
                    available=position.available_micros,
                    held=position.held_micros,
                    pending=pending.get(row["number_id"], 0),
                    currency=row["currency"],
                ),
                low_balance=low_at is not None and position.available_micros < low_at,
                closed_at=row["closed_at"],
            )
        )
    return numbers


async def _positions(gate: Gate, rows: Sequence[asyncpg.Record]) -> dict[str, Position]:
    """Return the money of numbers: from the wallet, which knows it to the moment, otherwise from the ledger."""
    positions: dict[str, Position] = {}
    try:
        # Somebody looks, and the ledger can tell as well: no waiting for a store that hangs.
        found = await gate.wallet.positions([row["number_id"] for row in rows], hasty=True)
        for row, position in zip(rows, found, strict=True):
            if position is not None and position.epoch == row["epoch"]:  # of another epoch: about to be rebuilt
                positions[row["number_id"]] = position
    except WalletUnavailableError:
        pass
    missing = [row["number_id"] for row in rows if row["number_id"] not in positions]
    if missing:
        for row in await gate.ledger.fetch("ledger_money", missing):
            available_micros = row["balance_micros"] - row["held_micros"]
            positions[row["number_id"]] = Position(row["epoch"], available_micros, row["held_micros"])
    return positions
