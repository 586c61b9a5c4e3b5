"""Applications' keys: made, listed, revoked."""

import uuid

import asyncpg

from farebox.admin.models import Key, KeyPost, Keys, KeysQuery, NewKey, Nothing
from farebox.admin.problems import ProblemError
from farebox.admin.routing import Answer, Ask, Get
from farebox.directory import new_key


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
