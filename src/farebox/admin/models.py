"""What the admin API takes and gives, as models; `/openapi.json` is made from them.

A PUT replaces: a field that is not given takes its default, and a secret that is not given is forgotten. A PATCH
changes the fields that are given, and null clears those that may be null.
"""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from farebox.admin.fields import (
    AccountId,
    Amount,
    AmountAboveZero,
    AmountFromZero,
    ApplicationUrl,
    ClientDialect,
    Country,
    Currency,
    FundsRule,
    Label,
    Mode,
    Name,
    NumberId,
    Reference,
    RegimeName,
    Secret,
    WabaId,
    Zone,
    refuse,
)

MAX_PAGE = 200  # rows of one answer: some 100 KB, and at most so many looks into the wallets
MAX_NUMBERS_OF_KEY = 1_000  # a key is read into every worker's memory with its numbers
MAX_ENTRY_ID = 2**63 - 1


class Taken(BaseModel):
    """What a client sends: nothing is converted, nothing unknown is passed over."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Given(BaseModel):
    """What a client gets."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True, validate_by_name=True)


class Nothing(Taken):
    """No body, no query."""


class Asked(BaseModel):
    """A query: its values are texts that must be converted."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _without_defaults(schema: dict[str, Any]) -> None:
    """Describe a PATCH: what is not given stays, so it has no defaults."""
    for field in schema["properties"].values():
        field.pop("default", None)


class AccountPut(Taken):
    """An account's fields."""

    name: Name
    currency: Currency
    country: Country | None = None
    tax_id: Label | None = None


class AccountPatch(AccountPut):
    """The fields of an account that change."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    name: Name = ""
    currency: Currency = ""


class Account(Given):
    """A customer. Owns numbers."""

    account_id: AccountId
    name: str
    currency: str
    country: str | None
    tax_id: str | None
    created_at: datetime


class NumberPut(Taken):
    """A number's fields."""

    account_id: AccountId
    display_phone_number: Label = ""
    waba_id: WabaId = ""
    timezone: Zone = Field(
        "UTC", description="Time zone of the WhatsApp Business Account: months and tariffs turn there."
    )
    currency: Currency | None = Field(None, description="Currency of balance and rate card; null: the account's.")
    dialect: ClientDialect = Field(ClientDialect.CLOUD, strict=False, description="API that the application speaks.")
    regime: RegimeName = Field("auto", description="A tariff's name; auto: the one in force on the day.")
    upstream_token: Secret | None = Field(
        None, description="Token towards WhatsApp, never shown; null: the application's own passes through."
    )
    app_secret: Secret | None = Field(
        None,
        description="Meta app secret that signs this number's webhooks, never shown; null: the one in the settings.",
    )
    app_url: ApplicationUrl | None = Field(None, description="Where webhooks are relayed to.")
    mode: Mode = Field("enforce", description="off: sends pass without being metered.")
    funds_rule: FundsRule = Field(
        "above_zero", description="above_zero: the balance must be above block_at; cover: it must hold the whole fare."
    )
    block_at: AmountFromZero = Field(0, description="Paid messages are refused when available is at or below this.")
    low_balance_at: AmountFromZero | None = Field(
        None, description="low_balance is true while available is below this."
    )


class NumberPatch(NumberPut):
    """The fields of a number that change."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

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
    dialect: ClientDialect
    regime: str
    upstream_token_set: bool
    app_secret_set: bool
    app_url: str | None
    mode: str
    funds_rule: str
    block_at: Amount
    low_balance_at: Amount | None
    created_at: datetime
    balance: Balance
    low_balance: bool


class NumbersQuery(Asked):
    """Which page of the numbers."""

    limit: int = Field(50, ge=1, le=MAX_PAGE)
    after: str | None = Field(None, description="The phone number id that the page before ended with: its `next`.")


class Numbers(Given):
    """Numbers in the order of their ids."""

    numbers: list[Number]
    next: str | None = Field(description="Give this as `after` for the next page; null: there is none.")


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


class EntriesQuery(Asked):
    """Which page of the entries."""

    limit: int = Field(50, ge=1, le=MAX_PAGE)
    before: int = Field(
        MAX_ENTRY_ID, ge=1, le=MAX_ENTRY_ID, description="The entry that the page before ended with: its `next`."
    )


class Entry(Given):
    """A movement of the number's balance: above zero it came in, below zero it went out."""

    entry_id: int
    kind: str
    amount: Amount
    currency: str
    at: datetime
    hold_id: UUID | None
    wamid: str | None
    category: str | None
    market: str | None
    topup_id: UUID | None
    reference: str | None


class Entries(Given):
    """Entries, newest first."""

    entries: list[Entry]
    next: str | None = Field(description="Give this as `before` for the next page; null: there is none.")


class DecidingWebhook(Given):
    """The status webhook that ended a hold."""

    status: str | None
    at: datetime | None
    pricing: dict[str, str] | None = Field(description="What WhatsApp says the delivery costs: type and category.")
    error_code: int | None


class Message(Given):
    """A message's fare and everything that explains it."""

    hold_id: UUID
    wamid: str | None
    phone_number_id: NumberId
    state: str
    message_class: str = Field(alias="class")
    category: str
    market: str
    regime: str
    fare: Amount
    billed: Amount | None = Field(description="What was charged; null while its fate is open.")
    currency: str
    why: str = Field(description="The rule that set the fare.")
    rate_source: str = Field(description="File and line of the rate card; empty for a free message.")
    evidence: str = Field(description="What the rule rests on: a window's end, a pool's count.")
    pool: str | None
    recipient: str = Field(description="All but the last four characters are masked.")
    template: str | None
    note: str | None
    created_at: datetime
    expires_at: datetime
    delivered_at: datetime | None = Field(description="When a delivery without a price was seen.")
    ended_at: datetime | None
    ended_by: str | None
    late: bool = Field(description="Charged after the hold had ended otherwise.")
    webhook: DecidingWebhook | None


class KeyPost(Taken):
    """An application's key that is to be made."""

    name: Name
    numbers: list[NumberId] = Field(min_length=1, max_length=MAX_NUMBERS_OF_KEY)


class Key(Given):
    """An application's key. The key itself is not stored."""

    key_id: UUID
    name: str
    numbers: list[str]
    created_at: datetime
    revoked_at: datetime | None


class NewKey(Key):
    """A key at the one time that it is shown."""

    key: str = Field(description="What the application authenticates with. It is shown this once.")


class KeysQuery(Asked):
    """Which page of the keys."""

    limit: int = Field(50, ge=1, le=MAX_PAGE)
    after: UUID | None = Field(None, description="The key id that the page before ended with: its `next`.")


class Keys(Given):
    """Keys, oldest first, revoked ones included."""

    keys: list[Key]
    next: str | None = Field(description="Give this as `after` for the next page; null: there is none.")


class ClockPut(Taken):
    """Where the sandbox's clock goes: to a time, or by seconds."""

    now: AwareDatetime | None = None
    advance_s: float | None = Field(None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_of_them(self) -> "ClockPut":
        if (self.now is None) == (self.advance_s is None):
            raise refuse('must be either {"now": ISO 8601} or {"advance_s": seconds}')
        return self


class ClockTime(Given):
    """The sandbox's clock."""

    now: datetime
    offset_s: float = Field(description="How far it is ahead of the database's clock.")


class Health(Given):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Part(Given):
    """Whether a part is ready, and why not."""

    ready: bool
    why: str | None = None


class Readiness(Given):
    """Whether this worker can serve."""

    ready: bool
    wallet: Part
    ledger: Part
    directory: Part
