"""Calls that are no sends: streamed both ways, unchanged but for the token and links that lead around the gateway."""

import json
import logging
import time

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from farebox import metrics
from farebox.access import Call
from farebox.connections import CONNECT_TIMEOUT_S
from farebox.core.links import rewrite_links, swap_token
from farebox.core.reply import CODE_UNAVAILABLE, Reply, error_reply
from farebox.gate import Gate
from farebox.logs import REQUEST_ID, request_id
from farebox.upstream import end_to_end

log = logging.getLogger(__name__)

# An upload or download may take as long as it moves; a peer that is silent this long is gone.
SILENCE_TIMEOUT_S = 120
MAX_JSON_BYTES = 33_554_432  # a JSON answer is read whole for its links; 1,000 templates with all fields are about 5 MB
MEDIA_PATH = "/whatsapp_business/attachments/"
META_MEDIA_URL = "https://lookaside.fbsbx.com"  # where Graph's media urls lead
META_HOSTS = ("https://graph.facebook.com", "https://graph.whatsapp.com")
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_TIMEOUT_S)


async def pass_through(gate: Gate, call: Call, request: web.BaseRequest) -> web.StreamResponse:
    """Forward a call and stream the answer back."""
    headers = call.headers()
    body = None
    if request.body_exists:
        body = request.content.iter_any()
        if request.content_length is not None:
            headers["Content-Length"] = str(request.content_length)
    media = call.request.raw_path.startswith(MEDIA_PATH)
    base = media_url(gate) if media else gate.upstream.base_url
    response: web.StreamResponse | None = None
    started = time.perf_counter()
    try:
        async with gate.upstream.session.request(
            request.method,
            URL(base + call.path_qs(), encoded=True),
            data=body,
            headers=headers,
            timeout=_TIMEOUT,
            allow_redirects=False,
        ) as answer:
            metrics.UPSTREAM_SECONDS.labels("other").observe(time.perf_counter() - started)
            if not media and request.method != "HEAD" and _is_json(answer):
                return await _json_answer(gate, call, request, answer)
            response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=_headers(answer))
            if answer.content_length is not None:
                response.content_length = answer.content_length
            response.headers.setdefault(REQUEST_ID, request_id())
            if gate.leaving.is_set():
                response.force_close()
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        log.warning("a call could not be passed on: %s", type(error).__name__)
        if response is not None:
            raise  # half an answer is out: only a broken connection tells the client so
        sentence = "WhatsApp did not answer this call; try again."
        return to_response(error_reply(call.route.dialect, status=502, code=CODE_UNAVAILABLE, sentence=sentence))


def media_url(gate: Gate) -> str:
    """Return where media are downloaded from."""
    if gate.settings.media_url:
        return gate.settings.media_url.rstrip("/")
    return META_MEDIA_URL if gate.upstream.base_url.startswith(META_HOSTS) else gate.upstream.base_url


def to_response(reply: Reply) -> web.Response:
    """Put a reply on the wire."""
    return web.Response(status=reply.status, body=reply.body, headers=CIMultiDict(reply.headers))


def _is_json(answer: aiohttp.ClientResponse) -> bool:
    """Tell whether an answer is JSON, which Graph calls JavaScript where a client's Accept does not name JSON."""
    return "json" in answer.content_type or "javascript" in answer.content_type


async def _json_answer(
    gate: Gate, call: Call, request: web.BaseRequest, answer: aiohttp.ClientResponse
) -> web.Response:
    """Return a JSON answer, its bytes unchanged unless it holds links that lead around the gateway."""
    content = bytearray()
    async for chunk in answer.content.iter_any():
        content += chunk
        if len(content) > MAX_JSON_BYTES:
            sentence = "WhatsApp's answer is larger than the gateway reads; ask for fewer fields or a smaller page."
            return to_response(error_reply(call.route.dialect, status=502, code=CODE_UNAVAILABLE, sentence=sentence))
    body = swap_token(bytes(content), call.upstream_token, call.client_token)
    if call.number is not None and call.number.webhook_secret:
        # It stands in the address that WhatsApp keeps for us; whoever has it could say that nothing was delivered.
        body = swap_token(body, call.number.webhook_secret, "hidden")
    public_url = gate.settings.public_url or f"{request.scheme}://{request.host}"
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    token = call.client_token if "access_token=" in call.request.query else None
    upstream_urls = (gate.upstream.base_url, media_url(gate), *META_HOSTS, META_MEDIA_URL)
    if rewrite_links(parsed, public_url=public_url.rstrip("/"), upstream_urls=upstream_urls, client_token=token):
        body = json.dumps(parsed, separators=(",", ":")).encode()
    return to_response(Reply(answer.status, body, tuple(end_to_end(answer.headers.items()))))


def _headers(answer: aiohttp.ClientResponse) -> list[tuple[str, str]]:
    return end_to_end(answer.headers.items())
