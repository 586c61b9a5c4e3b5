"""Clients with a fixed host that take the gateway for their HTTP proxy."""

import asyncio

import httpx
import pytest

from harness import NUMBER, World, template

FIXED = f"graph.facebook.com/v23.0/{NUMBER}"


async def test_a_client_whose_proxy_is_the_gateway_is_metered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment alone is changed, and the host is Meta's."""
    await world.fund("1.00")
    monkeypatch.setenv("HTTP_PROXY", world.url)
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {world.key}"}) as client:
        sent = await client.post(f"http://{FIXED}/messages", json=template())
        read = await client.get(f"http://{FIXED}?fields=id")
    assert (sent.status_code, sent.headers["X-Farebox-Class"]) == (200, "paid")
    assert read.json()["id"] == NUMBER
    await world.books_kept()
    assert (await world.balance())["available"] == "0.9966"


async def test_one_that_sends_https_urls_in_the_clear_is_metered_too(world: World) -> None:
    """As axios does with an HTTP proxy, and n8n with it."""
    await world.fund("1.00")
    lines = (f"GET https://{FIXED} HTTP/1.1", "Host: graph.facebook.com", f"Authorization: Bearer {world.key}")
    answer = await spoken(world, lines)
    assert answer.startswith(b"HTTP/1.1 200")
    assert NUMBER.encode() in answer


async def test_there_is_no_tunnel(world: World) -> None:
    answer = await spoken(world, ("CONNECT graph.facebook.com:443 HTTP/1.1", "Host: graph.facebook.com:443"))
    assert answer.startswith(b"HTTP/1.1 405")
    assert b"opens no tunnel" in answer
    assert b"HTTP proxy" in answer


async def spoken(world: World, lines: tuple[str, ...]) -> bytes:
    host, port = world.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode())
    answer = await reader.read()
    writer.close()
    return answer
