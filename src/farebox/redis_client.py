"""Opens the store that a URL names.

redis-py's client for one server or for the master that sentinels know, our own for a cluster.
"""

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from farebox.redis_cluster import Cluster
from farebox.redis_url import Kind, RedisUrl, parse_redis_url

Client = Redis | Cluster

# The longest that any call may take: one for many wallets in one round trip, which no send waits for. How much less a
# call gets is decided where it is made (scripts.py): a timeout of the connections would cut the long ones off too.
LONGEST_CALL_S = 5.0


class _Master(Redis):
    """The master that sentinels know. Each new connection asks them anew; a master that was demoted is left at once."""

    sentinels: Sentinel | None = None

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001  redis-py's own signature
        """Close the connections to the master and to the sentinels."""
        await super().aclose(close_connection_pool)
        if self.sentinels is not None:
            await self.sentinels.aclose()


def open_redis(url: str, *, timeout_s: float) -> Client:
    """Return a client; nothing is connected yet. Raises RedisUrlError."""
    where = parse_redis_url(url)
    # Connecting is short: a send waits for the store, and a client for the send. No pings of idle connections.
    patience = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "health_check_interval": 0}
    # What is repeated after a broken connection is decided call by call (scripts.py), so the client itself never does.
    options: dict[str, Any] = {**patience, "decode_responses": True, "retry": Retry(NoBackoff(), 0), **where.options}
    # How long an answer may take is decided there too, once for a whole pipeline: a timer for each answer of one costs
    # more than reading it.
    options["socket_timeout"] = None
    match where.kind:
        case Kind.CLUSTER:
            return Cluster(where.addresses, options)
        case Kind.SENTINEL:
            return _master(where, options, patience)
        case Kind.UNIX:
            return Redis(unix_socket_path=where.socket, **options)
        case Kind.SINGLE:
            ((host, port),) = where.addresses
            return Redis(host=host, port=port, **options)


def lane(client: Client, key: str) -> str:
    """Name the server that a key is on. What goes to one server need not wait for another, nor fail with it."""
    return client.lane(key) if isinstance(client, Cluster) else ""


def _master(where: RedisUrl, options: dict[str, Any], patience: dict[str, Any]) -> Redis:
    # A sentinel that does not answer is not tried again: the next one is asked.
    asked = {**patience, "decode_responses": True, "retry": Retry(NoBackoff(), 0), **where.sentinel_options}
    sentinels = Sentinel(where.addresses, sentinel_kwargs=asked, **options)  # type: ignore[no-untyped-call]
    master: _Master = sentinels.master_for(where.master_name, redis_class=_Master)
    master.sentinels = sentinels
    return master
