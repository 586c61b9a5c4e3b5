"""A gateway as in production: a process with two workers, stores of its own, WhatsApp and an application around it."""

import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.test_utils import RawTestServer, TestServer

from acceptance.process import Farebox, farebox
from factory import fastest_folder
from farebox.core.signature import sign
from farebox.embedded import EmbeddedStores
from farebox.simulator import SimulatedWhatsApp, SimulatorConfig
from harness import ADMIN_TOKEN, APP_SECRET, NUMBER, UPSTREAM_TOKEN, WABA, App, reaction


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


@asynccontextmanager
async def open_site(urls: tuple[str, str] | None = None, **more: str) -> AsyncIterator[Site]:
    """Start everything, on stores of its own unless `urls` name some; `more` are further settings."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="farebox-serve-", dir=fastest_folder()))
        Path(folder).chmod(0o711)  # noqa: ASYNC240
        stores = EmbeddedStores(Path(folder))
        if urls is None:
            await stack.enter_async_context(stores)
        database_url, redis_url = urls or (stores.database_url, stores.redis_url)
        whatsapp = SimulatedWhatsApp(SimulatorConfig(token=UPSTREAM_TOKEN, app_secret=APP_SECRET, statuses=()))
        upstream = await stack.enter_async_context(TestServer(whatsapp.app))
        app = App()
        server = await stack.enter_async_context(RawTestServer(app.handle))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        environment = {
            "FAREBOX_DATABASE_URL": database_url,
            "FAREBOX_REDIS_URL": redis_url,
            "FAREBOX_UPSTREAM_URL": str(upstream.make_url("")).rstrip("/"),
            "FAREBOX_ADMIN_TOKEN": ADMIN_TOKEN,
            "FAREBOX_APP_SECRET": APP_SECRET,
            "FAREBOX_WORKERS": "2",
            "FAREBOX_DATA_DIR": f"{folder}/data",
            **more,
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
