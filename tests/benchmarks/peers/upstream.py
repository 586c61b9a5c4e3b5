"""WhatsApp as far as a benchmark sees it: takes every message at once, with a wamid of its own. Prints where it serves.

A protocol without a framework, so that it costs little beside what is measured.
"""

import asyncio
import json
import re
import secrets
from itertools import count

import uvloop

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
MEDIA_BYTES = 100_000_000  # Meta's largest: a document of 100 MB
PIECE = bytes(range(256)) * 256  # of a download

TEMPLATE = {"name": "order_update", "language": "en_US", "category": "UTILITY", "status": "APPROVED"}
TEMPLATES = json.dumps({"data": [TEMPLATE]}).encode()
_run = secrets.token_hex(8)  # so that two runs never give the same wamid
_serial = count()


def accepted() -> bytes:
    """Return the answer to a send, as long as Meta's."""
    return (
        b'{"messaging_product":"whatsapp","contacts":[{"input":"16505551234","wa_id":"16505551234"}],'
        b'"messages":[{"id":"wamid.HBgLMTY1MDU1NTEyMzQVAgARGBJ%s%015d=","message_status":"accepted"}]}'
        % (_run.encode(), next(_serial))
    )


class Upstream(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._unread = b""
        self._first_line: bytes | None = None  # of the request whose body is coming
        self._missing = 0  # bytes of that body
        self._flows = asyncio.Event()
        self._flows.set()
        self._download: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is no subclass

    def connection_lost(self, _: Exception | None) -> None:
        self._flows.set()
        if self._download is not None:
            self._download.cancel()

    def pause_writing(self) -> None:
        self._flows.clear()

    def resume_writing(self) -> None:
        self._flows.set()

    def data_received(self, data: bytes) -> None:
        """Answer each request as soon as it is here; bodies are counted, not kept."""
        if self._unread:
            data = self._unread + data
        while data:
            if self._first_line is None:
                end = data.find(b"\r\n\r\n")
                if end < 0:
                    break
                length = LENGTH.search(data, 0, end)
                self._first_line = data[: data.index(b"\r\n")]
                self._missing = int(length[1]) if length else 0
                data = data[end + 4 :]
            body, data = data[: self._missing], data[self._missing :]
            self._missing -= len(body)
            if self._missing:
                break
            self._answer(self._first_line)
            self._first_line = None
        self._unread = data

    def _answer(self, first_line: bytes) -> None:
        method, target, _ = first_line.split(b" ")
        path = target.partition(b"?")[0]
        if path.startswith(b"/whatsapp_business/attachments/"):
            self._download = asyncio.create_task(self._media())
            return
        if method == b"POST":
            body = b'{"id":"1"}' if path.endswith(b"/media") else accepted()
        else:
            body = TEMPLATES if path.endswith(b"/message_templates") else b'{"id":"1"}'
        self._transport.write(HEAD % (b"application/json", len(body)) + body)

    async def _media(self) -> None:
        self._transport.write(HEAD % (b"application/pdf", MEDIA_BYTES))
        left = MEDIA_BYTES
        while left and not self._transport.is_closing():
            await self._flows.wait()
            self._transport.write(PIECE[:left])
            left -= min(left, len(PIECE))


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=1024)
    print(f"serves http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)  # noqa: T201  the parent waits
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
