"""Two places between the processes where things go wrong: the wire to WhatsApp, and the post that brings webhooks."""

import asyncio
import contextlib
import random
import socket
import struct
from enum import StrEnum

import aiohttp
from aiohttp import web

CHUNK_BYTES = 65_536
SOME = 10  # webhooks that wait for each other to be delivered in reverse
WAIT_S = 0.2  # how long the first of them waits
REPEATS = 10
LOST_OF_100 = 20


class Wire(StrEnum):
    """What becomes of a connection to WhatsApp."""

    WHOLE = "whole"
    RESET = "reset before the bytes"
    CUT = "reset after the bytes"
    HALF_OPEN = "half-open"


class Upstream:
    """A TCP relay to the simulated WhatsApp."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._mode = Wire.WHOLE
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.url = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self.become(Wire.WHOLE)
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def become(self, mode: Wire) -> None:
        """Change, and end every connection of before."""
        self._mode = mode
        for writer in self._writers:
            reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mode, task = self._mode, asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        try:
            if mode is Wire.HALF_OPEN:
                while await reader.read(CHUNK_BYTES):
                    pass
            elif mode is not Wire.RESET:
                await self._relay(reader, writer, cut=mode is Wire.CUT)
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            reset(writer)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, cut: bool) -> None:
        answers, requests = await asyncio.open_connection(*self._target)
        there = asyncio.create_task(_pump(reader, requests))
        # Cut: WhatsApp has taken the message, and its answer does not arrive.
        back = asyncio.create_task(_cut(answers) if cut else _pump(answers, writer))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (there, back):
                task.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
            requests.close()


class Post(StrEnum):
    """What becomes of webhooks."""

    ONCE = "once"
    TEN_TIMES = "ten times each"
    REVERSED = "reversed"
    LOST = "20 % lost, delivered again later"


class Postman:
    """Brings WhatsApp's webhooks to the gateway."""

    def __init__(self, gateway_url: str, session: aiohttp.ClientSession, chance: random.Random) -> None:
        self.mode = Post.ONCE
        self.delivered: set[bytes] = set()  # bodies that the gateway answered with 200
        self._url = f"{gateway_url}/webhooks/meta"
        self._session = session
        self._chance = chance
        self._waiting: list[asyncio.Event] = []

    async def handle(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.startswith(("X-", "Content-Type"))}
        mode = self.mode
        if mode is Post.LOST and self._chance.randrange(100) < LOST_OF_100:
            return web.Response(status=503)
        if mode is Post.REVERSED:
            await self._turn()
        statuses = [await self._deliver(body, headers) for _ in range(REPEATS if mode is Post.TEN_TIMES else 1)]
        return web.Response(status=max(statuses))

    async def _deliver(self, body: bytes, headers: dict[str, str]) -> int:
        try:
            async with self._session.post(self._url, data=body, headers=headers) as answer:
                await answer.read()
                if answer.status == 200:
                    self.delivered.add(body)
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return 502

    async def _turn(self) -> None:
        """Wait until some have gathered, then go on in reverse."""
        mine = asyncio.Event()
        self._waiting.append(mine)
        if len(self._waiting) == SOME:
            self._let_go()
        elif len(self._waiting) == 1:
            asyncio.get_running_loop().call_later(WAIT_S, self._let_go)
        await mine.wait()

    def _let_go(self) -> None:
        waiting, self._waiting = self._waiting, []
        for turn in reversed(waiting):
            turn.set()


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST: nobody can take it for an orderly end."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _cut(answers: asyncio.StreamReader) -> None:
    await answers.read(1)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
