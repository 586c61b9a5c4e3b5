"""A simulated WhatsApp in this process, a client to it, and an application that receives its webhooks."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from farebox.simulator import Number, SimulatedWhatsApp, SimulatorConfig

NUMBER = Number()
USER = "16505551234"


@dataclass
class Receiver:
    """Takes webhooks and keeps them."""

    requests: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    """Statuses to answer with, then 200."""

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append((await request.read(), dict(request.headers)))
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    async def verify(self, request: web.Request) -> web.Response:
        right = request.query["hub.verify_token"] == "right"
        return web.Response(text=request.query["hub.challenge"], status=200 if right else 403)

    @property
    def values(self) -> list[dict[str, Any]]:
        bodies = [json.loads(body) for body, _ in self.requests]
        return [change["value"] for body in bodies for entry in body["entry"] for change in entry["changes"]]

    @property
    def statuses(self) -> list[dict[str, Any]]:
        return [status for value in self.values for status in value.get("statuses", [])]

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [message for value in self.values for message in value.get("messages", [])]


@dataclass
class World:
    sim: SimulatedWhatsApp
    client: TestClient[web.Request, web.Application]
    receiver: Receiver

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.sim.config.token}"}

    async def send(self, body: Any, *, path: str = f"/v25.0/{NUMBER.phone_number_id}/messages") -> ClientResponse:
        return await self.client.post(path, json=body, headers=self.auth)

    async def accepted(self, body: Any, **where: str) -> str:
        response = await self.send(body, **where)
        answer = await response.json()
        assert response.status == 200, answer
        wamid = answer["messages"][0]["id"]
        assert isinstance(wamid, str)
        return wamid

    async def get(self, path: str, **query: str) -> Any:
        response = await self.client.get(path, params=query, headers=self.auth)
        return await response.json()


def text(body: str = "hello", to: str = f"+{USER}", **more: Any) -> dict[str, Any]:
    return {"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": body}, **more}


def template(name: str = "order_update", to: str = f"+{USER}", **more: Any) -> dict[str, Any]:
    content = {"name": name, "language": {"code": "en_US"}}
    return {"messaging_product": "whatsapp", "to": to, "type": "template", "template": content, **more}


Start = Callable[..., Awaitable[World]]


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Start]:
    clients: list[TestClient[web.Request, web.Application]] = []

    async def make(**settings: Any) -> World:
        receiver = Receiver()
        listening = web.Application()
        listening.router.add_post("/hook", receiver.take)
        listening.router.add_get("/hook", receiver.verify)
        hook = TestClient(TestServer(listening))
        await hook.start_server()
        sim = SimulatedWhatsApp(SimulatorConfig(**({"webhook_url": str(hook.make_url("/hook"))} | settings)))
        client = TestClient(TestServer(sim.app))
        await client.start_server()
        clients.extend((client, hook))
        return World(sim, client, receiver)

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
def samples() -> Any:
    """Build message bodies."""

    class Samples:
        text = staticmethod(text)
        template = staticmethod(template)

    return Samples
