"""HTTP to WhatsApp: metered sends as whole messages. Calls that pass through are streamed (`farebox.passthrough`)."""

import time
from collections.abc import Iterable

import aiohttp

from farebox import metrics
from farebox.connections import KEEPALIVE_S, Connections
from farebox.core.reply import Reply
from farebox.relays import connector

# RFC 9110, 7.6.1: these speak of one connection, not of the message. Host and Content-Length are made anew.
_NOT_PASSED_ON = frozenset(
    {
        "content-length",
        "host",
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
D360_KEY = "D360-API-KEY"  # the header of 360dialog and the on-premise API
SENDS = frozenset({"messages", "marketing_messages", "calls"})  # of all routes, those with a latency of their own


class Upstream:
    """The connections to WhatsApp."""

    def __init__(self, base_url: str, *, timeout_s: float, public_apps: bool = False) -> None:
        self.base_url = base_url.rstrip("/")
        self._sends = Connections(self.base_url, timeout_s=timeout_s)
        # For calls that pass through; their bodies are streamed.
        self.session = _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S))
        # To applications, which webhooks are relayed to.
        self.relays = _session(connector(public_only=public_apps))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._sends.aclose()
        await self.session.close()
        await self.relays.close()

    async def send(self, path_qs: str, lines: bytes, body: bytes) -> Reply:
        """Post a message and return the answer as it came. Raises NotSentError or FateUnknownError.

        `lines` are its headers, written (`connections.header_lines`).
        """
        started = time.perf_counter()
        try:
            # The client's own escapes in the path stay as they are.
            reply = await self._sends.post(path_qs, lines, body)
        finally:
            _LATENCY[_route(path_qs)].observe(time.perf_counter() - started)
        return Reply(reply.status, reply.body, tuple(end_to_end(reply.headers)))


def _session(connections: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    """Return connections that add nothing to a message, and take nothing from it."""
    return aiohttp.ClientSession(
        connector=connections,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Content-Type", "Accept"),
    )


_LATENCY = {route: metrics.UPSTREAM_SECONDS.labels(route) for route in (*SENDS, "other")}


def _route(path_qs: str) -> str:
    """Return the metric's label for a send's path."""
    last = path_qs.partition("?")[0].rstrip("/").rpartition("/")[2].lower()
    return last if last in SENDS else "other"


def end_to_end(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave out what speaks of one connection only, Content-Length (made anew) and Host."""
    pairs = [(name.lower(), (name, value)) for name, value in headers]
    left_out = _NOT_PASSED_ON
    for lower, (_, value) in pairs:
        if lower == "connection":
            left_out = left_out.union(token.strip().lower() for token in value.split(","))
    return [pair for lower, pair in pairs if lower not in left_out]
