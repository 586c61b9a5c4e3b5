"""What a worker knows by heart follows the database: heard from before it is read, and read again after a silence."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from farebox import changes as module
from farebox.changes import CHANNEL, Changes, follow_changes
from farebox.directory import Directory
from farebox.gate import Gate, open_gate
from farebox.ledger import Ledger
from harness import NUMBER, World
from raw_port import until

READS = ("load_numbers", "load_keys", "load_templates")


@pytest.fixture(autouse=True)
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Directory, str]]:
    """What is read, by whose directory. No pause before the next try."""
    monkeypatch.setattr(module, "RECONNECT_S", 0)
    done: list[tuple[Directory, str]] = []
    for name in READS:
        monkeypatch.setattr(Directory, name, counted(name, getattr(Directory, name), done))
    return done


def counted(
    name: str, read: Callable[[Directory, Ledger], Any], done: list[tuple[Directory, str]]
) -> Callable[..., Any]:
    async def run(directory: Directory, ledger: Ledger) -> None:
        await read(directory, ledger)
        done.append((directory, name))

    return run


@asynccontextmanager
async def following(world: World, *, meanwhile: Callable[[], Any] | None = None) -> AsyncIterator[tuple[Gate, Changes]]:
    """Another worker. What is done `meanwhile` comes after its first reading and before it follows."""
    url = world.gate.settings.database_url
    assert url is not None
    changes = await Changes.listening(url, timeout_s=world.gate.settings.ledger_timeout_s)
    async with open_gate(world.gate.settings) as gate:
        if meanwhile is not None:
            await meanwhile()
        task = asyncio.create_task(follow_changes(gate, changes))
        try:
            async with asyncio.timeout(10):  # what is waited for takes milliseconds; a busy machine is given seconds
                yield gate, changes
        finally:
            task.cancel()
            await asyncio.wait([task])
            await changes.aclose()


async def made_key(world: World) -> Any:
    return await world.admin("POST", "/v1/keys", {"name": "of a worker", "numbers": [NUMBER]})


async def test_another_worker_hears_of_a_revocation_at_once(world: World) -> None:
    made = await made_key(world)
    async with following(world) as (gate, _):
        assert gate.directory.key(made["key"]) is not None
        await world.admin("DELETE", f"/v1/keys/{made['key_id']}")
        await until(lambda: gate.directory.key(made["key"]) is None)


async def test_what_changes_after_the_first_reading_is_heard(world: World) -> None:
    made: list[Any] = []

    async def make_one() -> None:
        made.append(await made_key(world))

    async with following(world, meanwhile=make_one) as (gate, _):
        await until(lambda: gate.directory.key(made[0]["key"]) is not None)


async def test_a_start_reads_once(world: World, reads: list[tuple[Directory, str]]) -> None:
    async with following(world) as (gate, _):
        made = await made_key(world)
        await until(lambda: gate.directory.key(made["key"]) is not None)
        by_this_worker = [name for directory, name in reads if directory is gate.directory]
    assert by_this_worker == [*READS, "load_keys"], "all as the gate opened; then what has changed, and nothing else"


async def test_after_a_silence_everything_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    listen = Changes.listen

    async def late(changes: Changes) -> None:
        made.append(await made_key(world))  # nobody hears of it
        await listen(changes)

    async with following(world) as (gate, changes):
        monkeypatch.setattr(Changes, "listen", late)
        await cut(world)
        await until(lambda: made and changes.hears)
        await until(lambda: gate.directory.key(made[0]["key"]) is not None)


async def test_a_database_that_is_away_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    listen, failures = Changes.listen, [OSError(), TimeoutError(), asyncpg.InterfaceError("closed")]

    async def away(changes: Changes) -> None:
        if failures:
            raise failures.pop()
        await listen(changes)

    async with following(world) as (gate, changes):
        monkeypatch.setattr(Changes, "listen", away)
        await cut(world)
        await until(lambda: not failures and changes.hears)
        made = await made_key(world)
        await until(lambda: gate.directory.key(made["key"]) is not None)


async def test_a_connection_that_can_not_listen_does_not_count_as_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object) -> None:
        raise asyncpg.InsufficientPrivilegeError

    url = world.gate.settings.database_url
    assert url is not None
    monkeypatch.setattr(asyncpg.Connection, "add_listener", refused)
    changes = Changes(url, timeout_s=10)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await changes.listen()
    assert not changes.hears


async def test_a_database_that_hangs_holds_up_no_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(connection: asyncpg.Connection, **_: object) -> None:
        connection.terminate()
        raise TimeoutError  # as asyncpg does once the time is over

    url = world.gate.settings.database_url
    assert url is not None
    changes = await Changes.listening(url, timeout_s=10)
    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "close", hang)
        await changes.aclose()
    assert not changes.hears


async def test_a_table_of_a_later_version_is_passed_over(world: World) -> None:
    async with following(world) as (gate, _):
        await world.gate.ledger._pool.execute(f"SELECT pg_notify('{CHANNEL}', 'table_of_tomorrow')")
        made = await made_key(world)
        await until(lambda: gate.directory.key(made["key"]) is not None)


async def cut(world: World) -> None:
    """Cut every connection that listens."""
    await world.gate.ledger._pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    )
