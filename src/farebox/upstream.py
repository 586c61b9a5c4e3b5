"""HTTP to WhatsApp: metered sends as whole messages. Calls that pass through are streamed (`farebox.passthrough`)."""

import time
from collections.abc import Iterable, Iterator, Mapping

import aiohttp
from yarl import URL

from farebox import metrics
from farebox.core.reply import Reply
from farebox.relays import connector

# RFC 9110, 7.6.1: these speak of one connection, not of the message. Host and Content-Length are made anew.
HOP_BY_HOP = frozenset(
    {
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
MAX_ANSWER_BYTES = 1_048_576  # of a send; Meta's are below 1 KB
CONNECT_TIMEOUT_S = 10  # a host that does not take a connection in this time is down
# Shorter than the idle time after which servers and load balancers close connections, so that a send does not meet one
# that is just being closed: its fate would be unknown.
KEEPALIVE_S = 15


SENDS = frozenset({"messages", "marketing_messages", "calls"})  # of all routes, those with a latency of their own


class NotSentError(Exception):
    """No connection came about: the message has not left."""


class FateUnknownError(Exception):
    """The bytes left and no whole answer came back: the message may have been sent. Never sent again by us."""


class Upstream:
    """The connections to WhatsApp."""

    def __init__(self, base_url: str, *, timeout_s: float, public_apps: bool = False) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        self.session = _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S))
        # To applications, which webhooks are relayed to.
        self.relays = _session(connector(public_only=public_apps))

    async def aclose(self) -> None:
        """Close the connections."""
        await self.session.close()
        await self.relays.close()

    async def send(self, path_qs: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Post a message and return the answer as it came. Raises NotSentError or FateUnknownError."""
        started = time.perf_counter()
        try:
            async with self.session.post(
                URL(self.base_url + path_qs, encoded=True),  # the client's own escapes stay as they are
                data=body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
            ) as answer:
                content = await answer.content.read(MAX_ANSWER_BYTES + 1)
                while not answer.content.at_eof() and len(content) <= MAX_ANSWER_BYTES:
                    content += await answer.content.read(MAX_ANSWER_BYTES + 1 - len(content))
                if len(content) > MAX_ANSWER_BYTES:
                    raise FateUnknownError("the upstream's answer is too large")
                return Reply(answer.status, content, tuple(end_to_end(answer.headers.items())))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotSentError(type(error).__name__) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise FateUnknownError(type(error).__name__) from error
        finally:
            metrics.UPSTREAM_SECONDS.labels(_route(path_qs)).observe(time.perf_counter() - started)


def _session(connections: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    """Return connections that add nothing to a message, and take nothing from it."""
    return aiohttp.ClientSession(
        connector=connections,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Content-Type", "Accept"),
    )


def _route(path_qs: str) -> str:
    """Return the metric's label for a send's path."""
    last = path_qs.partition("?")[0].rstrip("/").rpartition("/")[2].lower()
    return last if last in SENDS else "other"


def end_to_end(headers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Leave out what speaks of one connection only, Content-Length (made anew) and Host."""
    pairs = list(headers)
    named = {
        token.strip().lower() for name, value in pairs if name.lower() == "connection" for token in value.split(",")
    }
    for name, value in pairs:
        if name.lower() not in HOP_BY_HOP | named | {"content-length", "host"}:
            yield name, value
