"""Alerts: a number's levels, an account's channels, and what was said to whom."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

import asyncpg
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from farebox.admin.fields import PLAIN, Amount, AmountFromZero, ApplicationUrl, NumberId, refuse
from farebox.admin.models import MAX_PAGE, Asked, Given, Nothing, Taken
from farebox.admin.numbers import number_in_use
from farebox.admin.problems import ProblemError
from farebox.admin.routing import Answer, Ask
from farebox.core.alerts import Unit
from farebox.gate import Gate
from farebox.watch.telling import SCHEMES, is_target, new_secret

MAX_LEVELS = 10  # of each unit: more are noise
MAX_DAYS = 365
NEWEST = 2**63 - 1
_URL: TypeAdapter[str] = TypeAdapter(ApplicationUrl)


def _few(values: list[int]) -> list[int]:
    if len(values) > MAX_LEVELS or len(set(values)) != len(values):
        raise refuse(f"must be at most {MAX_LEVELS} different levels")
    return values


class LevelsPut(Taken):
    """The levels at which a number's account is told that the balance is low."""

    amounts: Annotated[list[AmountFromZero], AfterValidator(_few)] = Field(
        default_factory=list, description="Told when available falls below one of these."
    )
    days: Annotated[list[Annotated[int, Field(ge=1, le=MAX_DAYS)]], AfterValidator(_few)] = Field(
        default_factory=list, description="Told when it lasts less than so many days at the spend of the last 7."
    )


class ShownLevel(Given):
    """A level, and whether the balance is below it now."""

    amount: Amount | None
    days: int | None
    low: bool
    of_number: bool = Field(description="It is the number's low_balance_at, and is changed there.")
    crossings: int = Field(description="How often it was crossed.")


class Levels(Given):
    """A number's levels."""

    phone_number_id: NumberId
    currency: str
    levels: list[ShownLevel]


class ChannelPost(Taken):
    """Where an account's alerts go: a webhook of your own, or a mail or chat address as apprise writes it."""

    kind: Literal["webhook", "apprise"]
    target: str = Field(
        min_length=1, max_length=2048, description="A URL; of apprise like mailtos://user:pass@host?to=me."
    )
    name: Annotated[str, Field(max_length=200), PLAIN] = ""


class Channel(Given):
    """A channel. The target of apprise may carry a password, so only its kind is shown."""

    channel_id: uuid.UUID
    kind: str
    name: str
    target: str
    created_at: datetime


class NewChannel(Channel):
    """A channel that was just made, and what signs its webhooks: shown this once."""

    secret: str | None


class Channels(Given):
    """An account's channels."""

    channels: list[Channel]


class AlertsQuery(Asked):
    """Which alerts."""

    number: NumberId | None = None
    state: Literal["waiting", "sent", "dead"] | None = Field(
        None, description="Only those with a delivery in this state; dead: no try reached its channel."
    )
    before: int = Field(NEWEST, description="The id that the page before ended with: its `next`.")
    limit: int = Field(50, ge=1, le=MAX_PAGE)


class Delivery(Given):
    """An alert on its way to one channel."""

    channel_id: uuid.UUID
    kind: str
    name: str
    state: str
    tries: int
    next_at: datetime | None
    error: str | None


class Alert(Given):
    """What was said."""

    alert_id: int
    phone_number_id: NumberId
    kind: str
    sentence: str
    available: Amount
    missing: Amount
    currency: str
    at: datetime
    deliveries: list[Delivery]


class Alerts(Given):
    """Alerts, newest first."""

    alerts: list[Alert]
    next: int | None


class ToldAgain(Given):
    """How many deliveries are tried anew."""

    deliveries: int


async def levels(ask: Ask[Nothing, Nothing]) -> Answer:
    """Show a number's levels."""
    return Answer(await _levels(ask))


async def put_levels(ask: Ask[LevelsPut, Nothing]) -> Answer:
    """Replace a number's levels."""
    gate = ask.gate
    number = await number_in_use(gate, ask.path["phone_number_id"])
    rows = [(Unit.AMOUNT.value, micros) for micros in ask.body.amounts]
    rows += [(Unit.DAYS.value, days * 1_000) for days in ask.body.days]
    await gate.ledger.fetch("put_levels", number.number_id, [unit for unit, _ in rows], [value for _, value in rows])
    await gate.directory.load_numbers(gate.ledger)
    gate.wakes.low(number.number_id)
    return Answer(await _levels(ask))


