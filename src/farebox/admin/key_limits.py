"""Spend limits of a key: what it may spend on each of its numbers, and what counts against that."""

from uuid import UUID

from pydantic import Field

from farebox.admin.fields import Amount, NumberId
from farebox.admin.keys import KeyLimits, not_in_use, read_key_id
from farebox.admin.models import Given, Nothing
from farebox.admin.routing import Answer, Ask
from farebox.core.limits import Period
from farebox.directory import Key
from farebox.gate import Gate
from farebox.tariffs import local_day


class ShownKeyLimit(Given):
    """A limit on one of the key's numbers, and what counts against it: what the key was charged, and has set aside."""

    phone_number_id: NumberId
    currency: str
    period: Period
    limit: Amount
    spent: Amount
    left: Amount


class ShownKeyLimits(Given):
    """The spend limits of a key, number by number. What it sent before it had a limit does not count."""

    key_id: UUID
    limits: list[ShownKeyLimit] = Field(description="Empty where the key may spend as much as it likes.")


async def show(ask: Ask[Nothing, Nothing]) -> Answer:
    """Show the limits."""
    return Answer(await _shown(ask.gate, read_key_id(ask.path["key_id"])))


async def put(ask: Ask[KeyLimits, Nothing]) -> Answer:
    """Replace the limits; they count from now on, on every worker within milliseconds."""
    gate, key_id = ask.gate, read_key_id(ask.path["key_id"])
    if await gate.ledger.fetch_one("limit_key", key_id, ask.body.day, ask.body.month) is None:
        raise not_in_use(key_id)
    await gate.directory.load_keys(gate.ledger)
    return Answer(await _shown(gate, key_id))


async def _shown(gate: Gate, key_id: UUID) -> ShownKeyLimits:
    key = gate.directory.key_of_id(key_id)
    if key is None:
        raise not_in_use(key_id)
    spent = await _spent(gate, key) if key.limits else {}
    shown = [
        ShownKeyLimit(
            phone_number_id=number_id,
            currency=gate.directory.numbers[number_id].currency,
            period=limit.period,
            limit=limit.micros,
            spent=micros[limit.period],
            left=max(0, limit.micros - micros[limit.period]),
        )
        for number_id, micros in spent.items()
        for limit in key.limits
    ]
    return ShownKeyLimits(key_id=key_id, limits=shown)


async def _spent(gate: Gate, key: Key) -> dict[str, dict[Period, int]]:
    """Return by number what counts against a limit of each period."""
    numbers = [gate.directory.numbers[id_] for id_ in key.numbers if id_ in gate.directory.numbers]
    days = [local_day(gate.clock.now_ms(), number.zone) for number in numbers]
    rows = await gate.ledger.fetch("key_spent", key.key_id, [number.number_id for number in numbers], days)
    return {
        row["number_id"]: {period: row["held_micros"] + row[f"{period}_micros"] for period in Period} for row in rows
    }
