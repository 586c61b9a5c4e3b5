"""The ledger is dumped, goes on, is lost, and is restored beside a Redis that knows more, as docs/operating.md says."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from farebox.config import Settings
from farebox.embedded import EmbeddedStores
from farebox.embedded.binaries import postgres_program
from farebox.gate import open_gate
from farebox.migrate import migrate
from farebox.reconcile import compare
from farebox.simulator import Behaviour
from harness import NUMBER, World, template
from test_funds import reserve


async def run(program: str, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        postgres_program(program), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


@pytest.fixture
async def empty_database_url(stores: EmbeddedStores) -> AsyncIterator[str]:
    admin = await asyncpg.connect(stores.database_url.replace("/farebox?", "/postgres?"))
    await admin.execute("CREATE DATABASE restored TEMPLATE template0")
    yield stores.database_url.replace("/farebox?", "/restored?")
    await admin.execute("DROP DATABASE restored WITH (FORCE)")
    await admin.close()


async def test_a_restored_dump_counts_and_not_what_redis_remembers(
    world: World, settings: Settings, database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    world.whatsapp.behave(Behaviour(statuses=()))
    await world.fund("1.00")
    assert (await world.send(template())).status == 200
    dump = str(tmp_path / "farebox.dump")
    await run("pg_dump", "--format=custom", f"--file={dump}", f"--dbname={database_url}")

    await world.fund("5.00")  # after the dump: the ledger will have forgotten it, Redis will not
    for _ in range(3):
        assert (await world.send(template())).status == 200
    assert await world.balance() == {"available": "5.9864", "held": "0.0136"}

    await run("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={empty_database_url}", dump)
    assert await migrate(empty_database_url) == []
    restored = settings.model_copy(update={"database_url": empty_database_url})
    async with open_gate(restored) as gate:
        number = gate.directory.numbers[NUMBER]
        await reserve(gate, number)
        position = await gate.wallet.position(NUMBER)
        assert position is not None
        assert (position.available_micros, position.held_micros) == (993_200, 6_800)
        assert [text async for row in compare(gate.ledger, gate.wallet) for text in row.differences] == []
