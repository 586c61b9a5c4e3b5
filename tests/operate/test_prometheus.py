"""A real Prometheus scrapes a real gateway of two workers, and is asked what was spent."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from acceptance.site import Site, both_workers_know, open_site
from farebox import ports
from harness import NUMBER, USER, template
from operate.deliveries import deliver
from operate.test_alerts import RULES, dashboard_queries
from operate.tools import need

PATIENCE_S = 60
SENDS = 6
LOOKS = 500  # at a figure that is about to change; each takes some milliseconds


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def ask(self, query: str) -> dict[tuple[str, ...], float]:
        """The samples of an instant query by the values of their labels, in the order of the labels' names."""
        async with self._session.get(f"{self.url}/api/v1/query", params={"query": query}) as answer:
            said = await answer.json()
        assert said["status"] == "success", said
        return {
            tuple(sample["metric"][name] for name in sorted(sample["metric"])): float(sample["value"][1])
            for sample in said["data"]["result"]
        }

    async def wait_for(self, query: str, expected: dict[tuple[str, ...], float]) -> None:
        """Ask until the answer is this one: it scrapes once a second."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                said = await self.ask(query)
                if said.keys() == expected.keys() and all(abs(said[key] - expected[key]) < 1e-9 for key in expected):
                    return
                await asyncio.sleep(0.2)


@asynccontextmanager
async def prometheus(folder: Path, target: str, session: aiohttp.ClientSession) -> AsyncIterator[Prometheus]:
    """Run Debian's Prometheus with our rules, looking at one gateway."""
    program = need("prometheus", package="prometheus")
    settings = (RULES.parent / "prometheus.yml").read_text()
    assert '"farebox:8081"' in settings
    settings = settings.replace("farebox:8081", target).replace("15s", "1s")
    (folder / "prometheus.yml").write_text(settings)
    (folder / RULES.name).write_text(RULES.read_text())
    with ports.reserve("127.0.0.1", 0, "Prometheus") as free:
        port = ports.number_of(free)
    process = await asyncio.create_subprocess_exec(
        program,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield Prometheus(f"http://127.0.0.1:{port}", session)
    finally:
        process.kill()
        await process.wait()


async def exposed(site: Site) -> str:
    """What /metrics says, of whichever worker answers this new connection."""
    async with aiohttp.ClientSession() as session, session.get(f"{site.admin_url}/metrics") as answer:
        return await answer.text()


def counted(text: str, name: str) -> float:
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? ([0-9.e+-]+)$", text, re.MULTILINE))


async def test_prometheus_is_told_what_was_spent(tmp_path: Path, database_url: str, redis_url: str) -> None:
    need("prometheus", package="prometheus")  # before anything is started
    async with open_site((database_url, redis_url), FAREBOX_METRICS_PER_NUMBER="true") as site:
        await both_workers_know(site)
        for _ in range(SENDS):  # on connections of their own, so that both workers get some
            async with aiohttp.ClientSession() as session:
                site.session, kept = session, site.session
                status, headers, content = await site.send(template())
                assert status == 200, content
                fare = float(headers["X-Farebox-Fare"])
                await deliver(site, content["messages"][0]["id"], headers["X-Farebox-Hold"])
                site.session = kept
        for _ in range(LOOKS):  # the books of a webhook are kept after its answer
            if round(counted(await exposed(site), "farebox_spend_total"), 6) == round(SENDS * fare, 6):
                break
        texts = [await exposed(site) for _ in range(SENDS)]
        spent = [round(counted(text, "farebox_spend_total"), 6) for text in texts]
        assert spent == [round(SENDS * fare, 6)] * SENDS, "a worker sees only its own"
        assert USER not in texts[0]
        target = site.admin_url.removeprefix("http://")
        async with prometheus(tmp_path, target, site.session) as seen:
            await until_up(seen)
            await seen.wait_for(
                "sum by (currency, market) (farebox_spend_total)", {("USD", "North America"): SENDS * fare}
            )
            await seen.wait_for("sum by (store) (farebox_store_up)", {("ledger",): 1, ("wallet",): 1})
            await seen.wait_for("sum by (number) (farebox_available)", {(NUMBER,): 1 - SENDS * fare})
            await seen.wait_for("sum by (number) (farebox_held)", {(NUMBER,): 0})
            await seen.wait_for("count(farebox_balance)", {(): 1})
            for query in dashboard_queries():
                await seen.ask(query.replace("$__rate_interval", "1m"))
            async with site.session.get(f"{seen.url}/api/v1/rules") as answer:
                groups: Any = (await answer.json())["data"]["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            assert len(rules) == RULES.read_text().count("- alert: ")
            assert [rule["name"] for rule in rules if rule["health"] == "err"] == []


async def until_up(seen: Prometheus) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                if 1.0 in (await seen.ask('up{job="farebox"}')).values():
                    return
            except aiohttp.ClientError:
                pass  # it is still starting
            await asyncio.sleep(0.1)