async def _levels(ask: Ask[Any, Nothing]) -> Levels:
    number = await number_in_use(ask.gate, ask.path["phone_number_id"])
    rows = await ask.gate.ledger.fetch("levels", number.number_id)
    shown = [
        ShownLevel(
            amount=None if row["unit"] == Unit.DAYS else row["value"],
            days=row["value"] // 1_000 if row["unit"] == Unit.DAYS else None,
            low=row["low"],
            of_number=row["unit"] == Unit.LOW,
            crossings=row["crossings"],
        )
        for row in rows
    ]
    return Levels(phone_number_id=number.number_id, currency=number.currency, levels=shown)


async def channels(ask: Ask[Nothing, Nothing]) -> Answer:
    """List an account's channels."""
    account_id = ask.path["account_id"]
    await _known(ask.gate, account_id)
    rows = await ask.gate.ledger.fetch("channels", account_id)
    return Answer(Channels(channels=[Channel(**_channel(row)) for row in rows]))


async def add_channel(ask: Ask[ChannelPost, Nothing]) -> Answer:
    """Add a channel; the secret of a webhook is shown this once."""
    gate, body, account_id = ask.gate, ask.body, ask.path["account_id"]
    await _known(gate, account_id)
    if body.kind == "webhook":
        try:
            _URL.validate_python(body.target)
        except ValidationError as error:
            raise ProblemError(422, f"target: {error.errors()[0]['msg']}.") from None
    elif not is_target(body.target):
        raise ProblemError(422, f"target: must be an apprise URL of one of {', '.join(sorted(SCHEMES))}.")
    secret = new_secret() if body.kind == "webhook" else None
    row = await gate.ledger.fetch_one(
        "add_channel", uuid.uuid4(), account_id, body.kind, body.name, body.target, secret, gate.clock.now_ms()
    )
    assert row is not None, "an insert returns its row"
    return Answer(NewChannel(**_channel(row), secret=secret), 201)


async def drop_channel(ask: Ask[Nothing, Nothing]) -> Answer:
    """Remove a channel, and what still waits for it."""
    try:
        channel_id = uuid.UUID(ask.path["channel_id"])
    except ValueError:
        channel_id = uuid.UUID(int=0)
    if await ask.gate.ledger.fetch_one("drop_channel", ask.path["account_id"], channel_id) is None:
        path = f"/v1/accounts/{ask.path['account_id']}/channels"
        raise ProblemError(404, f"This account has no channel {ask.path['channel_id']}; GET {path} lists them.")
    return Answer(None, 204)


async def index(ask: Ask[Nothing, AlertsQuery]) -> Answer:
    """List alerts with their deliveries."""
    query, ledger = ask.query, ask.gate.ledger
    rows = await ledger.fetch("alerts", query.number, query.state, query.before, query.limit + 1)
    page = rows[: query.limit]
    told: dict[int, list[Delivery]] = {}
    for row in await ledger.fetch("deliveries", [row["alert_id"] for row in page]):
        told.setdefault(row["alert_id"], []).append(_delivery(row))
    alerts = [
        Alert(
            alert_id=row["alert_id"],
            phone_number_id=row["number_id"],
            kind=row["kind"],
            sentence=row["sentence"],
            available=row["available_micros"],
            missing=row["missing_micros"],
            currency=row["currency"],
            at=row["at"],
            deliveries=told.get(row["alert_id"], []),
        )
        for row in page
    ]
    return Answer(Alerts(alerts=alerts, next=alerts[-1].alert_id if len(rows) > query.limit else None))


async def tell_again(ask: Ask[Nothing, Nothing]) -> Answer:
    """Try the deliveries of an alert anew that were given up."""
    rows = await ask.gate.ledger.fetch("tell_again", int(ask.path["alert_id"]), ask.gate.clock.now_ms())
    if not rows:
        raise ProblemError(404, "This alert has no delivery that was given up; see GET /v1/alerts?state=dead.")
    return Answer(ToldAgain(deliveries=len(rows)))


async def _known(gate: Gate, account_id: str) -> None:
    if await gate.ledger.fetch_one("account", account_id) is None:
        raise ProblemError(404, f"There is no account {account_id}; create it with PUT /v1/accounts/{account_id}.")


def _channel(row: asyncpg.Record) -> dict[str, Any]:
    fields = dict(row)
    if row["kind"] == "apprise":
        fields["target"] = f"{row['target'].partition('://')[0]}://..."
    return fields


def _delivery(row: asyncpg.Record) -> Delivery:
    return Delivery(
        channel_id=row["channel_id"],
        kind=row["kind"],
        name=row["name"],
        state=row["state"],
        tries=row["tries"],
        next_at=row["next_at"] if row["state"] == "waiting" else None,
        error=row["error"],
    )
