"""The lean connections that sends leave by, against servers that answer in every way a server can."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from farebox import connections
from farebox.connections import Connections, FateUnknownError, NotSentError, header_lines

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HEADERS = (("Content-Type", "application/json"), ("X-Name", "a\u00fc"))


class Server:
    """Answers each request by a script; counts connections and keeps what it was asked."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)  # None: closes without a word
        self.asked: list[bytes] = []
        self.connections = 0
        self.was_asked = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while self.answers:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            self.asked.append(head + await reader.readexactly(length))
            self.was_asked.set()
            answer = self.answers.pop(0)
            if answer is None:
                break
            for piece in answer.split(b"|"):  # a pipe: what follows comes in a packet of its own
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if b"close" in answer.lower():
                break
        writer.close()


@asynccontextmanager
async def opened(*answers: bytes | None, timeout_s: float = 5) -> AsyncIterator[tuple[Server, Connections]]:
    server = Server(*answers)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    made = Connections(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/base", timeout_s=timeout_s)
    try:
        yield server, made
    finally:
        await made.aclose()
        listening.close()


async def post(made: Connections) -> tuple[int, bytes]:
    reply = await made.post("/v23.0/1/messages?x=%2F", header_lines(HEADERS), b"{}")
    return reply.status, reply.body


WHOLE = {
    "with a length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", True),
    "in pieces": (b"HTTP/1.1 2|00 OK\r\nContent-Le|ngth: 5\r\n\r\nhe|llo", 200, b"hello", True),
    "in chunks": (b"HTTP/1.1 400 B\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n|0\r\n\r\n", 400, b"he", True),
    "after 100 and 103": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK, 200, b"ok", True),
    "without a body": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "and closes": (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", False),
    "ends with the connection": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhel|lo", 200, b"hello", False),
    "of HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", False),
    "with a second answer behind it": (OK + b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", 200, b"ok", False),
    "with rubbish behind it": (OK + b"\x00\x01\x02", 200, b"ok", False),
}  # fmt: skip


@pytest.mark.parametrize("case", WHOLE)
async def test_a_whole_answer_is_taken_and_its_connection_used_again_only_where_that_is_safe(case: str) -> None:
    answer, status, body, kept = WHOLE[case]
    async with opened(answer, OK) as (server, made):
        assert await post(made) == (status, body)
        assert await post(made) == (200, b"ok")
        assert server.connections == (1 if kept else 2)


TORN = {
    "nothing": None,
    "half a head": b"HTTP/1.1 200 OK\r\nConnection: close",
    "half a body": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nhel",
    "half a chunk": b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
    "no HTTP": b"close this\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\nX: close\r\n\r\nok",
    "another protocol": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nclose",
    "only 100": b"HTTP/1.1 100 Continue\r\nX: close\r\n\r\n",
}


@pytest.mark.parametrize("case", TORN)
async def test_the_fate_is_unknown_without_a_whole_answer_and_the_request_is_made_once(case: str) -> None:
    async with opened(TORN[case], OK) as (server, made):
        with pytest.raises(FateUnknownError):
            await post(made)
        assert len(server.asked) == 1
        assert await post(made) == (200, b"ok")
        assert server.connections == 2


async def test_an_answer_that_is_too_large_or_has_too_large_a_head_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_ANSWER_BYTES", 4)
    monkeypatch.setattr(connections, "MAX_HEADERS_BYTES", 40)
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    head = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 60 + b"\r\nContent-Length: 2\r\n\r\nok"
    async with opened(body, head, OK) as (server, made):
        for _ in range(2):
            with pytest.raises(FateUnknownError, match="too large"):
                await post(made)
        assert await post(made) == (200, b"ok")
        assert server.connections == 3


async def test_an_answer_that_does_not_come_is_waited_for_in_vain_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(b"HTTP/1.1 200 OK\r\n", OK, timeout_s=0.05) as (server, made):
        with pytest.raises(FateUnknownError, match="TimeoutError"):
            await post(made)
        assert len(server.asked) == 1


async def test_nothing_leaves_where_nobody_listens_or_a_header_holds_a_line_break() -> None:
    async with opened(OK) as (server, made):
        for name, value in (("X", "a\r\nY: b"), ("X", "a\nb"), ("X\r\nY", "a"), ("X", "a\0")):
            with pytest.raises(NotSentError):
                await made.post("/m", header_lines([(name, value)]), b"")
        assert server.asked == []
    with pytest.raises(NotSentError):
        await post(Connections("http://127.0.0.1:9", timeout_s=5))


async def test_an_answer_leaves_no_circle_of_objects_behind() -> None:
    """What is left in circles is found by a search through all that lives, which every send would pay for."""
    async with opened(OK, OK) as (_, made):
        await post(made)  # what is made once
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            await post(made)
            gc.collect()
            left = [found for found in gc.garbage if isinstance(found, connections._Answer)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
        assert left == []


async def test_nothing_leaves_on_a_connection_that_has_just_ended() -> None:
    async with opened(OK) as (server, made):
        loop = asyncio.get_running_loop()
        connection = await made._connect(loop.time() + 5)
        connection.close()
        with pytest.raises(NotSentError):
            await connection.exchange(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", loop.time() + 5)
        assert server.asked == []


async def test_a_request_goes_out_as_it_was_given() -> None:
    async with opened(OK) as (server, made):
        await post(made)
        port = made._port
        assert server.asked == [
            f"POST /base/v23.0/1/messages?x=%2F HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 2\r\n"
            "Content-Type: application/json\r\nX-Name: a\u00fc\r\n\r\n{}".encode()
        ]


async def test_an_idle_connection_is_not_used_when_it_is_closed_or_old(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(OK, None, OK, OK) as (server, made):
        await post(made)
        with pytest.raises(FateUnknownError):  # the server closes instead of answering: it is asked once
            await post(made)
        await post(made)
        assert server.connections == 2
        monkeypatch.setattr(connections, "KEEPALIVE_S", -1)
        await post(made)
        assert server.connections == 3


async def test_requests_at_once_have_connections_of_their_own() -> None:
    async with opened(*[OK] * 6) as (server, made):
        assert await asyncio.gather(*(post(made) for _ in range(3))) == [(200, b"ok")] * 3
        assert server.connections == 3
        assert await asyncio.gather(*(post(made) for _ in range(3))) == [(200, b"ok")] * 3
        assert server.connections == 3


async def test_a_caller_that_gives_up_leaves_no_half_answer_for_the_next_one() -> None:
    async with opened(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel", OK) as (server, made):
        asking = asyncio.create_task(post(made))
        await server.was_asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await post(made) == (200, b"ok")
        assert server.connections == 2
