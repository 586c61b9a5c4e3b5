"""What is no HTTP request: answered in the port's own shape, without what was sent and without a stack trace.

aiohttp answers such bytes by itself, before any handler: with its parser's words, which quote the bytes, and with a
stack trace in the log. Whoever speaks TLS to a port without it would fill the log that way.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

log = logging.getLogger(__name__)

Refuse = Callable[[int, str], web.Response]
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
SENTENCES = {
    400: "This is no HTTP request that can be read: its head is malformed, ambiguous or too long. Nothing was done.",
    504: "The request took too long.",
}
FAILED = "The gateway failed on this request. Nothing more is known here; its log says why."


class Connection(RequestHandler):
    """One client's connection, whose mistakes are answered by `refuse`."""

    __slots__ = ("_refuse",)

    def __init__(self, server: web.Server, refuse: Refuse, **options: Any) -> None:
        super().__init__(server, **options)
        self._refuse = refuse

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  the parser's words, which quote the request
    ) -> web.StreamResponse:
        """Answer what aiohttp could not read, or what failed past every handler of ours."""
        if isinstance(exc, HttpProcessingError):
            log.info("no HTTP request that can be read: %s", type(exc).__name__)
        else:
            log.error("a request failed outside of every handler", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("half an answer is out already")
        response = self._refuse(status, SENTENCES.get(status, FAILED))
        response.force_close()
        return response


class Server(web.Server):
    """A server of such connections."""

    def __init__(self, handler: Handler, *, refuse: Refuse, **options: Any) -> None:
        super().__init__(handler, **options)
        self._refuse = refuse

    def __call__(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(self, self._refuse, loop=self._loop, **self._kwargs)


class AppRunner(web.AppRunner):
    """aiohttp's runner of an application, on such a server."""

    def __init__(self, app: web.Application, *, refuse: Refuse, **options: Any) -> None:
        super().__init__(app, **options)
        self._refuse = refuse

    async def _make_server(self) -> Server:
        made = await super()._make_server()
        return Server(
            made.request_handler,
            request_factory=made.request_factory,
            refuse=self._refuse,
            **made._kwargs,
        )
