"""One gateway takes the ports over from another, under load: no request fails, nothing is lost, nothing is doubled."""

import asyncio
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiohttp.test_utils import TestServer

from acceptance.process import farebox, run
from factory import fastest_folder
from farebox.embedded import EmbeddedStores
from farebox.simulator import Behaviour, SimulatedWhatsApp, SimulatorConfig
from harness import ADMIN_TOKEN, APP_SECRET, NUMBER, UPSTREAM_TOKEN, WABA, template

CLIENTS = 6  # half of them keep their connection, half make a new one for each send
ANSWER_S = 0.05  # WhatsApp takes so long: at any moment some sends are in flight
ENOUGH = 40  # sends before, while and after


class Load:
    """Clients that send and never retry; each message goes to a user of its own."""

    def __init__(self, url: str, key: str) -> None:
        self._url = f"{url}/v23.0/{NUMBER}/messages"
        self._headers = {"Authorization": f"Bearer {key}"}
        self.statuses: Counter[Any] = Counter()
        self._answered = asyncio.Semaphore(0)
        self.sent = 0
        self._wanted = True
        self._tasks = [asyncio.create_task(self._client(keeps=client % 2 == 0)) for client in range(CLIENTS)]

    async def _client(self, *, keeps: bool) -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=not keeps)) as session:
            while self._wanted:
                self.sent += 1
                message = template(to=f"1650{self.sent:07d}")
                try:
                    async with session.post(self._url, json=message, headers=self._headers) as answer:
                        await answer.read()
                        self.statuses[answer.status] += 1
                except aiohttp.ClientError as error:
                    self.statuses[type(error).__name__] += 1
                self._answered.release()

    async def more(self) -> None:
        """Wait until some more sends are answered."""
        async with asyncio.timeout(60):
            self._answered = asyncio.Semaphore(0)
            for _ in range(ENOUGH):
                await self._answered.acquire()

    async def end(self) -> None:
        self._wanted = False
        await asyncio.gather(*self._tasks)


@pytest.fixture
async def stores() -> AsyncIterator[EmbeddedStores]:
    with tempfile.TemporaryDirectory(prefix="farebox-handover-", dir=fastest_folder()) as folder:
        Path(folder).chmod(0o711)  # noqa: ASYNC240
        async with EmbeddedStores(Path(folder), postgres_settings={"fsync": "off"}) as opened:
            yield opened


async def _set_up(admin_url: str) -> str:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}) as session:

        async def admin(method: str, path: str, body: Any) -> Any:
            async with session.request(method, admin_url + path, json=body) as answer:
                assert answer.status < 300, await answer.text()
                return await answer.json()

        await admin("PUT", "/v1/accounts/a", {"name": "A", "currency": "USD"})
        number = {"account_id": "a", "waba_id": WABA, "currency": "USD", "upstream_token": UPSTREAM_TOKEN}
        await admin("PUT", f"/v1/numbers/{NUMBER}", number)
        await admin("POST", f"/v1/numbers/{NUMBER}/topups", {"amount": "1000.00", "method": "manual"})
        return str((await admin("POST", "/v1/keys", {"name": "k", "numbers": [NUMBER]}))["key"])


async def test_a_second_gateway_takes_over_under_load(stores: EmbeddedStores) -> None:
    async with AsyncExitStack() as stack:
        config = SimulatorConfig(token=UPSTREAM_TOKEN, app_secret=APP_SECRET, webhook_lanes=4)
        whatsapp = SimulatedWhatsApp(config)
        upstream = await stack.enter_async_context(TestServer(whatsapp.app))
        whatsapp.behave(Behaviour(answer_delay_s=ANSWER_S))
        environment = {
            "FAREBOX_DATABASE_URL": stores.database_url,
            "FAREBOX_REDIS_URL": stores.redis_url,
            "FAREBOX_UPSTREAM_URL": str(upstream.make_url("")).rstrip("/"),
            "FAREBOX_ADMIN_TOKEN": ADMIN_TOKEN,
            "FAREBOX_APP_SECRET": APP_SECRET,
            "FAREBOX_WORKERS": "2",
        }
        first = await stack.enter_async_context(
            farebox("serve", "--port", "0", "--admin-port", "0", environment=environment)
        )
        await first.read_until("admin http")
        url, admin_url = first.url("gateway"), first.url("admin")
        ports = ("--port", url.rpartition(":")[2], "--admin-port", admin_url.rpartition(":")[2])
        code, output = await _serve_too(ports, environment)
        assert (code, output.count("\n")) == (1, 1), output
        assert output.startswith(f"farebox: port {ports[1]} (gateway) can not be used: ")

        whatsapp.set_webhook(f"{url}/webhooks/meta")
        key = await _set_up(admin_url)
        async with farebox("serve", *ports, "--take-over", environment=environment) as second:
            await second.read_until("admin http")
            load = Load(url, key)
            await load.more()
            ending = asyncio.create_task(first.end(signal.SIGTERM))
            await load.more()
            assert await ending == 0
            await load.more()
            await load.end()
            assert load.statuses == {200: load.sent}
            assert Counter(message.body["to"] for message in whatsapp.sent).most_common(1)[0][1] == 1
            assert len(whatsapp.sent) == load.sent
            await whatsapp.settled()
            assert {posted.http_status for posted in whatsapp.posted} == {200}
            assert await second.end(signal.SIGTERM) == 0
        async with farebox("serve", *ports, environment=environment) as third:
            await third.read_until("admin http")  # at once: connections that linger are no reason to refuse
        await _check_the_books(environment, load.sent)


async def _serve_too(ports: tuple[str, ...], environment: dict[str, str]) -> tuple[int, str]:
    async with farebox("serve", *ports, environment=environment) as uninvited:
        code = await uninvited.end(0)
        assert uninvited.process.stdout is not None
        return code, (await uninvited.process.stdout.read()).decode()


async def _check_the_books(environment: dict[str, str], sent: int) -> None:
    """Both gateways have ended: everything was charged once, and wallet and ledger agree."""
    connection = await asyncpg.connect(environment["FAREBOX_DATABASE_URL"])
    rows = await connection.fetch("SELECT state, count(*) AS holds FROM hold GROUP BY state")
    await connection.close()
    assert [tuple(row) for row in rows] == [("settled", sent)]
    names = [f"{name}={value}" for name, value in environment.items()]
    code, output = await run("env", *names, sys.executable, "-m", "farebox", "reconcile")
    assert (code, output.splitlines()[-1]) == (0, "1 numbers compared, 0 differ"), output
