"""What the books can not note does not change what WhatsApp has answered."""

from typing import Any

import asyncpg
import pytest

from farebox.gate import Gate
from farebox.ledger import LedgerUnavailableError
from farebox.simulator import Behaviour
from harness import World, template


@pytest.mark.parametrize(("answer", "note"), [(200, "accept"), (400, "reject")])
async def test_what_whatsapp_answered_stands(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: int, note: str
) -> None:
    """To an error of ours the client would send again, and the message would arrive twice."""

    async def fails(*_: Any) -> None:
        raise RuntimeError("of a kind that nobody thought of")

    await world.fund("1.00")
    if answer == 400:
        world.whatsapp.behave(Behaviour(http_status=400, code=131009))
    monkeypatch.setattr(world.gate.funds, note, fails)
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
