"""The gateway as in production: stores of one's own, settings in the environment; what passes when they are gone."""

import json
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import RawTestServer, TestServer

from acceptance.process import Farebox, farebox
from farebox.core.signature import sign
from farebox.embedded import EmbeddedStores
from farebox.simulator import SimulatedWhatsApp, SimulatorConfig
from harness import ADMIN_TOKEN, APP_SECRET, NUMBER, UPSTREAM_TOKEN, WABA, App, reaction, template


class Site:
    """A gateway process, its stores, WhatsApp and the application."""

    def __init__(self, box: Farebox, stores: EmbeddedStores, app: App, session: aiohttp.ClientSession) -> None:
        self.box = box
        self.stores = stores
        self.app = app
        self.session = session
        self.key = ""
        self.url = box.url("gateway")
        self.admin_url = box.url("admin")

    async def admin(self, method: str, path: str, body: Any) -> Any:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with self.session.request(method, self.admin_url + path, json=body, headers=headers) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json()

    async def send(self, message: Any) -> tuple[int, Any, Any]:
        headers = {"Authorization": f"Bearer {self.key}"}
        url = f"{self.url}/v23.0/{NUMBER}/messages"
        async with self.session.post(url, json=message, headers=headers) as answer:
            return answer.status, answer.headers, await answer.json()

    async def write_in(self, text: str) -> tuple[int, bytes]:
        value = {"metadata": {"phone_number_id": NUMBER}, "messages": [{"from": "1", "text": {"body": text}}]}
        change = {"field": "messages", "value": value}
        body = json.dumps({"entry": [{"id": WABA, "changes": [change]}]}).encode()
        headers = {"X-Hub-Signature-256": sign(body, APP_SECRET)}
        async with self.session.post(f"{self.url}/webhooks/meta", data=body, headers=headers) as answer:
            return answer.status, body


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="farebox-serve-"))
        Path(folder).chmod(0o711)  # noqa: ASYNC240
        stores = await stack.enter_async_context(EmbeddedStores(Path(folder)))
        whatsapp = SimulatedWhatsApp(SimulatorConfig(token=UPSTREAM_TOKEN, app_secret=APP_SECRET, statuses=()))
        upstream = await stack.enter_async_context(TestServer(whatsapp.app))
        app = App()
        server = await stack.enter_async_context(RawTestServer(app.handle))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        environment = {
            "FAREBOX_DATABASE_URL": stores.database_url,
            "FAREBOX_REDIS_URL": stores.redis_url,
            "FAREBOX_UPSTREAM_URL": str(upstream.make_url("")).rstrip("/"),
            "FAREBOX_ADMIN_TOKEN": ADMIN_TOKEN,
            "FAREBOX_APP_SECRET": APP_SECRET,
            "FAREBOX_WORKERS": "2",
        }
        arguments = ("serve", "--port", "0", "--admin-port", "0")
        box = await stack.enter_async_context(farebox(*arguments, environment=environment))
        await box.read_until("admin http")
        opened = Site(box, stores, app, session)
        await opened.admin("PUT", "/v1/accounts/a", {"name": "A", "currency": "USD"})
        number = {"account_id": "a", "waba_id": WABA, "currency": "USD", "upstream_token": UPSTREAM_TOKEN}
        await opened.admin("PUT", f"/v1/numbers/{NUMBER}", {**number, "app_url": str(server.make_url("/"))})
        await opened.admin("POST", f"/v1/numbers/{NUMBER}/topups", {"amount": "1.00", "method": "manual"})
        opened.key = (await opened.admin("POST", "/v1/keys", {"name": "k", "numbers": [NUMBER]}))["key"]
        yield opened


async def both_workers_know(site: Site) -> None:
    """Keys and numbers reach the other worker by notification: ask until new connections meet no stranger."""
    met = 0
    while met < 20:
        async with aiohttp.ClientSession() as session:
            site_session, site.session = site.session, session
            status, _, _ = await site.send(reaction())
            site.session = site_session
        met = met + 1 if status == 200 else 0


async def test_with_both_stores_stopped_inbound_passes_and_paid_sends_wait(site: Site) -> None:
    await both_workers_know(site)
    assert (await site.send(template()))[0] == 200
    await site.stores.stop()
    for attempt in range(6):  # both workers, more than once
        status, body = await site.write_in(f"hello {attempt}")
        assert status == 200
        assert site.app.seen[-1].body == body
        status, headers, content = await site.send(template())
        assert status == 503
        assert headers["Retry-After"] == "1"
        assert isinstance(content["error"]["code"], int)
        assert "nothing was charged" in content["error"]["message"]
        assert (await site.send({"messaging_product": "whatsapp", "status": "read", "message_id": "w"}))[0] == 200
        assert (await site.send(reaction()))[0] == 200
    async with site.session.get(f"{site.admin_url}/readyz") as answer:
        assert answer.status == 503
    async with site.session.get(f"{site.admin_url}/healthz") as answer:
        assert answer.status == 200
    await site.stores.start()
    status = 503
    while status == 503:
        status, _, _ = await site.send(template())
    assert status == 200
    assert await site.box.end(signal.SIGTERM) == 0


async def test_serve_without_an_admin_token_says_so() -> None:
    async with farebox("serve") as box:
        assert await box.end(0) == 2
        assert box.process.stdout is not None
        assert (await box.process.stdout.read()).decode().startswith("farebox: FAREBOX_ADMIN_TOKEN is not set")


async def test_a_database_that_is_not_there_is_one_line() -> None:
    environment = {
        "FAREBOX_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
        "FAREBOX_REDIS_URL": "redis://127.0.0.1:9",
        "FAREBOX_ADMIN_TOKEN": ADMIN_TOKEN,
    }
    async with farebox("serve", "--port", "0", "--admin-port", "0", environment=environment) as box:
        assert await box.end(0) == 1
        assert box.process.stdout is not None
        output = (await box.process.stdout.read()).decode()
        assert output.startswith("farebox: ")
        assert output.count("\n") == 1
