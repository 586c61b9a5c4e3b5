"""What the books can not note does not change what WhatsApp has answered."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from farebox import app
from farebox.gate import Gate
from farebox.ledger import LedgerUnavailableError
from farebox.simulator import Behaviour
from harness import World, template


async def fails(*_: Any) -> None:
    raise RuntimeError("of a kind that nobody thought of")


def fails_at_once(*_: Any) -> None:
    raise RuntimeError("of a kind that nobody thought of")


def accept_fails_at_once(world: World, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world.gate.funds, "accept", fails_at_once)


def accept_fails_in_the_ledger(world: World, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world.gate.ledger._accepts, "_flush", fails)


def reject_fails(world: World, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world.gate.funds, "reject", fails)


@pytest.mark.parametrize(
    ("answer", "break_it"), [(200, accept_fails_at_once), (200, accept_fails_in_the_ledger), (400, reject_fails)]
)
async def test_what_whatsapp_answered_stands(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: int, break_it: Callable[[World, pytest.MonkeyPatch], None]
) -> None:
    """To an error of ours the client would send again, and the message would arrive twice."""
    await world.fund("1.00")
    if answer == 400:
        world.whatsapp.behave(Behaviour(http_status=400, code=131009))
    break_it(world, monkeypatch)
    assert (await world.send(template())).status == answer


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.TooManyConnectionsError("sorry, too many clients already"),
        asyncpg.DiskFullError("could not extend file: No space left on device"),
        asyncpg.PostgresIOError("could not write to file: Input/output error"),
        asyncpg.InternalServerError("could not extend file: File too large"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_database_that_can_not_go_on_is_away(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fails(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(type(gate.ledger._pool), "fetch", fails)
        with pytest.raises(LedgerUnavailableError):
            await gate.ledger.fetch("now")


async def test_a_background_task_ends_though_a_library_took_the_end_for_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker whose stores are gone as well must end: its ports would stay taken."""
    monkeypatch.setattr(app, "END_AGAIN_S", 0)
    swallowed = 0

    async def works_on() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 2:
                    raise

    task = asyncio.create_task(works_on())
    await asyncio.sleep(0)
    await app._cancelled(task)
    assert task.cancelled()
