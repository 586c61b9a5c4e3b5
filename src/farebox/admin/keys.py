"""Applications' keys: made, listed, revoked."""

import uuid
from datetime import datetime
from uuid import UUID

import asyncpg
from pydantic import Field

from farebox.admin.fields import Name, NumberId
from farebox.admin.models import MAX_PAGE, Asked, Given, Nothing, Taken
from farebox.admin.problems import ProblemError
from farebox.admin.routing import Answer, Ask, Get
from farebox.directory import new_key

MAX_NUMBERS_OF_KEY = 1_000  # a key is read into every worker's memory with its numbers


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
    row = await gate.ledger.fetch_one("add_key", uuid.uuid4(), ask.body.name, digest, numbers, gate.clock.now_ms())
    assert row is not None, "an insert returns its row"
    await gate.directory.load_keys(gate.ledger)
    return Answer(NewKey(**_fields(row), key=key), 201)


async def revoke(ask: Get) -> Answer:
    """Revoke a key. Revoking it again changes nothing and answers the same."""
    text = ask.path["key_id"]
    try:
        key_id = uuid.UUID(text)
    except ValueError:
        raise _unknown(text) from None
    if await ask.gate.ledger.fetch_one("revoke_key", key_id, ask.gate.clock.now_ms()) is None:
        raise _unknown(text)
    await ask.gate.directory.load_keys(ask.gate.ledger)
    return Answer(None, 204)


def _unknown(key_id: str) -> ProblemError:
    return ProblemError(404, f"There is no key {key_id}; GET /v1/keys lists them.")


def _fields(row: asyncpg.Record) -> dict[str, object]:
    return {name: row[name] for name in Key.model_fields}
