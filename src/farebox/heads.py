"""What the heads of sends mean, worked out once: an application sends the same head, byte for byte, again and again.

A head is read by aiohttp's own parser, and admitted, as every other request's; what came of it is kept under the head's
bytes. So a head that is found here is one that was read and admitted before, and nothing is less strict than it was: a
head that differs in a single byte is read anew. Reading and admitting a head costs 15 microseconds and writing it for
WhatsApp 5 more; finding it costs 0.2.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_writer import HttpVersion11
from multidict import MultiMapping

from farebox.access import IDEMPOTENCY_KEY, Call
from farebox.connections import NotSentError, header_lines
from farebox.directory import Directory
from farebox.logs import REQUEST_ID, TRACEPARENT
from farebox.traces import tracing

END = b"\r\n\r\n"
MAX_HEADS = 2_000  # that are kept: an application has one for each length of its messages
MAX_KEPT_BYTES = 4_096  # of a head that is kept; most are below 500
# A head with one of these is another one each time: kept, it would push out those that come again.
ITS_OWN = (IDEMPOTENCY_KEY, REQUEST_ID, TRACEPARENT, "tracestate", "baggage")

PlainSend = Callable[[str, str, MultiMapping[str]], Call | None]


class Head(NamedTuple):
    """A send without its body, and how many bytes that has."""

    call: Call
    length: int


class Heads:
    """The heads of one worker."""

    def __init__(self, directory: Directory, plain_send: PlainSend) -> None:
        """Take what admits a head: `plain_send` returns its call, None where it is no plain send that may go on."""
        self._directory = directory
        self._plain_send = plain_send
        self._known: dict[bytes, Head] = {}
        self._known_at = -1  # the directory's version that they were admitted by

    def find(self, head: bytes, now_ms: int) -> Head | None:
        """Return the send that a head (all before its empty line) begins; None where it is no plain send."""
        if self._known_at != self._directory.version:
            self._known.clear()
            self._known_at = self._directory.version
        found = self._known.get(head)
        if found is None:
            return self._read(head)
        if found.call.key is not None:
            self._directory.used[found.call.key.key_id] = now_ms
        return found

    def _read(self, head: bytes) -> Head | None:
        found = _parsed(head, self._plain_send)
        if found is None or len(head) > MAX_KEPT_BYTES or tracing():
            return found
        key, headers = found.call.key, found.call.request.headers
        if (key is None or key.until_ms is None) and not any(name in headers for name in ITS_OWN):
            try:
                lines = header_lines(found.call.headers().items())
            except NotSentError:
                return found  # nothing is sent with it, which is told where it is tried
            found = Head(found.call._replace(lines=lines), found.length)
            if len(self._known) >= MAX_HEADS:
                self._known.clear()
            self._known[head] = found
        return found


def _parsed(head: bytes, plain_send: PlainSend) -> Head | None:
    """Read a head. None unless it is that of one whole send whose end two readers would see in the same place."""
    if head.count(b"\n") != head.count(b"\r\n"):  # to some an empty line is a bare line feed
        return None
    loop = asyncio.get_running_loop()
    parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16, auto_decompress=False)
    try:
        messages, upgraded, rest = parser.feed_data(head + END)
    except HttpProcessingError:
        return None
    if len(messages) != 1 or upgraded or rest:
        return None
    message, _ = messages[0]
    length = message.headers.get("Content-Length", "")
    if message.version != HttpVersion11 or message.should_close or message.chunked or not length.isdecimal():
        return None
    call = plain_send(message.method, message.path, message.headers)
    return None if call is None else Head(call, int(length))
