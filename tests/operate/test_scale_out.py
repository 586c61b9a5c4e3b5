"""Gateways that come and go under load behind a plain TCP balancer, on hosts of their own: nothing is lost or doubled.

One Redis Cluster, one PostgreSQL. `make scale-out ROUNDS=10` does it at length, and lets gateways leave in good order.
"""

import asyncio
import os
import signal
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from acceptance.process import Farebox, farebox
from farebox.core.money import MICROS_PER_UNIT
from farebox.ledger import Ledger
from farebox.reconcile import compare
from farebox.simulator import SimulatedWhatsApp, SimulatorConfig
from farebox.wallet import Wallet
from harness import ADMIN_TOKEN, APP_SECRET, NUMBER, UPSTREAM_TOKEN, WABA, template
from operate.network import Balancer, Network, need_namespaces
from stores import local_cluster, servers
from stores.local_cluster import LocalCluster

ROUNDS = int(os.environ.get("ROUNDS", "0"))  # 0: the short form, in which a second gateway comes and dies
CLIENTS = 6
FUNDS_MICROS = 1_000 * MICROS_PER_UNIT
FARE_MICROS = 3_400
PAUSE_S = 0.1  # between two sends of a client: gateways must start beside them on a machine that has little
GATEWAY, ADMIN = 8080, 8081


