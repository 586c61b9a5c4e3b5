"""Opens the store that a URL names.

redis-py's client for one server or for the master that sentinels know, our own for a cluster.
"""

from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis.asyncio import Connection, Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from farebox.redis_cluster import Cluster
from farebox.redis_url import Kind, RedisUrl, parse_redis_url

Client = Redis | Cluster
Command = tuple[str | int, ...]  # its name, of one or two words, and what it is about

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
    patience = {"socket_connect_timeout": timeout_s, "health_check_interval": 0}
    # What is repeated after a broken connection is decided call by call (scripts.py), so the client itself never does.
    # How long an answer may take is decided there too, once for a round trip: a timer for each answer would cost more
    # than reading it.
    options: dict[str, Any] = {
        **patience,
        "socket_timeout": None,
        "decode_responses": True,
        "retry": Retry(NoBackoff(), 0),
        **where.options,
    }
    match where.kind:
        case Kind.CLUSTER:
            return Cluster(where.addresses, options)
        case Kind.SENTINEL:
            return _master(where, options, {**patience, "socket_timeout": timeout_s})
        case Kind.UNIX:
            return Redis(unix_socket_path=where.socket, **options)
        case Kind.SINGLE:
            ((host, port),) = where.addresses
            return Redis(host=host, port=port, **options)


def shares_calls(client: Client) -> bool:
    """Tell whether one script call may have keys of several numbers: of a cluster each number has a slot of its own."""
    return not isinstance(client, Cluster)


async def servers(client: Client) -> list[str]:
    """Name the servers that have keys, as `Rounds.lane` does."""
    return await client.lanes() if isinstance(client, Cluster) else [""]


async def scan(client: Client, server: str, cursor: int, *, match: str, count: int) -> tuple[int, list[str]]:
    """Return a page of the keys of one server that match, and where the next page begins: at 0 there is none."""
    node = client.node(server) if isinstance(client, Cluster) else client
    following, keys = await node.scan(cursor, match=match, count=count)
    return following, [str(key) for key in keys]


class Rounds:
    """Round trips of several commands each.

    On one server without redis-py's pipeline, which packs in Python, and on a connection that is kept from one round to
    the next: redis-py's pool asks more questions of each that it hands out than it takes to use it.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._cluster = client if isinstance(client, Cluster) else None  # to ask each time takes longer than the answer
        self._kept: Connection | None = None

    def lane(self, key: str) -> str:
        """Name the server that a key is on. What goes to one server need not wait for another, nor fail with it."""
        return "" if self._cluster is None else self._cluster.lane(key)

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands; return what each was answered, or the error that it was answered with, in its place.

        Where the connection was closed since the last round, this one fails and the next has another.
        """
        if not isinstance(self.client, Redis):
            pipeline = self.client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute(raise_on_error=False)
        pool = self.client.connection_pool
        connection, self._kept = self._kept, None  # while it is in use another round has another connection
        if connection is None:
            connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_packed_command(b"".join(map(_packed, commands)), check_health=False)
            answers = [await _answer(connection) for _ in commands]
        except BaseException:
            # An answer may be under way that the next round would take for its own.
            await connection.disconnect(nowait=True)
            await pool.release(connection)
            raise
        if self._kept is None:
            self._kept = connection
        else:
            await pool.release(connection)
        return answers


def _packed(command: Command) -> bytes:
    name, *words = command
    words_of_all: Any = (*str(name).split(), *words)  # hiredis' types know of one word only
    packed: bytes = pack_command(words_of_all)
    return packed


async def _answer(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def _master(where: RedisUrl, options: dict[str, Any], patience: dict[str, Any]) -> Redis:
    # A sentinel that does not answer is not tried again: the next one is asked.
    asked = {**patience, "decode_responses": True, "retry": Retry(NoBackoff(), 0), **where.sentinel_options}
    sentinels = Sentinel(where.addresses, sentinel_kwargs=asked, **options)  # type: ignore[no-untyped-call]
    master: _Master = sentinels.master_for(where.master_name, redis_class=_Master)
    master.sentinels = sentinels
    return master
