"""The gateway port's own way for sends: what goes it, what leaves it for aiohttp, and how it ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from farebox import heads, lane
from farebox.core.reply import Reply
from farebox.lane import written
from harness import NUMBER, World
from raw_port import BODY, PATH, Port, opened, until


@pytest.fixture
async def port(world: World) -> AsyncIterator[Port]:
    async with opened(world) as found:
        yield found


async def test_sends_stay_in_the_lane_and_their_head_is_read_once(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    parsed = heads._parsed
    monkeypatch.setattr(heads, "_parsed", lambda head, *rest: read.append(head) or parsed(head, *rest))
    one, other = await port.client(), await port.client()
    assert await one.send("X-Trace: 6") == 200
    await port.world.whatsapp.settled()  # the first webhook tells of the account, and all is asked anew
    read.clear()
    for client in (one, other, one):
        client.writer.write(client.request("X-Trace: 7"))
        status, headers, body = await client.answer()
        assert (status, headers["x-farebox-class"]) == (200, "paid")
        assert json.loads(body)["messages"][0]["id"].startswith("wamid.")
        assert headers["x-request-id"]
        assert headers["date"]
    assert (len(read), port.lanes) == (1, 2)
    assert await one.send("X-Trace: 8") == 200
    assert len(read) == 2
    sent = [seen for seen in port.world.whatsapp.requests if seen.path == PATH]
    assert [seen.headers["X-Trace"] for seen in sent] == ["6", "7", "7", "7", "8"]
    await port.world.whatsapp.settled()
    assert await port.world.balance() == {"available": "0.983", "held": "0.00"}


async def test_what_a_key_may_is_asked_anew_after_every_change(port: Port) -> None:
    world, client = port.world, await port.client()
    assert await client.send() == 200
    (key,) = (await world.admin("GET", "/v1/keys"))["keys"]
    await world.admin("DELETE", f"/v1/keys/{key['key_id']}")
    await world.gate.directory.load_keys(world.gate.ledger)
    assert await client.send() == 401
    client = await port.client()
    client.key = world.key = await world.make_key(NUMBER)
    await world.gate.directory.load_keys(world.gate.ledger)
    assert await client.send() == 200
    await world.admin("POST", f"/v1/numbers/{NUMBER}/close", {"funds": "keep", "reason": "the shop has closed"})
    await world.gate.directory.load_numbers(world.gate.ledger)
    assert await client.send() == 403


async def test_the_last_use_of_a_key_is_noted_for_known_heads_too(port: Port) -> None:
    client = await port.client()
    assert await client.send() == 200
    port.world.gate.directory.used.clear()
    assert await client.send() == 200
    assert len(port.world.gate.directory.used) == 1


LEAVING: dict[str, tuple[tuple[str, ...], dict[str, Any], int]] = {
    "another call": ((), {"target": f"/v23.0/{NUMBER}/whatsapp_business_profile", "method": "GET", "body": b""}, 200),
    "a query": ((), {"target": PATH + "?x=1"}, 200),
    "an encoded body": (("Content-Encoding: gzip",), {}, 415),
    "a wrong key": ((), {"key": "fbx_wrong"}, 401),
    "an unknown number": ((), {"target": "/v23.0/999/messages"}, 404),
    "a path that could mean another": ((), {"target": "/x/.." + PATH}, 400),
    "a larger body than is taken": ((), {"body": b"x" * 2_000_000}, 413),
    "a method that sends nothing": ((), {"method": "PUT"}, 400),
}


@pytest.mark.parametrize(("more", "how", "status"), LEAVING.values(), ids=LEAVING)
async def test_everything_else_is_aiohttps_from_then_on(
    port: Port, more: tuple[str, ...], how: dict[str, Any], status: int
) -> None:
    client = await port.client()
    assert await client.send() == 200
    assert port.lanes == 1
    how, key = {**how}, client.key
    client.key = how.pop("key", key)
    assert await client.send(*more, **how) == status
    client.key = key
    assert port.lanes == 0
    if status != 413:  # after a body that was not read the connection ends
        assert await client.send() == 200


async def test_a_send_in_two_pieces_is_one_send(port: Port) -> None:
    for cut in (10, -len(BODY), -1):
        client = await port.client()
        request = client.request()
        client.writer.write(request[:cut])
        await client.writer.drain()
        await until(lambda: not port.lanes)
        client.writer.write(request[cut:])
        assert (await client.answer())[0] == 200
    assert await port.world.balance() == {"available": "0.9898", "held": "0.0102"}


class Held:
    """Holds back what goes to WhatsApp until it is let go."""

    def __init__(self, port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
        self.came, self.let_go = asyncio.Event(), asyncio.Event()
        self._send = port.world.gate.upstream.send
        monkeypatch.setattr(port.world.gate.upstream, "send", self.send)

    async def send(self, *what: Any) -> Reply:
        self.came.set()
        await self.let_go.wait()
        return await self._send(*what)


async def test_requests_that_do_not_wait_are_answered_in_their_order(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await port.client()
    first, second = (client.request(f"X-Request-Id: {n}") for n in (1, 2))
    client.writer.write(first + second)  # at once
    assert [(await client.answer())[1]["x-request-id"] for _ in range(2)] == ["1", "2"]
    client, held = await port.client(), Held(port, monkeypatch)
    client.writer.write(first)
    await held.came.wait()
    client.writer.write(second)  # while one is under way
    (busy,) = port.server.lanes
    await until(lambda: busy._later)
    held.let_go.set()
    assert [(await client.answer())[1]["x-request-id"] for _ in range(2)] == ["1", "2"]
    assert port.lanes == 1, "one after the other they are plain sends"


async def test_a_client_that_asks_on_without_end_is_not_read_without_end(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "MAX_LATER_BYTES", 1_000)
    client, held = await port.client(), Held(port, monkeypatch)
    client.writer.write(client.request())
    await held.came.wait()
    (busy,) = port.server.lanes
    client.writer.write(client.request() * 8)
    await until(lambda: len(busy._later) > 1_000)
    assert busy._transport is not None
    assert not busy._transport.is_reading()
    held.let_go.set()
    assert [(await client.answer())[0] for _ in range(9)] == [200] * 9


async def test_a_client_that_reads_no_answers_gets_no_more_of_them(port: Port) -> None:
    client = await port.client()
    assert await client.send() == 200
    (clogged,) = port.server.lanes
    clogged.pause_writing()
    client.writer.write(client.request())
    await until(lambda: clogged._later)
    assert clogged.task is None
    clogged.resume_writing()
    assert (await client.answer())[0] == 200


async def test_a_send_outlives_its_client_and_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(world) as port:
        client, held = await port.client(), Held(port, monkeypatch)
        client.writer.write(client.request())
        await held.came.wait()
        (left,) = port.server.lanes
        client.writer.close()
        await until(lambda: left._transport is None)
        ending = asyncio.create_task(port.runner.cleanup())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not ending.done()
        held.let_go.set()
        await ending
        assert port.lanes == 0
    assert await world.balance() == {"available": "0.9966", "held": "0.0034"}


async def test_a_port_that_closes_answers_what_is_under_way_and_leaves_the_idle(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(world) as port:
        idle, client = await port.client(), await port.client()
        assert await idle.send() == 200
        held = Held(port, monkeypatch)
        client.writer.write(client.request())
        await held.came.wait()
        assert len(port.server.connections) == 2
        world.gate.leaving.set()
        ending = asyncio.create_task(port.runner.cleanup())
        assert await idle.reader.read() == b""
        held.let_go.set()
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await client.reader.read() == b""
        await ending


async def test_a_connection_that_nothing_comes_on_is_closed(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port.server, "idle_s", 0.05)
    silent, held = await port.client(), Held(port, monkeypatch)
    busy = await port.client()
    busy.writer.write(busy.request())
    assert await silent.reader.read() == b""
    assert port.lanes == 1, "one that waits for its answer is not idle"
    held.let_go.set()
    assert (await busy.answer())[0] == 200


@pytest.mark.parametrize("cut", ["\n\n", "\n\r\n", "\r\n\n"])
async def test_a_head_that_ends_elsewhere_for_others_is_not_read_here(port: Port, cut: str) -> None:
    client = await port.client()
    hidden = client.request().replace(b"\r\n\r\n", f"\r\nX: y{cut}".encode(), 1) + b"\r\n\r\n"
    client.writer.write(hidden)
    assert b" 400 " in await client.reader.readline()
    assert port.lanes == 0
    assert await port.world.balance() == {"available": "1.00", "held": "0.00"}


async def test_a_fault_of_ours_is_an_answer(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret")

    client = await port.client()
    with monkeypatch.context() as patched:
        patched.setattr(port.server.gateway, "_metered", broken)
        client.writer.write(client.request())
        status, _, body = await client.answer()
    assert (status, b"secret" in body) == (500, False)
    with monkeypatch.context() as patched:
        patched.setattr(heads, "_parsed", broken)
        assert await client.send("X-Trace: 1") == 200, "aiohttp's server knows nothing of heads"


@pytest.mark.parametrize("name", heads.ITS_OWN)
async def test_a_head_that_is_another_each_time_is_not_kept(port: Port, name: str) -> None:
    client = await port.client()
    for n in range(2):
        assert await client.send(f"{name}: {n}") == 200
    assert port.server._heads._known == {}
    assert port.lanes == 1


async def test_no_more_heads_are_kept_than_may_be(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "MAX_HEADS", 3)
    client = await port.client()
    for n in range(5):
        assert await client.send(f"X-Trace: {n}") == 200
    assert len(port.server._heads._known) == 2
    assert await client.send("X-Long: " + "x" * heads.MAX_KEPT_BYTES) == 200
    assert len(port.server._heads._known) == 2


def test_answers_are_written_as_they_must_be() -> None:
    wire = written(Reply(204, b"", (("x-request-id", "1"), ("Date", "then"))), last=False)
    assert wire == b"HTTP/1.1 204 No Content\r\nx-request-id: 1\r\nDate: then\r\n\r\n"
    wire = written(Reply(799, b"{}", (("X-Request-Id", "1"), ("Date", "then"))), last=True)
    assert wire == (
        b"HTTP/1.1 799 \r\nX-Request-Id: 1\r\nDate: then\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    )
