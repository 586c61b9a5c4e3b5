"""What every worker knows by heart is read again beside the sends, not in their way."""

import asyncio

from benchmarks.population import id_of, populate
from farebox.config import Settings
from farebox.directory import READ_AT_ONCE
from farebox.gate import Gate

NUMBERS = 3 * READ_AT_ONCE


async def test_the_event_loop_turns_while_many_numbers_are_read(settings: Settings, gate: Gate) -> None:
    assert settings.database_url is not None
    await populate(settings.database_url, NUMBERS, app_url="http://127.0.0.1:9")
    rows = await gate.ledger.fetch("all_numbers")
    reading, turns = asyncio.create_task(gate.directory.load_numbers(_Read(rows))), 0  # type: ignore[arg-type]
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > NUMBERS // READ_AT_ONCE
    assert set(gate.directory.numbers) == {id_of(number) for number in range(1, NUMBERS + 1)}


class _Read:
    """A ledger whose answers are here already, so that nothing but the reading itself takes turns."""

    def __init__(self, numbers: list[object]) -> None:
        self._numbers = numbers

    async def fetch(self, name: str) -> list[object]:
        return self._numbers if name == "all_numbers" else []
