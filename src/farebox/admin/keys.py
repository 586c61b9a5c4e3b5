"""Applications' keys: made, listed, revoked."""

import uuid
from datetime import datetime
from typing import Literal
from uuid import UUID

import asyncpg
from pydantic import Field

from farebox.admin.fields import AmountFromZero, Name, NumberId
from farebox.admin.models import MAX_PAGE, Asked, Given, Nothing, Taken
from farebox.admin.problems import ProblemError
from farebox.admin.routing import Answer, Ask, Get
from farebox.core.limits import CATEGORIES
from farebox.directory import new_key

MAX_PER_MINUTE = 1_000_000  # past any number's throughput
MAX_OVERLAP_S = 30 * 86_400  # a month to roll a key out; longer is two keys
Category = Literal["marketing", "utility", "authentication", "authentication_international", "service", "call"]
MAX_NUMBERS_OF_KEY = 1_000  # a key is read into every worker's memory with its numbers


class KeyLimits(Taken):
    """The most that a key may spend on each of its numbers, in the number's currency and by its days."""

    day: AmountFromZero | None = Field(None, description="In a day; null: as much as it likes.")
    month: AmountFromZero | None = Field(None, description="In a calendar month; null: as much as it likes.")


class KeyPost(Taken):
    """An application's key that is to be made."""

    name: Name
    numbers: list[NumberId] = Field(min_length=1, max_length=MAX_NUMBERS_OF_KEY)
    categories: list[Category] | None = Field(
        None, min_length=1, max_length=len(CATEGORIES), description="Of messages that it may send; null: all."
    )
    per_minute: int | None = Field(
        None, ge=1, le=MAX_PER_MINUTE, description="Messages that it may send in a minute; null: any number."
    )
    limits: KeyLimits = Field(KeyLimits(), description="What it may spend on each of its numbers.")


class Rotation(Taken):
    """How a key is rotated."""

    overlap_s: int = Field(
        3_600, ge=0, le=MAX_OVERLAP_S, description="How long the key before works as well, in seconds; 0: not at all."
    )


class Key(Given):
    """An application's key. The key itself is not stored."""

    key_id: UUID
    name: str
    numbers: list[str]
    categories: list[str] | None
    per_minute: int | None
    limits: KeyLimits
    created_at: datetime
    revoked_at: datetime | None
    previous_until: datetime | None = Field(description="Until when the key before the last rotation works.")
    last_used_at: datetime | None = Field(description="To about a minute.")


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


async def index(ask: Ask[Nothing, KeysQuery]) -> Answer:
    """List the keys, a page at a time."""
    limit = ask.query.limit
    rows = await ask.gate.ledger.fetch("keys_after", ask.query.after, limit + 1)
    shown = [Key(**_fields(row)) for row in rows[:limit]]
    return Answer(Keys(keys=shown, next=str(shown[-1].key_id) if len(rows) > limit else None))


async def post(ask: Ask[KeyPost, Nothing]) -> Answer:
    """Make a key and show it this once: only its digest is stored."""
    gate = ask.gate
    numbers = list(dict.fromkeys(ask.body.numbers))
    known = {row["number_id"] for row in await gate.ledger.fetch("known_numbers", numbers)}
    unknown = [number for number in numbers if number not in known]
    if unknown:
        raise ProblemError(
            422, f"numbers: there is no number {unknown[0]}; create it with PUT /v1/numbers/{unknown[0]}."
        )
    key, digest = new_key()
    body = ask.body
    row = await gate.ledger.fetch_one(
        "add_key",
        uuid.uuid4(),
        body.name,
        digest,
        numbers,
        gate.clock.now_ms(),
        body.categories,
        body.per_minute,
        body.limits.day,
        body.limits.month,
    )
    assert row is not None, "an insert returns its row"
    await gate.directory.load_keys(gate.ledger)
    once = (
        f"This Idempotency-Key has made the key {row['key_id']}, which was shown that once; if it is lost, revoke it "
        f"with DELETE /v1/keys/{row['key_id']} and make another under a new Idempotency-Key."
    )
    return Answer(NewKey(**_fields(row), key=key), 201, once)


async def rotate(ask: Ask[Rotation, Nothing]) -> Answer:
    """Give a key a new secret, shown this once; the one before works on for a while."""
    gate, key_id = ask.gate, read_key_id(ask.path["key_id"])
    key, digest = new_key()
    until_ms = gate.clock.now_ms() + ask.body.overlap_s * 1000
    row = await gate.ledger.fetch_one("rotate_key", key_id, digest, until_ms)
    if row is None:
        raise not_in_use(key_id)
    await gate.directory.load_keys(gate.ledger)
    once = (
        f"This Idempotency-Key has rotated the key {key_id}, which was shown that once; if it is lost, rotate it again "
        "under a new Idempotency-Key."
    )
    return Answer(NewKey(**_fields(row), key=key), 200, once)


async def revoke(ask: Get) -> Answer:
    """Revoke a key. Revoking it again changes nothing and answers the same."""
    key_id = read_key_id(ask.path["key_id"])
    if await ask.gate.ledger.fetch_one("revoke_key", key_id, ask.gate.clock.now_ms()) is None:
        raise _unknown(str(key_id))
    await ask.gate.directory.load_keys(ask.gate.ledger)
    return Answer(None, 204)


def read_key_id(text: str) -> UUID:
    """Read the id of a key in a path; raises ProblemError."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise _unknown(text) from None


def not_in_use(key_id: UUID) -> ProblemError:
    """Return the answer about a key that is revoked, or was never made."""
    return ProblemError(404, f"There is no key {key_id} that is not revoked; GET /v1/keys lists them.")


def _unknown(key_id: str) -> ProblemError:
    return ProblemError(404, f"There is no key {key_id}; GET /v1/keys lists them.")


def _fields(row: asyncpg.Record) -> dict[str, object]:
    limits = KeyLimits.model_construct(day=row["day_limit_micros"], month=row["month_limit_micros"])
    return {name: limits if name == "limits" else row[name] for name in Key.model_fields}
