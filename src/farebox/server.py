"""The gateway port: reads a request, finds its walk, writes the answer. Plain sends come here by `lane.py`."""

import asyncio
import logging
from urllib.parse import unquote, urlsplit

from aiohttp import web
from multidict import CIMultiDict, MultiMapping

from farebox.access import Call, DeniedError, Request, admit
from farebox.address import MAX_ADDRESS_BYTES, answer_address, is_about_address
from farebox.core.path import BadPathError, dialect_of, read_path
from farebox.core.reply import CODE_PARAMETER, CODE_UNAVAILABLE, Dialect, Reply, error_reply
from farebox.doors import SECRET_HEADER, MetaDoor, SecretDoor
from farebox.gate import Gate
from farebox.inbound import receive, verify
from farebox.logs import REQUEST_ID, start_request
from farebox.outbound import send
from farebox.passthrough import pass_through, to_response
from farebox.scopes import too_fast
from farebox.traces import follow
from farebox.upstream import D360_KEY

log = logging.getLogger(__name__)

WEBHOOKS = "/webhooks/"
META_HOST = "graph.facebook.com"  # of clients that can not be given another, and take the gateway for their proxy
NO_TUNNEL = (
    "This gateway opens no tunnel: what it can not read it can not account for. Let the client send plain requests to "
    "it as its HTTP proxy, or let the name graph.facebook.com lead to it, with a certificate that the client trusts."
)
FAILED = "The gateway failed on this request. Nothing more is known here; its log says why."
NOT_PLAIN = ("Expect", "Content-Encoding", "Transfer-Encoding", "Trailer", "Upgrade")  # headers that ask for more


class TooLargeError(Exception):
    """A body is larger than its limit."""


class TooSlowError(Exception):
    """A body did not come in time."""


