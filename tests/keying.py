"""Sends with an Idempotency-Key, for the tests of what comes of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from farebox.app import gateway_runner
from farebox.gate import open_gate
from farebox.keyed import LEASE_MARGIN_MS
from farebox.simulator import Behaviour
from harness import NUMBER, Answer, World, template

KEY = "order-77"
SILENT = Behaviour(statuses=())


async def keyed(
    world: World,
    message: Any = None,
    key: str = KEY,
    *,
    token: str | None = None,
    number_id: str = NUMBER,
    url: str | None = None,
) -> Answer:
    """Send with a key, through another gateway where its url is given."""
    headers = {"Authorization": f"Bearer {token or world.key}", "Idempotency-Key": key}
    url = f"{url or world.url}/v23.0/{number_id}/messages"
    async with world.session.post(url, json=message or template(), headers=headers) as answer:
        return Answer(answer.status, answer.headers, await answer.read())


def same(first: Answer, second: Answer) -> bool:
    """Tell whether the second is the first told again: status, every header, body."""
    headers = {name: value for name, value in second.headers.items() if name != "Idempotency-Replayed"}
    told = "Idempotency-Replayed" not in first.headers and second.headers.get("Idempotency-Replayed") == "true"
    ours = {"Date", "Server", "X-Request-ID"}  # the server's own where the answer brings none
    first_headers = {name: value for name, value in first.headers.items() if name not in ours}
    second_headers = {name: value for name, value in headers.items() if name not in ours}
    return told and (first.status, first_headers, first.body) == (second.status, second_headers, second.body)


async def end_lease(world: World) -> None:
    """Let the time pass after which an attempt's worker is dead or too late."""
    seconds = world.gate.settings.upstream_timeout_s + LEASE_MARGIN_MS / 1000
    await world.admin("PUT", "/v1/clock", {"advance_s": seconds})


@asynccontextmanager
async def second_gateway(world: World) -> AsyncIterator[str]:
    """Another worker's gateway on the same stores; its url."""
    async with open_gate(world.gate.settings) as gate:
        runner = gateway_runner(gate)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()
