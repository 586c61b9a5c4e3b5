"""The gateway port's own way for sends: where a whole send comes in one piece, and nothing is special about it.

That is what nearly all sends are: a small body right behind its head. On aiohttp's server (a parser's objects, a
waiter, a writer, a response that makes its own head) one costs 120 microseconds, the kernel and the stores aside, here
75. From the first request that is no such send a connection is aiohttp's, for as long as it lives: other calls,
webhooks, bodies in pieces or chunks, requests without waiting for the answer, and whatever is wrong with one. What a
head means is not decided here (`heads.py`), and a send goes the one way of all sends (`Gateway.send`).
"""

import asyncio
import logging
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast

from aiohttp.web_protocol import RequestHandler

from farebox.access import Call
from farebox.connections import header_lines
from farebox.core.reply import Reply
from farebox.gate import Gate
from farebox.heads import END, Heads
from farebox.logs import REQUEST_ID, request_id
from farebox.malformed import Server
from farebox.server import Gateway, refuse

log = logging.getLogger(__name__)

MAX_LATER_BYTES = 65_536  # that wait while a send is answered; then the client is not read from any further
NO_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)  # answers that say so must not tell a length (RFC 9110, 8.6)


class Lane(asyncio.Protocol):
    """One client's connection, as long as nothing but plain sends comes."""

    def __init__(self, server: "LaneServer", loop: asyncio.AbstractEventLoop) -> None:
        self.task: asyncio.Task[None] | None = None  # of the send that is under way
        self._server = server
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._later = b""  # what came meanwhile
        self._clogged = False  # the client does not read its answers
        self._idle_since = loop.time()
        self._timer = loop.call_later(server.idle_s, self._look)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of a kind of their own
        self._server.lanes.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  of the protocol
        """Forget the client. A send that is under way goes on, since it may have left already, and is waited for."""
        self._transport = None
        if self.task is None:
            self._let_go()

    def data_received(self, data: bytes) -> None:
        """Begin a send, or leave the connection to aiohttp."""
        if self.task is not None or self._clogged:
            self._later += data
            if len(self._later) > MAX_LATER_BYTES and self._transport is not None:
                self._transport.pause_reading()
            return
        head, _, body = data.partition(END)
        call = self._server.find(head, len(body))
        if call is None:
            self._hand_over(data)
        else:
            self.task = self._loop.create_task(self._answer(call.with_body(body)))

    def pause_writing(self) -> None:
        """Begin no send while the client reads no answers."""
        self._clogged = True

    def resume_writing(self) -> None:
        """Go on with what it has sent meanwhile."""
        self._clogged = False
        self._go_on()

    def close(self) -> None:
        """Take no further send; one that is under way is answered."""
        if self.task is None and self._transport is not None:
            self._transport.close()

    async def shutdown(self, timeout_s: float | None) -> None:
        """Wait for the send that is under way, and close."""
        if self.task is not None:
            await asyncio.wait([self.task], timeout=timeout_s)
            if self.task is not None:
                self.task.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def _answer(self, call: Call) -> None:
        answer, last = None, True
        try:
            reply = await self._server.gateway.send(call)
            last = self._server.leaving
            answer = written(reply, last=last)
        finally:
            self._answered(answer, last=last)

    def _answered(self, answer: bytes | None, *, last: bool) -> None:
        self.task = None
        self._idle_since = self._loop.time()
        if self._transport is None:
            self._let_go()  # the client left meanwhile
        else:
            if answer is not None and not self._transport.is_closing():
                self._transport.write(answer)
            if last:
                self._transport.close()
            else:
                self._go_on()

    def _go_on(self) -> None:
        """Begin with what came meanwhile."""
        transport = self._transport
        if self.task is None and not self._clogged and self._later and transport and not transport.is_closing():
            later, self._later = self._later, b""
            transport.resume_reading()
            self.data_received(later)

    def _hand_over(self, data: bytes) -> None:
        """Leave the connection to aiohttp, from this request on."""
        transport, self._transport = self._transport, None
        assert transport is not None, "it is connected"
        self._let_go()
        handler = self._server.handler()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(data)

    def _let_go(self) -> None:
        self._timer.cancel()
        self._server.lanes.discard(self)

    def _look(self) -> None:
        """Close a connection that nothing has come on for long."""
        idle_s = 0.0 if self.task is not None else self._loop.time() - self._idle_since
        if idle_s >= self._server.idle_s:
            self.close()
        else:
            self._timer = self._loop.call_later(self._server.idle_s - idle_s, self._look)


class LaneServer(Server):
    """The gateway port's server: every connection begins in a lane."""

    def __init__(self, gate: Gate, **options: Any) -> None:
        self.gateway = Gateway(gate)
        super().__init__(self.gateway.handle, refuse=refuse, **options)
        self.lanes: set[Lane] = set()
        self.idle_s: float = options["keepalive_timeout"]
        self._gate = gate
        self._heads = Heads(gate.directory, self.gateway.plain_send)

    def __call__(self) -> Any:
        """Return the protocol of a new connection."""
        return Lane(self, self._loop)

    def handler(self) -> RequestHandler:
        """Return aiohttp's protocol for a connection that leaves the lane."""
        return super().__call__()

    def find(self, head: bytes, length: int) -> Call | None:
        """Return the plain send that such a head and so long a body make, None where they make none."""
        try:
            found = self._heads.find(head, self._gate.clock.now_ms())
        except Exception:
            log.exception("the head of a request could not be read")  # `handle` meets the same, and answers
            return None
        if found is None or found.length != length or length > self._gate.settings.max_send_bytes:
            return None
        return found.call

    @property
    def leaving(self) -> bool:
        """Whether clients are asked to come back elsewhere."""
        return self._gate.leaving.is_set()

    @property
    def connections(self) -> list[Any]:
        """All connections, in a lane or not."""
        return [*super().connections, *self.lanes]

    def pre_shutdown(self) -> None:
        """Close what is idle."""
        for lane in list(self.lanes):
            lane.close()
        super().pre_shutdown()

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  aiohttp's own signature
        """Let what is under way end, and close all connections."""
        await asyncio.gather(super().shutdown(timeout), *(lane.shutdown(timeout) for lane in list(self.lanes)))


def written(reply: Reply, *, last: bool) -> bytes:
    """Write an answer as it goes over the wire; after the last one the connection is closed."""
    headers = list(reply.headers)
    named = {name.lower() for name, _ in headers}
    if REQUEST_ID.lower() not in named:
        headers.append((REQUEST_ID, request_id()))
    if "date" not in named:
        headers.append(("Date", _date(int(time.time()))))
    if reply.status not in NO_BODY:
        headers.append(("Content-Length", str(len(reply.body))))
    if last:
        headers.append(("Connection", "close"))
    return b"".join((_status_line(reply.status), header_lines(headers), b"\r\n", reply.body))


@lru_cache(maxsize=100)
def _status_line(status: int) -> bytes:
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = ""
    return f"HTTP/1.1 {status} {reason}\r\n".encode()


@lru_cache(maxsize=2)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