class Gateway:
    """The handler of the gateway port."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        upstream = urlsplit(gate.settings.upstream_url)
        self._hosts = {META_HOST, f"{META_HOST}:443", f"{META_HOST}:80", upstream.netloc.lower()}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; a fault of ours is an answer in the client's shape, never a stack trace."""
        request_id = start_request(request.headers)
        follow(request.headers)
        response = await self._answer(request)
        if not response.prepared:
            response.headers.setdefault(REQUEST_ID, request_id)
        if self._gate.leaving.is_set():
            response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._handle(request)
        except TooLargeError:
            return _error(request, 413, "The body is larger than the gateway takes.")
        except TooSlowError:
            response = _error(request, 408, "The body did not come in time.")
            response.force_close()
            return response
        except (ConnectionError, TimeoutError):
            raise  # the client is gone, or half an answer is out
        except Exception:
            log.exception("a request failed")
            return _error(request, 500, FAILED)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "CONNECT":
            return _error(request, 405, NO_TUNNEL)
        raw_path, _, query = self._target(request.raw_path).partition("?")
        if not raw_path.startswith("/"):
            sentence = "Send the path alone in the request line, or an absolute URL of WhatsApp's own host."
            return _error(request, 400, sentence)
        if raw_path.startswith(WEBHOOKS):
            return to_response(await self._webhook(request, raw_path, query))
        try:
            call = self._admitted(request.method, raw_path, query, request.headers)
        except BadPathError as error:
            return _error(request, 400, str(error))
        except DeniedError as error:
            return to_response(error.reply)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if is_about_address(call):
            body = await _read(request, MAX_ADDRESS_BYTES, self._gate.settings.client_timeout_s)
            return to_response(answer_address(call.with_body(body)))
        if not call.route.send:
            return await pass_through(self._gate, call, request)
        if request.headers.get("Content-Encoding", "identity") != "identity":
            return to_response(_reply(call.route.dialect, 415, "Send the message without Content-Encoding."))
        try:
            body = await _read(request, self._gate.settings.max_send_bytes, self._gate.settings.client_timeout_s)
        except TooLargeError:
            sentence = (
                f"The message is larger than {self._gate.settings.max_send_bytes} bytes; send media by id or link."
            )
            return to_response(_reply(call.route.dialect, 413, sentence))
        return to_response(await self._metered(call.with_body(body)))

    def plain_send(self, method: str, target: str, headers: MultiMapping[str]) -> Call | None:
        """Return the call of a head that is a send with nothing special about it; None for all else, faults included.

        What is None here is looked at by `handle`, which knows what to answer.
        """
        raw_path, _, query = self._target(target).partition("?")
        if method != "POST" or query or raw_path.startswith(WEBHOOKS) or any(name in headers for name in NOT_PLAIN):
            return None
        try:
            call = self._admitted(method, raw_path, query, headers)
        except (BadPathError, DeniedError):
            return None
        return call if call.route.send else None

    async def send(self, call: Call) -> Reply:
        """Answer a plain send; a fault of ours is an answer in the client's shape, as in `handle`."""
        headers = call.request.headers
        start_request(headers)
        follow(headers)
        try:
            return await self._metered(call)
        except Exception:
            log.exception("a request failed")
            return _reply(call.route.dialect, 500, FAILED)

    def _admitted(self, method: str, raw_path: str, query: str, headers: MultiMapping[str]) -> Call:
        """Return the call that a head makes, without its body; raises BadPathError or DeniedError."""
        route = read_path(
            method,
            raw_path,
            query,
            d360_key=D360_KEY in headers,
            pass_unknown_sends=self._gate.settings.unknown_sends == "pass",
        )
        return admit(self._gate.directory, route, Request(method, raw_path, query, headers), self._gate.clock.now_ms())

    async def _metered(self, call: Call) -> Reply:
        """Send a message, if its key may send one now."""
        reply = too_fast(self._gate, call)
        return await send(self._gate, call) if reply is None else reply

    def _target(self, target: str) -> str:
        """Return the path that a request line means, also as clients write it to a proxy (RFC 9112, 3.2.2)."""
        scheme, mark, rest = target.partition("://")
        host, slash, path = rest.partition("/")
        if mark and scheme.lower() in ("http", "https") and host.lower() in self._hosts:
            return slash + path
        return target

    async def _webhook(self, request: web.BaseRequest, raw_path: str, query: str) -> Reply:
        door, _, secret = raw_path.removeprefix(WEBHOOKS).partition("/")
        if (door, secret) != ("meta", "") and door != "360dialog":
            sentence = f"There is no such webhook; point Meta at {WEBHOOKS}meta and 360dialog at {WEBHOOKS}360dialog."
            return _reply(Dialect.CLOUD, 404, sentence)
        if door == "meta" and request.method == "GET":
            return verify(self._gate, query)
        if request.method != "POST":
            allowed = "GET, POST" if door == "meta" else "POST"
            return _reply(Dialect.CLOUD, 405, "A webhook is a POST.").with_headers(("Allow", allowed))
        body = await _read(request, self._gate.settings.max_webhook_bytes, self._gate.settings.client_timeout_s)
        received = Request("POST", raw_path, query, CIMultiDict(request.headers), body)
        if door == "meta":
            return await receive(self._gate, received, MetaDoor(self._gate, received))
        presented = unquote(secret).strip("/") or request.headers.get(SECRET_HEADER, "")
        return await receive(self._gate, received, SecretDoor(self._gate, presented))


async def _read(request: web.BaseRequest, limit: int, timeout_s: float) -> bytes:
    """Read a body whole, up to a limit and in a time; raises TooLargeError or TooSlowError."""
    if request.content.is_eof():  # it came with its head, as most do: nothing to wait for
        body = request.content.read_nowait()
        if len(body) > limit:
            raise TooLargeError
        return body
    try:
        async with asyncio.timeout(timeout_s):
            return await _whole(request, limit)
    except TimeoutError:
        raise TooSlowError from None


async def _whole(request: web.BaseRequest, limit: int) -> bytes:
    """Read a body whole, up to a limit, without believing its Content-Length."""
    if (request.content_length or 0) > limit:
        raise TooLargeError
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise TooLargeError
    return bytes(body)


def _reply(dialect: Dialect, status: int, sentence: str) -> Reply:
    code = CODE_PARAMETER if status < 500 else CODE_UNAVAILABLE
    return error_reply(dialect, status=status, code=code, sentence=sentence)


def refuse(status: int, sentence: str) -> web.Response:
    """Answer what could not be read as a request, so that nothing is known of its dialect."""
    return to_response(_reply(Dialect.CLOUD, status, sentence))


def _error(request: web.BaseRequest, status: int, sentence: str) -> web.Response:
    dialect = dialect_of(request.raw_path.partition("?")[0], d360_key=D360_KEY in request.headers)
    return to_response(_reply(dialect, status, sentence))
