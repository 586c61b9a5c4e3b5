"""The ports of a worker: how they are opened, and how they are left without losing a connection.

Workers share a port (SO_REUSEPORT): the kernel gives each connection to one of them, also while that one is about to
leave. What it has been given is answered, what comes later goes to the others; with `farebox serve --take-over` these
others may be a second gateway.
"""

import asyncio
import socket
import ssl
from pathlib import Path

from aiohttp import web

from farebox import ports

# How long a connection may be open without a whole request head, the first one too: a client that sends it byte by byte
# holds a connection for no longer. Above the idle time of common clients and balancers (60 s), which then close first.
IDLE_S = 75
BACKLOG = 1024  # connections that wait to be accepted: a burst of clients that all come back at once
# How long an open connection is given to ask once more, and to hear then that it is to come back on another one. Closed
# at once, it could meet a request that is on its way, and the client would not know what became of it.
LINGER_S = 1.0
LOOK_S = 0.02  # between two looks at whether all have gone


class Listening:
    """One open port of a worker."""

    def __init__(
        self, runner: web.BaseRunner, site: web.SockSite, listener: socket.socket, tls: ssl.SSLContext | None
    ) -> None:
        self._runner = runner
        self._site = site
        self._listener = listener
        self._tls = tls

    @classmethod
    async def open(cls, runner: web.BaseRunner, host: str, port: int, tls: ssl.SSLContext | None = None) -> "Listening":
        """Listen on a port that others may share; the runner's clean-up ends it."""
        listener = ports.share(host, port, reuse_address=True)
        site = web.SockSite(runner, listener, backlog=BACKLOG, ssl_context=tls)
        await site.start()
        return cls(runner, site, listener, tls)

    async def leave(self) -> None:
        """Take no more connections, but those that the kernel has completed for us already: it would reset them."""
        server, loop = self._runner.server, asyncio.get_running_loop()
        assert server is not None, "the runner is set up"
        with self._listener.dup() as queue:
            queue.setblocking(False)  # noqa: FBT003  the library's own
            await self._site.stop()
            while True:
                try:
                    connection, _ = queue.accept()
                except BlockingIOError:
                    return  # and the queue is closed at once: nothing may come between
                except ConnectionError:
                    continue  # it has left again
                connection.setblocking(False)  # noqa: FBT003
                await loop.connect_accepted_socket(server, connection, ssl=self._tls)

    @property
    def deserted(self) -> bool:
        """Whether no connection is left."""
        return self._runner.server is None or not self._runner.server.connections


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return what serves TLS 1.2 and newer with a certificate; raises OSError or ssl.SSLError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


async def leave_all(listening: list[Listening]) -> None:
    """Leave ports, and give connections time to end by themselves."""
    for port in listening:
        await port.leave()
    for _ in range(round(LINGER_S / LOOK_S)):
        if all(port.deserted for port in listening):
            return
        await asyncio.sleep(LOOK_S)