@dataclass
class Load:
    """Clients that send through the balancer; each message goes to a user of its own, under a key of its own."""

    url: str
    key: str
    outcomes: dict[str, str] = field(default_factory=dict)  # by user
    stop: bool = False

    async def client(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            while not self.stop:
                user = f"1650{len(self.outcomes):07d}"
                self.outcomes[user] = "under way"
                self.outcomes[user] = await self._send(session, user)
                await asyncio.sleep(PAUSE_S)

    async def _send(self, session: aiohttp.ClientSession, user: str) -> str:
        """Send, and where the connection broke ask again under the same key."""
        broke = ""
        for _ in range(100):
            try:
                body, headers = template(to=user), {"Idempotency-Key": user}
                async with session.post(self.url, json=body, headers=headers) as answer:
                    await answer.read()
                    return f"{broke}{answer.status}"
            except aiohttp.ClientError:
                broke = "again "
                await asyncio.sleep(0.05)
        return "no answer"

    def not_at_once(self) -> int:
        """Return how many sends did not go well at the first try."""
        return sum(outcome not in RIGHT for outcome in self.outcomes.values())

    async def more(self, times: int) -> None:
        """Wait until so many sends more went well."""

        def well() -> int:
            return sum(outcome == "200" for outcome in self.outcomes.values())

        enough, patience = well() + times, servers.PATIENCE_S
        while well() < enough:
            await asyncio.sleep(0.02)
            patience -= 0.02
            assert patience > 0, Counter(self.outcomes.values())


@dataclass
class Site:
    """Where the gateways run, and who they talk to."""

    network: Network
    balancer: Balancer
    folder: Path
    environment: dict[str, str]
    addresses: dict[str, str]

    async def start(self, stack: AsyncExitStack, host: str) -> Farebox:
        """Start a gateway on a host, and give it connections once it serves."""
        address = self.addresses[host]
        arguments = ("serve", "--port", str(GATEWAY), "--admin-port", str(ADMIN))
        environment = {**self.environment, "FAREBOX_HOST": address, "FAREBOX_DATA_DIR": str(self.folder / host)}
        box = await stack.enter_async_context(
            farebox(*arguments, environment=environment, inside=self.network.on(host))
        )
        await box.read_until("admin http")
        assert box.process.stdout is not None
        reading = asyncio.create_task(box.process.stdout.read())  # a pipe that is full would stop it
        stack.callback(reading.cancel)
        self.balancer.targets.append((address, GATEWAY))
        return box

    def take_out(self, host: str) -> None:
        """Give a gateway no more connections."""
        self.balancer.targets.remove((self.addresses[host], GATEWAY))

    async def admin(self, host: str, method: str, path: str, body: object) -> dict[str, str]:
        """Ask a gateway's admin port."""
        url, headers = f"http://{self.addresses[host]}:{ADMIN}{path}", {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with aiohttp.request(method, url, json=body, headers=headers) as answer:
            assert answer.status < 300, await answer.text()
            found: dict[str, str] = await answer.json()
            return found


def tcp_url(database_url: str, host: str, port: int) -> tuple[str, str]:
    """Return the path of a database's unix socket, and its URL over TCP."""
    parts = urlsplit(database_url)
    folder = parse_qs(parts.query)["host"][0]
    socket = next(str(path) for path in Path(folder).iterdir() if path.name.startswith(".s.PGSQL") and path.is_socket())
    return socket, f"postgresql://{parts.username}@{host}:{port}{parts.path}?sslmode=disable"


async def open_site(
    stack: AsyncExitStack, network: Network, folder: Path, database_url: str, whatsapp: SimulatedWhatsApp
) -> tuple[Site, str, str]:
    """Return the site with what its gateways are to be told, the cluster's URL, and the balancer's."""
    cluster = await LocalCluster.start(stack, folder / "cluster")
    socket, _ = tcp_url(database_url, "", 0)
    database, balancer = Balancer(socket), Balancer()
    ports = [await each.start(network.here) for each in (database, balancer)]
    for each in (database, balancer):
        stack.push_async_callback(each.stop)
    upstream = await stack.enter_async_context(TestServer(whatsapp.app, host=network.here))
    environment = {
        "FAREBOX_DATABASE_URL": tcp_url(database_url, network.here, ports[0])[1],
        "FAREBOX_REDIS_URL": cluster.url,
        "FAREBOX_UPSTREAM_URL": str(upstream.make_url("")).rstrip("/"),
        "FAREBOX_ADMIN_TOKEN": ADMIN_TOKEN,
        "FAREBOX_APP_SECRET": APP_SECRET,
        "FAREBOX_SWEEP_INTERVAL_S": "1",
    }
    addresses = {host: network.add_host(host) for host in ("a", "b")}
    return Site(network, balancer, folder, environment, addresses), cluster.url, f"http://{network.here}:{ports[1]}"


@pytest.mark.timeout(600)
async def test_gateways_come_and_go_and_nothing_is_lost_or_doubled(
    open_folder: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ip = need_namespaces()
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(Network.open(ip))
        for module in (servers, local_cluster):
            monkeypatch.setattr(module, "HOST", network.here)
        monkeypatch.setitem(local_cluster.SETTINGS, "protected-mode", "no")  # the switch is ours alone
        config = SimulatorConfig(token=UPSTREAM_TOKEN, app_secret=APP_SECRET, webhook_attempts=8, webhook_retry_s=0.2)
        whatsapp = SimulatedWhatsApp(config)
        site, redis_url, url = await open_site(stack, network, open_folder / "scale-out", database_url, whatsapp)
        whatsapp.set_webhook(f"{url}/webhooks/meta")
        a = await site.start(stack, "a")
        await site.admin("a", "PUT", "/v1/accounts/a", {"name": "A", "currency": "USD"})
        number = {"account_id": "a", "waba_id": WABA, "currency": "USD", "upstream_token": UPSTREAM_TOKEN}
        await site.admin("a", "PUT", f"/v1/numbers/{NUMBER}", number)
        await site.admin("a", "POST", f"/v1/numbers/{NUMBER}/topups", {"amount": "1000.00", "method": "manual"})
        key = (await site.admin("a", "POST", "/v1/keys", {"name": "k", "numbers": [NUMBER]}))["key"]
        load = Load(f"{url}/v23.0/{NUMBER}/messages", key)
        clients = [asyncio.create_task(load.client()) for _ in range(CLIENTS)]
        for _ in range(max(ROUNDS, 1)):
            await load.more(30)
            b = await site.start(stack, "b")
            await load.more(60)
            if ROUNDS:
                a = await replaced(site, stack, a, load)
            network.power_off("b")
            await b.process.wait()
            site.take_out("b")
            await load.more(60)
        load.stop = True
        await asyncio.gather(*clients)
        await whatsapp.settled()
        await sums_up(load, whatsapp, database_url, redis_url)
        assert await a.end(signal.SIGTERM) == 0


async def replaced(site: Site, stack: AsyncExitStack, a: Farebox, load: Load) -> Farebox:
    """Let the first gateway leave in good order, and start it again."""
    before = load.not_at_once()
    site.take_out("a")
    assert await a.end(signal.SIGTERM) == 0
    await load.more(30)
    assert load.not_at_once() == before, "nobody notices that a gateway came and another went"
    a = await site.start(stack, "a")
    await load.more(60)
    return a


RIGHT = {"200", "under way"}
AFTER_A_KILL = {"again 200", "again 409", "again 504"}  # found, or its fate is not known and is left to its webhook


async def sums_up(load: Load, whatsapp: SimulatedWhatsApp, database_url: str, redis_url: str) -> None:
    """Each message that was answered reached WhatsApp once; each that reached it was charged once; the books agree."""
    assert set(load.outcomes.values()) <= RIGHT | AFTER_A_KILL, Counter(load.outcomes.values())
    reached = Counter(message.user.wa_id for message in whatsapp.sent)
    assert max(reached.values()) == 1
    assert {user for user, outcome in load.outcomes.items() if outcome.endswith("200")} <= set(reached)
    ledger = await Ledger.connect(database_url, timeout_s=10)
    wallet = Wallet(redis_url, timeout_s=5)
    try:

        async def agree() -> bool:
            return not [text async for row in compare(ledger, wallet) for text in row.differences]

        async def settled() -> bool:
            rows = await ledger._pool.fetch("SELECT recipient FROM hold WHERE state = 'settled'")
            return sorted(row["recipient"] for row in rows) == sorted(reached)

        await servers.until(settled)
        await servers.until(agree)
        balance = await ledger._pool.fetchval("SELECT balance_micros FROM balance WHERE number_id = $1", NUMBER)
        assert balance == FUNDS_MICROS - FARE_MICROS * len(reached)
    finally:
        await wallet.aclose()
        await ledger.aclose()
