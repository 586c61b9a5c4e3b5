"""What every worker knows by heart is read again beside the sends, not in their way."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import pytest

from benchmarks.population import id_of, populate
from farebox.config import Settings
from farebox.directory import READ_AT_ONCE, Directory
from farebox.gate import Gate
from farebox.ledger import Ledger

NUMBERS = 3 * READ_AT_ONCE


@pytest.mark.parametrize(
    ("query", "load", "known"),
    [
        ("all_numbers", Directory.load_numbers, lambda known: known.numbers),
        ("active_keys", Directory.load_keys, lambda known: [key.numbers[0] for key in known._keys.values()]),
        ("all_templates", Directory.load_templates, lambda known: [name for _, name, _ in known.templates]),
    ],
)
async def test_the_event_loop_turns_while_many_rows_are_read(
    settings: Settings,
    gate: Gate,
    query: str,
    load: Callable[[Directory, Ledger], Coroutine[Any, Any, None]],
    known: Callable[[Directory], Iterable[str]],
) -> None:
    assert settings.database_url is not None
    await populate(settings.database_url, NUMBERS, app_url="http://127.0.0.1:9")
    await gate.ledger._pool.execute(
        "INSERT INTO template (waba_id, name, language, category, status, updated_at) "
        "SELECT 'bench', number_id, 'en', 'utility', 'APPROVED', now() FROM number"
    )
    rows = await gate.ledger.fetch(query)
    reading, turns = asyncio.create_task(load(gate.directory, _Read(query, rows))), 0  # type: ignore[arg-type]
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > NUMBERS // READ_AT_ONCE
    assert set(known(gate.directory)) == {id_of(number) for number in range(1, NUMBERS + 1)}


async def test_numbers_that_are_alike_are_priced_as_one(settings: Settings, gate: Gate) -> None:
    assert settings.database_url is not None
    await populate(settings.database_url, 5, app_url="http://127.0.0.1:9")
    ledger, ids = gate.ledger, [id_of(number) for number in range(1, 6)]
    pool = ledger._pool
    await pool.execute("UPDATE number SET auth_international = true WHERE number_id = $1", ids[2])
    await pool.execute("UPDATE number SET display_phone_number = '+91 98123 00000' WHERE number_id = $1", ids[3])
    await pool.execute("UPDATE number SET waba_id = 'another' WHERE number_id = $1", ids[4])
    for start_ms in (None, 1_700_000_000_000):
        if start_ms is not None:
            await pool.execute("INSERT INTO auth_international VALUES ('bench', '', to_timestamp(1700000000))")
        await gate.directory.load_numbers(ledger)
        first, same, ruled, indian, elsewhere = [gate.directory.numbers[number_id] for number_id in ids]
        assert same.abroad is first.abroad
        assert (ruled.abroad.ruled, indian.abroad.home) == (True, "IN")
        assert [number.abroad.starts.get("") for number in (first, ruled, indian)] == [start_ms] * 3
        assert elsewhere.abroad.starts == {}


class _Read:
    """A ledger whose answers are here already, so that nothing but the reading itself takes turns."""

    def __init__(self, query: str, rows: list[Any]) -> None:
        self._query = query
        self._rows = rows

    async def fetch(self, query: str) -> list[Any]:
        return self._rows if query == self._query else []
