"""The admin port of a sandbox, for the tests of this folder."""

from collections.abc import AsyncIterator

import pytest
from admin_client import Api
from aiohttp.test_utils import TestClient, TestServer

from farebox.admin import admin_app
from farebox.gate import Gate


@pytest.fixture
async def api(gate: Gate) -> AsyncIterator[Api]:
    moves: list[int] = []

    async def moved() -> None:
        moves.append(gate.clock.now_ms())

    async with TestClient(TestServer(admin_app(gate, test_clock=moved))) as client:
        made = Api(client, gate, moves)
        made.document = (await made.ask("GET", "/openapi.json")).json
        yield made
