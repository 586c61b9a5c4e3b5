"""The gateway as in production: stores of one's own, settings in the environment; what passes when they are gone."""

import signal
from collections.abc import AsyncIterator

import pytest

from acceptance.process import farebox
from acceptance.site import Site, both_workers_know, open_site
from harness import ADMIN_TOKEN, reaction, template


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with open_site() as opened:
        yield opened


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
