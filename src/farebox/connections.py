"""Connections to WhatsApp for sends: kept open, one request at a time on each, nothing done that a send does not need.

Everything else that goes out uses aiohttp's client. For a send it costs about 90 microseconds, three quarters of what a
proxy that only forwards costs in all (redirects, cookies, proxies, encodings, tracing, timers, a writer of its own);
this costs about 15. What keeps it as safe: the head is refused if any part of it holds a line break, the answer is read
by llhttp in its strict mode, a connection is used again only where the answer ended exactly with its bytes, and no
request is ever made twice: what is not known to have stayed here may have been sent.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable
from typing import cast

import httptools
from yarl import URL

from farebox.core.reply import Reply

CONNECT_TIMEOUT_S = 10  # a host that does not take a connection in this time is down
# Shorter than the idle time after which servers and load balancers close connections, so that a send does not meet one
# that is just being closed: its fate would be unknown.
KEEPALIVE_S = 15
MAX_ANSWER_BYTES = 1_048_576  # of a send; Meta's are below 1 KB
MAX_HEADERS_BYTES = 65_536  # of an answer; Meta's are below 4 KB
TOO_LARGE = "the upstream's answer is too large"


class NotSentError(Exception):
    """No connection came about: the message has not left."""


class FateUnknownError(Exception):
    """The bytes left and no whole answer came back: the message may have been sent. Never sent again by us."""


class Connections:
    """The open connections to one server."""

    def __init__(self, base_url: str, *, timeout_s: float) -> None:
        """Nothing is connected yet. `timeout_s`: how long a whole answer may take, connecting included."""
        url = URL(base_url)
        assert url.host is not None, "the settings have an upstream with a host"
        self._host, self._port = url.host, url.port or 443
        self._prefix = url.raw_path.rstrip("/")
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._authority = f"Host: {url.host_port_subcomponent}\r\n"
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()  # kept: to be told is a call of the system each time
        self._idle: deque[_Connection] = deque()  # the one used last at the right end
        self._open: set[_Connection] = set()

    async def aclose(self) -> None:
        """Close the connections."""
        for connection in list(self._open):
            connection.close()

    async def post(self, path_qs: str, lines: bytes, body: bytes) -> Reply:
        """Post a body and return the answer as it came. Raises NotSentError or FateUnknownError.

        `lines` are the headers as `header_lines` writes them.
        """
        now = self._loop.time()
        deadline = now + self._timeout_s
        head = self._first_lines(path_qs, len(body)) + lines + b"\r\n"
        connection = self._take(now) or await self._connect(deadline)
        try:
            return await connection.exchange(head + body, deadline)
        finally:
            if connection.reusable:
                connection.idle_since = self._loop.time()
                self._idle.append(connection)
            else:
                connection.close()

    def _first_lines(self, path_qs: str, length: int) -> bytes:
        first = f"POST {self._prefix}{path_qs} HTTP/1.1\r\n{self._authority}Content-Length: {length}\r\n"
        return _checked(first, 3).encode("utf-8", "surrogateescape")

    def _take(self, now: float) -> "_Connection | None":
        """Return an idle connection; those that have been idle for long are closed."""
        idle = self._idle
        while idle and idle[0].idle_since < now - KEEPALIVE_S:
            idle.popleft().close()
        while idle:
            connection = idle.pop()
            if connection.reusable:
                return connection
        return None

    async def _connect(self, deadline: float) -> "_Connection":
        name = self._host if self._tls else None
        try:
            async with asyncio.timeout_at(min(deadline, self._loop.time() + CONNECT_TIMEOUT_S)):
                _, connection = await self._loop.create_connection(
                    lambda: _Connection(self._open), self._host, self._port, ssl=self._tls, server_hostname=name
                )
        except (OSError, TimeoutError) as error:
            raise NotSentError(type(error).__name__) from error
        return connection


def header_lines(headers: Iterable[tuple[str, str]]) -> bytes:
    """Write headers as they go out; raises NotSentError where one holds a line break."""
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    return _checked("".join(lines), len(lines)).encode("utf-8", "surrogateescape")


def _checked(text: str, lines: int) -> str:
    """Return so many lines of a head, none of which is more than one: what stands in a header stays in it."""
    if text.count("\n") != lines or text.count("\r") != lines or "\0" in text:
        raise NotSentError("a header holds a line break")
    return text


class _Connection(asyncio.Protocol):
    """One connection; it knows at most one request."""

    def __init__(self, all_open: "set[_Connection]") -> None:
        self.idle_since = 0.0
        self.reusable = False  # it is open, and nothing is on its way in either direction
        self._all_open = all_open
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: _Answer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of a kind of their own
        self._all_open.add(self)

    async def exchange(self, request: bytes, deadline: float) -> Reply:
        """Send a request and wait for its answer; raises FateUnknownError, or NotSentError where nobody is there."""
        assert self._transport is not None, "it was connected"
        if self._transport.is_closing():
            raise NotSentError("the connection was closed")
        answer = self._answer = _Answer(self._loop.create_future())
        self.reusable = False
        timer = self._loop.call_at(deadline, answer.fail, "TimeoutError")
        self._transport.write(request)
        try:
            return await answer.whole
        finally:
            timer.cancel()
            self._answer = None
            answer.let_go()
            self.reusable = answer.reusable and not self._transport.is_closing()

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # bytes that nobody asked for: whose answer they would be is not known
            self.close()
        else:
            self._answer.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        self._all_open.discard(self)
        if self._answer is not None:
            self._answer.end(exc)

    def close(self) -> None:
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()


class _Answer:
    """An answer while it comes in; llhttp calls the methods that begin with `on_`."""

    def __init__(self, whole: "asyncio.Future[Reply]") -> None:
        self.whole = whole
        self.reusable = False
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._headers_bytes = 0
        self._body = bytearray()
        self._in_body = False

    def let_go(self) -> None:
        """Part from the parser: each holds the other, and only a search for such circles would find that both are done.

        With all that hangs on them these were a tenth of a send's time, and pauses of some milliseconds.
        """
        del self._parser

    def feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.fail(type(error).__name__)

    def fail(self, why: str) -> None:
        self.reusable = False
        if not self.whole.done():
            self.whole.set_exception(FateUnknownError(why))

    def end(self, error: Exception | None) -> None:
        """The connection is gone: an answer without a length ends with it, any other is torn."""
        framed = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self._headers)
        if error is None and self._in_body and not framed and not self.whole.done():
            self._finish()
        else:
            self.fail("ConnectionResetError" if error else "the connection was closed")

    def on_message_begin(self) -> None:
        if self.whole.done():  # after the answer comes another that nobody asked for
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers_bytes += len(name) + len(value)
        if self._headers_bytes > MAX_HEADERS_BYTES:
            self.fail(TOO_LARGE)
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._in_body = True

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > MAX_ANSWER_BYTES:
            self.fail(TOO_LARGE)

    def on_message_complete(self) -> None:
        if not self._in_body:  # "100 Continue", "103 Early Hints": the answer is still to come
            self._headers.clear()
        elif not self.whole.done():
            self.reusable = self._parser.should_keep_alive()
            self._finish()

    def _finish(self) -> None:
        headers = [
            (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
            for name, value in self._headers
        ]
        self.whole.set_result(Reply(self._parser.get_status_code(), bytes(self._body), tuple(headers)))
