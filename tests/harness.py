"""A whole world in one process: simulated WhatsApp, gateway, admin port, an application, and stores that are real."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
from aiohttp import web
from aiohttp.test_utils import RawTestServer, TestServer

from farebox.admin import admin_app
from farebox.app import gateway_runner
from farebox.config import Settings
from farebox.connections import Connections
from farebox.gate import Gate, open_gate
from farebox.reconcile import compare
from farebox.simulator import SimulatedWhatsApp, SimulatorConfig
from farebox.simulator.config import DEFAULT_PHONE_NUMBER_ID, DEFAULT_WABA_ID
from farebox.sweep import Sweep
from farebox.web import add_pages

ADMIN_TOKEN = "admin-token-for-tests"
APP_SECRET = "app-secret-for-tests"
VERIFY_TOKEN = "verify-token-for-tests"
UPSTREAM_TOKEN = "upstream-token-for-tests"
NUMBER = DEFAULT_PHONE_NUMBER_ID
WABA = DEFAULT_WABA_ID
USER = "16505551234"  # North America: utility 0.0034, marketing 0.0250, service 0.0034 USD
GERMAN = "4915112345678"  # Germany: marketing 0.1365, utility 0.0550 USD


def template(name: str = "order_update", to: str = USER, language: str = "en_US") -> dict[str, Any]:
    return {
        "messaging_product": "whatsapp",
        "to": to,
        "type": "template",
        "template": {"name": name, "language": {"code": language}},
    }


def text(to: str = USER, body: str = "hello") -> dict[str, Any]:
    return {"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": body}}


def reaction(to: str = USER) -> dict[str, Any]:
    return {
        "messaging_product": "whatsapp",
        "to": to,
        "type": "reaction",
        "reaction": {"message_id": "wamid.X", "emoji": "x"},
    }


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Seen:
    headers: Any
    body: bytes


@dataclass
class App:
    """The application behind a number: keeps what it gets, answers what it is told."""

    seen: list[Seen] = field(default_factory=list)
    status: int = 200
    answer: bytes = b"thanks"

    async def handle(self, request: web.BaseRequest) -> web.Response:
        self.seen.append(Seen(request.headers.copy(), await request.read()))
        return web.Response(status=self.status, body=self.answer)


def lead_upstream(gate: Gate, base_url: str) -> None:
    """Let everything that goes to WhatsApp go to another server."""
    gate.upstream.base_url = base_url
    gate.upstream._sends = Connections(base_url, timeout_s=gate.settings.upstream_timeout_s)


@contextmanager
def nobody_upstream(gate: Gate) -> Iterator[None]:
    """Let nothing be where WhatsApp was."""
    before = gate.upstream.base_url
    lead_upstream(gate, "http://127.0.0.1:9")  # the discard port
    try:
        yield
    finally:
        lead_upstream(gate, before)


class World:
    """Everything a test plays with. Amounts are decimal strings, as people see them."""

    def __init__(self, gate: Gate, whatsapp: SimulatedWhatsApp, session: aiohttp.ClientSession) -> None:
        self.gate = gate
        self.whatsapp = whatsapp
        self.app = App()
        self.session = session
        self.sweep = Sweep(gate)
        self.url = self.admin_url = self.app_url = self.key = ""

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, config: SimulatorConfig | None = None) -> AsyncIterator[Self]:
        async with AsyncExitStack() as stack:
            config = config or SimulatorConfig(token=UPSTREAM_TOKEN, app_secret=APP_SECRET)
            whatsapp = SimulatedWhatsApp(config)
            upstream = await stack.enter_async_context(TestServer(whatsapp.app))
            settings = settings.model_copy(update={"upstream_url": str(upstream.make_url("")).rstrip("/")})
            gate = await stack.enter_async_context(open_gate(settings))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            world = cls(gate, whatsapp, session)
            app = await stack.enter_async_context(RawTestServer(world.app.handle))
            gateway = gateway_runner(gate)
            await gateway.setup()
            stack.push_async_callback(gateway.cleanup)
            await web.TCPSite(gateway, "127.0.0.1", 0).start()
            admin_port = admin_app(gate, test_clock=world._clock_moved)
            add_pages(admin_port, gate, sandbox=True)
            admin = await stack.enter_async_context(TestServer(admin_port))
            world.url = f"http://127.0.0.1:{gateway.addresses[0][1]}"
            world.admin_url = str(admin.make_url("")).rstrip("/")
            world.app_url = str(app.make_url("/hook"))
            whatsapp.set_webhook(f"{world.url}/webhooks/meta")
            await world._set_up()
            yield world
            await whatsapp.settled()

    async def _clock_moved(self) -> None:
        self.whatsapp.clock.offset_s = self.gate.clock.offset_ms / 1000
        await self.sweep.run()

    async def _set_up(self) -> None:
        await self.admin("PUT", "/v1/accounts/acme", {"name": "Acme", "currency": "USD"})
        await self.add_number(NUMBER)
        await self.gate.templates.sync()
        self.key = await self.make_key(NUMBER)

    async def add_number(self, number_id: str, **changes: Any) -> None:
        fields = {
            "account_id": "acme",
            "waba_id": WABA,
            "currency": "USD",
            "upstream_token": UPSTREAM_TOKEN,
            "app_url": self.app_url,
            **changes,
        }
        await self.admin("PUT", f"/v1/numbers/{number_id}", fields)

    async def make_key(self, *numbers: str) -> str:
        made = await self.admin("POST", "/v1/keys", {"name": "tests", "numbers": list(numbers)})
        key: str = made["key"]
        return key

    async def admin(self, method: str, path: str, body: Any = None, *, expect: int | None = None) -> Any:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with self.session.request(method, self.admin_url + path, json=body, headers=headers) as answer:
            content = await answer.read()
            if expect is None:
                assert answer.status < 300, content
            else:
                assert answer.status == expect, content
            return json.loads(content) if content else None

    async def fund(self, amount: str, number_id: str = NUMBER) -> None:
        await self.admin("POST", f"/v1/numbers/{number_id}/topups", {"amount": amount, "method": "manual"})

    async def balance(self, number_id: str = NUMBER) -> dict[str, str]:
        number = await self.admin("GET", f"/v1/numbers/{number_id}")
        return {name: number["balance"][name] for name in ("available", "held")}

    async def call(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> Answer:
        headers = {"Authorization": f"Bearer {key or self.key}", **(headers or {})}
        async with self.session.request(method, self.url + path, headers=headers, **kwargs) as answer:
            content = await answer.read()
        await self.gate.ledger.noted()  # the answer of a send does not wait for it
        return Answer(answer.status, answer.headers, content)

    async def send(self, message: Any, *, number_id: str = NUMBER, **kwargs: Any) -> Answer:
        return await self.call("POST", f"/v23.0/{number_id}/messages", json=message, **kwargs)

    async def message(self, id_: str) -> Any:
        await self.gate.ledger.noted()
        return await self.admin("GET", f"/v1/messages/{id_}")

    async def books_kept(self) -> None:
        """Wait until every webhook is posted and its bookkeeping done."""
        await self.whatsapp.settled()
        while self.gate.tasks:
            await next(iter(self.gate.tasks))
            await asyncio.sleep(0)  # a task that is done leaves the set in a turn of the loop of its own

    async def differences(self) -> list[str]:
        """What reconcile would print."""
        return [text async for row in compare(self.gate.ledger, self.gate.wallet) for text in row.differences]
