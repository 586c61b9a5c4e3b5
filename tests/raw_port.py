"""A gateway port of a test's own, and clients that speak HTTP to it by hand."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web

from farebox.app import gateway_runner
from farebox.lane import LaneServer
from harness import NUMBER, World, template

BODY = json.dumps(template()).encode()
PATH = f"/v23.0/{NUMBER}/messages"


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until something is so; what it waits for takes no time but the kernel's."""
    while not condition():  # noqa: ASYNC110  of things that tell nobody
        await asyncio.sleep(0)


class Client:
    """Speaks HTTP by hand over one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
        self.reader, self.writer, self.key = reader, writer, key

    def request(self, *more: str, target: str = PATH, body: bytes = BODY, method: str = "POST") -> bytes:
        lines = [f"{method} {target} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.key}"]
        lines += [f"Content-Length: {len(body)}", *more, "", ""]
        return "\r\n".join(lines).encode() + body

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return int(first.split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def send(self, *more: str, **how: Any) -> int:
        self.writer.write(self.request(*more, **how))
        return (await self.answer())[0]


class Port:
    """A gateway port of the test's own, whose server can be looked at."""

    def __init__(self, world: World, runner: web.ServerRunner) -> None:
        assert isinstance(runner.server, LaneServer)
        self.world, self.runner, self.server = world, runner, runner.server
        self._number = runner.addresses[0][1]
        self._clients: list[Client] = []

    async def client(self) -> Client:
        made = Client(*await asyncio.open_connection("127.0.0.1", self._number), self.world.key)
        self._clients.append(made)
        return made

    async def left(self) -> None:
        """Let every client go."""
        for client in self._clients:
            client.writer.close()
            with suppress(ConnectionError):
                await client.writer.wait_closed()

    @property
    def lanes(self) -> int:
        return len(self.server.lanes)


@asynccontextmanager
async def opened(world: World) -> AsyncIterator[Port]:
    await world.fund("1.00")
    runner = gateway_runner(world.gate)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = Port(world, runner)
    try:
        yield port
    finally:
        await port.left()
        await runner.cleanup()
