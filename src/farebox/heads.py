"""What the heads of sends mean, worked out once: an application sends the same head, byte for byte, again and again.

A head is read by aiohttp's own parser, and admitted, as every other request's; what came of it is kept under the head's
bytes. So a head that is found here is one that was read and admitted before, and nothing is less strict than it was: a
head that differs in a single byte is read anew. Reading and admitting a head costs 15 microseconds and writing it for
WhatsApp 5 more; finding it costs 0.2.

An application of many numbers sends too many heads to be kept, which differ in two places alone: the path, and the key.
Of such a head these two are read, where both are of characters that end nothing in a head; the rest is, byte for byte,
that of a head that aiohttp's parser has read. It is admitted as every other. That costs two fifths as much.
"""

import asyncio
import re
from collections.abc import Callable
from typing import NamedTuple

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_writer import HttpVersion11
from multidict import CIMultiDict, MultiMapping

from farebox.access import IDEMPOTENCY_KEY, Call
from farebox.connections import NotSentError, header_lines
from farebox.core.reply import Dialect
from farebox.directory import Directory
from farebox.logs import REQUEST_ID, TRACEPARENT
from farebox.traces import tracing

END = b"\r\n\r\n"
MAX_HEADS = 2_000  # that are kept: an application has one for each length of its messages
MAX_KEPT_BYTES = 4_096  # of a head that is kept; most are below 500
# A head with one of these is another one each time: kept, it would push out those that come again.
ITS_OWN = (IDEMPOTENCY_KEY, REQUEST_ID, TRACEPARENT, "tracestate", "baggage")

# A head in five pieces: the path, what stands before the key, its header, the key, and what stands behind it.
_PIECES = re.compile(
    rb"POST (/[\w./-]+) HTTP/1\.1\r\n((?:.*\r\n)?)([Aa]uthorization): Bearer ([\w.~+/-]+=*)((?:\r\n.*)?)", re.DOTALL
)

PlainSend = Callable[[str, str, MultiMapping[str]], Call | None]


class Head(NamedTuple):
    """A send without its body, and how many bytes that has."""

    call: Call
    length: int


class Shape(NamedTuple):
    """What heads have in common that differ in the path and the key alone."""

    length: int
    headers: CIMultiDict[str]  # with a key of one of them
    before: bytes  # as they go to WhatsApp: the lines before that of the token, and behind it
    behind: bytes


class Pieces(NamedTuple):
    """A head whose path and key may be others."""

    rest: tuple[bytes, ...]  # all but these two
    path: str
    name: str  # of the key's header, as it is written
    authorization: str


class Heads:
    """The heads of one worker."""

    def __init__(self, directory: Directory, plain_send: PlainSend) -> None:
        """Take what admits a head: `plain_send` returns its call, None where it is no plain send that may go on."""
        self._directory = directory
        self._plain_send = plain_send
        self._known: dict[bytes, Head] = {}
        self._shapes: dict[tuple[bytes, ...], Shape] = {}
        self._known_at = -1  # the directory's version that they were admitted by

    def find(self, head: bytes, now_ms: int) -> Head | None:
        """Return the send that a head (all before its empty line) begins; None where it is no plain send."""
        if self._known_at != self._directory.version:
            self._known.clear()
            self._shapes.clear()
            self._known_at = self._directory.version
        found = self._known.get(head)
        if found is None:
            return self._read(head)
        if found.call.key is not None:
            self._directory.used[found.call.key.key_id] = now_ms
        return found

    def _read(self, head: bytes) -> Head | None:
        if len(head) > MAX_KEPT_BYTES or tracing():
            return _parsed(head, self._plain_send)
        pieces = _pieces(head)
        found = self._like_another(pieces) if pieces is not None else None
        if found is None:
            found = _parsed(head, self._plain_send)
            if found is None or not _comes_again(found.call):
                return found
            try:
                lines = header_lines(found.call.headers().items())
            except NotSentError:
                return found  # nothing is sent with it, which is told where it is tried
            found = Head(found.call._replace(lines=lines), found.length)
            if pieces is not None:
                self._learn(pieces, found)
        if len(self._known) >= MAX_HEADS:
            self._known.clear()
        self._known[head] = found
        return found

    def _like_another(self, pieces: Pieces) -> Head | None:
        """Read a head that is like one before but for its path and its key; None where it must be read as a whole."""
        shape = self._shapes.get(pieces.rest)
        if shape is None:
            return None
        headers = shape.headers.copy()
        headers[pieces.name] = pieces.authorization
        call = self._plain_send("POST", pieces.path, headers)
        line = None if call is None else _line_of_token(call, pieces.name)
        if call is None or line is None:
            return None
        return Head(call._replace(lines=shape.before + line + shape.behind), shape.length)

    def _learn(self, pieces: Pieces, found: Head) -> None:
        """Keep what is to be known of heads that are like this one but for their path and their key."""
        headers, lines = found.call.request.headers, found.call.lines
        line = _line_of_token(found.call, pieces.name)
        assert lines is not None, "they were just written"
        if line is None or headers.getall(pieces.name) != [pieces.authorization] or lines.count(line) != 1:
            return
        before, _, behind = lines.partition(line)
        if len(self._shapes) >= MAX_HEADS:
            self._shapes.clear()
        self._shapes[pieces.rest] = Shape(found.length, CIMultiDict(headers), before, behind)


def _comes_again(call: Call) -> bool:
    """Tell whether a head may come again as it is, and mean the same."""
    lasts = call.key is None or call.key.until_ms is None
    return lasts and not any(name in call.request.headers for name in ITS_OWN)


def _line_of_token(call: Call, name: str) -> bytes | None:
    """Return the line that takes the token to WhatsApp; None where there is another one, or the key will end."""
    if call.key is None or call.key.until_ms is not None or call.number is None:
        return None
    if call.number.dialect is not Dialect.CLOUD:  # whose token has a header of its own
        return None
    try:
        return header_lines([(name, f"Bearer {call.upstream_token}")])
    except NotSentError:
        return None


def _pieces(head: bytes) -> Pieces | None:
    found = _PIECES.fullmatch(head)
    if found is None:
        return None
    path, before, name, key, behind = found.groups()
    return Pieces((before, name, behind), path.decode(), name.decode(), f"Bearer {key.decode()}")


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
