"""Reads requests and writes answers the way Graph and 360dialog do."""

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from .config import Number, SimulatorConfig
from .errors import GraphError
from .wire import graph_json, new_trace

# The largest message body: Meta names no limit; nothing legitimate comes near.
MESSAGE_MAX_BYTES = 1024 * 1024
FORM = "application/x-www-form-urlencoded"


def is_control(request: web.Request) -> bool:
    """Whether the request is for the simulator itself and not for the WhatsApp it plays."""
    return request.path == "/simulator" or request.path.startswith("/simulator/")


def is_360dialog(request: web.Request) -> bool:
    """Whether the client speaks to 360dialog: its key in the header, or an address of its old API."""
    return "D360-API-KEY" in request.headers or request.path.startswith(("/v1/messages", "/v1/configs", "/v1/media"))


def channel(request: web.Request, numbers: dict[str, Number]) -> Number:
    """Return the number a 360dialog key belongs to."""
    key = caller_token(request)
    owners = (number for number in numbers.values() if number.token and number.token == key)
    return next(owners, next(iter(numbers.values())))


def caller_token(request: web.Request) -> str:
    """Return the token a call brings, wherever it carries it."""
    if "D360-API-KEY" in request.headers:
        return request.headers["D360-API-KEY"].strip()
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() in ("bearer", "oauth") and token:
        return token.strip()
    return request.query.get("access_token", "")


def known_tokens(config: SimulatorConfig, numbers: dict[str, Number]) -> set[str]:
    """Return every token that is worth something here."""
    return {config.token} | {number.token for number in numbers.values() if number.token}


def check_token(request: web.Request, config: SimulatorConfig, numbers: dict[str, Number]) -> None:
    """Refuse a call without the right token, and one whose `appsecret_proof` belongs to another token.

    https://developers.facebook.com/docs/graph-api/guides/secure-requests
    """
    token = caller_token(request)
    number = numbers.get(request.match_info.get("id", ""))
    known = {number.token} if number and number.token else known_tokens(config, numbers)
    if not token:
        raise GraphError(190, message="An access token is required to request this resource.", http_status=401)
    if token not in known:
        wrong = "Invalid OAuth access token - Cannot parse access token"
        raise GraphError(190, message="Invalid api key" if is_360dialog(request) else wrong, http_status=401)
    proof = request.query.get("appsecret_proof")
    app_secret = (number.app_secret if number else "") or config.app_secret
    if proof is not None and app_secret:
        expected = hmac.new(app_secret.encode(), token.encode(), hashlib.sha256).hexdigest()
        if proof != expected:
            raise GraphError(
                100, message="Invalid appsecret_proof provided in the API argument", kind="GraphMethodException"
            )


async def read_body(request: web.Request) -> bytes:
    """Read a message body, within bounds."""
    body = bytearray()
    async for chunk in request.content.iter_chunked(64 * 1024):
        body += chunk
        if len(body) > MESSAGE_MAX_BYTES:
            raise GraphError(100, message="(#100) The request body is too large", http_status=413)
    return bytes(body)


def parse_parameters(request: web.Request, raw: bytes) -> dict[str, Any]:
    """Read the parameters of a POST: JSON, or a form whose values may be JSON, over those of the query.

    Graph takes parameters from all of them (https://developers.facebook.com/docs/graph-api/overview), so a
    message may come as a form. JSON sent under a form's content type, curl's default, is no JSON to Graph.
    """
    query = {
        key: _cast(value) for key, value in request.query.items() if key not in ("access_token", "appsecret_proof")
    }
    if request.content_type == FORM:
        pairs = parse_qsl(raw.decode(errors="replace"), keep_blank_values=True)
        return query | {key: _cast(value) for key, value in pairs}
    if not raw.strip():
        return query
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise GraphError(100, message="(#100) Invalid parameter: the request body is not valid JSON") from error
    if not isinstance(body, dict):
        raise GraphError(100, message="(#100) Invalid parameter: the request body is not a JSON object")
    return query | body


def _cast(value: str) -> Any:
    if value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def answer(data: Any, *, http_status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Answer JSON in Meta's spelling."""
    return web.Response(body=graph_json(data), status=http_status, content_type="application/json", headers=headers)


def refuse(request: web.Request, error: GraphError) -> web.Response:
    """Word an error in the client's dialect."""
    if request.path.startswith("/v1/messages") and error.code != 190:
        return answer(error.onpremise(), http_status=error.http_status, headers=error.headers)
    if is_360dialog(request) and error.code == 190:
        return answer(error.d360(), http_status=error.http_status, headers=error.headers)
    headers = dict(error.headers)
    if error.code == 190:
        headers["WWW-Authenticate"] = f'OAuth "Facebook Platform" "invalid_token" "{error.message}"'
    return answer(error.graph(), http_status=error.http_status, headers=headers)


def add_graph_headers(request: web.Request, response: web.StreamResponse, version: str) -> None:
    """Add the headers that Graph's own answers carry, so that a proxy that drops them shows."""
    response.headers.setdefault("facebook-api-version", request.match_info.get("version") or version)
    response.headers.setdefault("x-fb-trace-id", new_trace())
    response.headers.setdefault("x-app-usage", '{"call_count":0,"total_cputime":0,"total_time":0}')
    response.headers.setdefault("Cache-Control", "private, no-cache, no-store, must-revalidate")


def base_url(request: web.Request, public_url: str) -> str:
    """Return how links to this simulator start.

    Not the Host header: Graph's links name Graph whatever a proxy passes on, and a test of a proxy that
    rewrites links must not pass because the proxy passed its own name on.
    """
    if public_url:
        return public_url.rstrip("/")
    address = request.transport.get_extra_info("sockname") if request.transport else None
    if isinstance(address, tuple):
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        return f"http://{host}:{address[1]}"
    return str(request.url.origin())
