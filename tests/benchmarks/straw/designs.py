"""The designs: each sets aside one fare for a send, or refuses it.

    ReadThenSpend  reads the balance in Redis, checks, and takes the fare by a second call; no ledger
    RowLock        one Postgres transaction a send: lock the balance's row, insert the hold, lower the balance
    Ours           the gateway's own `funds.reserve`: one script in Redis, one batched INSERT for all sends in flight

The rule is the same: a send is allowed while available is above zero. Funds are whole fares, so the last allowed send
leaves exactly zero.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol
from uuid import uuid4

import asyncpg
from redis.asyncio import BlockingConnectionPool, Redis

from farebox.config import Settings
from farebox.core.fare import price
from farebox.core.message import Kind, Message
from farebox.funds import Fare, Reserved
from farebox.gate import Gate, open_gate

FARE_MICROS = 3_400  # a utility template to North America, in USD
CONNECTIONS = 8  # of a worker to Postgres: what the gateway's own ledger uses; more would wait for the row all the same
READERS = 128  # of a worker to Redis: calls in flight, so that it is not the pool that keeps sends apart
TABLES = """
CREATE TABLE IF NOT EXISTS straw_balance (number_id text PRIMARY KEY, available_micros bigint NOT NULL);
CREATE TABLE IF NOT EXISTS straw_hold (hold_id uuid PRIMARY KEY, number_id text NOT NULL, fare_micros bigint NOT NULL)
"""


class Design(Protocol):
    """What the race asks of a design."""

    async def open_number(self, number_id: str, funds_micros: int) -> None:
        """Make a number with so much money, before any worker starts."""

    async def prepare(self, number_id: str) -> None:
        """Do in a worker, before the race, what a running gateway would have done long ago."""

    async def send(self, number_id: str) -> bool:
        """Set one fare aside; False: refused."""


class ReadThenSpend:
    """The balance is a key in Redis; looking and taking are two calls."""

    def __init__(self, redis: "Redis", pause: Callable[[], Awaitable[object]] | None = None) -> None:
        """`pause` is waited for between looking and taking: where a scheduler, a network or a test may step in."""
        self._redis = redis
        self._pause = pause

    @classmethod
    @asynccontextmanager
    async def connect(cls, settings: Settings) -> AsyncIterator[Design]:
        """Open the store."""
        assert settings.redis_url is not None, "the race names the stores"
        pool = BlockingConnectionPool.from_url(settings.redis_url, max_connections=READERS, timeout=None)
        async with Redis.from_pool(pool) as redis:
            yield cls(redis)

    async def open_number(self, number_id: str, funds_micros: int) -> None:
        """Write the balance."""
        await self._redis.set(f"straw:{number_id}", funds_micros)

    async def prepare(self, number_id: str) -> None:
        """Nothing: a look at the balance would prove nothing."""

    async def send(self, number_id: str) -> bool:
        """Look, check, take."""
        available_micros = int(await self._redis.get(f"straw:{number_id}"))
        if available_micros <= 0:
            return False
        if self._pause is not None:
            await self._pause()
        await self._redis.decrby(f"straw:{number_id}", FARE_MICROS)
        return True


class RowLock:
    """The balance is a row in Postgres; each send locks it for the length of a transaction of its own."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    @classmethod
    @asynccontextmanager
    async def connect(cls, settings: Settings) -> AsyncIterator[Design]:
        """Open the store."""
        assert settings.database_url is not None, "the race names the stores"
        async with asyncpg.create_pool(settings.database_url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
            yield cls(pool)

    async def open_number(self, number_id: str, funds_micros: int) -> None:
        """Insert the balance."""
        await self._pool.execute(TABLES)
        await self._pool.execute("INSERT INTO straw_balance VALUES ($1, $2)", number_id, funds_micros)

    async def prepare(self, number_id: str) -> None:
        """Nothing: the pool is full from the start."""

    async def send(self, number_id: str) -> bool:
        """Lock, check, insert, lower, commit."""
        async with self._pool.acquire() as connection, connection.transaction():
            available_micros = await connection.fetchval(
                "SELECT available_micros FROM straw_balance WHERE number_id = $1 FOR UPDATE", number_id
            )
            if available_micros <= 0:
                return False
            await connection.execute("INSERT INTO straw_hold VALUES ($1, $2, $3)", uuid4(), number_id, FARE_MICROS)
            await connection.execute(
                "UPDATE straw_balance SET available_micros = available_micros - $2 WHERE number_id = $1",
                number_id,
                FARE_MICROS,
            )
            return True


class Ours:
    """The gateway's own parts, as a worker opens them."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._message = Message(Kind.TEMPLATE, user="16505551234", template_name="order_update")

    @classmethod
    @asynccontextmanager
    async def connect(cls, settings: Settings) -> AsyncIterator[Design]:
        """Open a gate."""
        async with open_gate(settings) as gate:
            yield cls(gate)

    async def open_number(self, number_id: str, funds_micros: int) -> None:
        """Insert the number and book a top-up."""
        pool = self._gate.ledger._pool
        await pool.execute(
            "INSERT INTO account (account_id, name, currency, created_at) VALUES ('straw', 'Straw', 'USD', now()) "
            "ON CONFLICT DO NOTHING"
        )
        await pool.execute(
            "INSERT INTO number (number_id, account_id, currency, created_at) VALUES ($1, 'straw', 'USD', now())",
            number_id,
        )
        await pool.execute("INSERT INTO balance VALUES ($1)", number_id)
        await self._gate.directory.load_numbers(self._gate.ledger)
        number = self._gate.directory.numbers[number_id]
        assert await self._gate.funds.credit(
            number, topup_id=uuid4(), amount_micros=funds_micros, reference=number_id, method="manual"
        )

    async def prepare(self, number_id: str) -> None:
        """Read the numbers."""
        await self._gate.directory.load_numbers(self._gate.ledger)

    async def send(self, number_id: str) -> bool:
        """Price and reserve, as outbound.send does between the parse and the upstream."""
        number, message = self._gate.directory.numbers[number_id], self._message
        tariff = self._gate.tariffs.at(number, self._gate.clock.now_ms())
        priced = price(message, template_category="utility", tariff=tariff)
        outcome = await self._gate.funds.reserve(number, message, [Fare(message.user, priced, message.user)])
        return isinstance(outcome, Reserved)


DESIGNS: dict[str, Callable[[Settings], AbstractAsyncContextManager[Design]]] = {
    "read then spend": ReadThenSpend.connect,
    "row lock": RowLock.connect,
    "ours": Ours.connect,
}
