"""The live state of numbers in Redis: available, held, windows, pools. Fast, and disposable.

Every change is a script in `farebox/lua/`, one verb a file, so that what is read and what is written can not come
apart. All keys of a number share a hash tag and so a slot. The ledger can rebuild every wallet; `rebuild` here only
writes what it is told.
"""

import hashlib
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import redis.exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from farebox.asks import Ask, Decision, Judgement, Mode, State, Taken, TermSeen
from farebox.assets import asset
from farebox.batch import Batcher
from farebox.core.tariff import Window

# Longer than any window (free entry point: up to 7 days), so that expiry only cleans up and never decides.
KEEP_WINDOWS_MS = 8 * 86_400_000
CREDIT_MARK_S = 3600  # a repeated credit comes within seconds, from a retry; the mark only has to outlive that
MAX_BATCH = 500  # sends in one round trip: a script holds the store for about 5 microseconds a send
MAX_SENDS_PER_CALL = 100  # of one number in one script call, so that other numbers get their turn
MAX_WAITING = 10_000  # sends waiting for the wallet: at 5,000 a second two seconds' worth, past that a 503 is kinder
REBUILD_CHUNK = 5_000  # fields in one command: keeps each below a megabyte and a few milliseconds
UNIT_BACK = "back"  # of a message that was not delivered: its free unit returns to the pool
# Of the keys that a quote is asked on, should a crash leave them behind: the same transaction deletes them.
SCRATCH_MS = 10_000
SCRIPTS = ("take", "close", "extend", "credit", "open", "converse")


class WalletUnavailableError(Exception):
    """The store did not answer in time: nothing may be assumed about what it did."""


@dataclass(frozen=True, slots=True)
class Position:
    """A wallet's money, as it stands."""

    epoch: int
    available_micros: int
    held_micros: int


class Wallet:
    """The wallets of all numbers, in one Redis or Valkey."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        # One retry at once: after a restart of the store every pooled connection is dead, and every script here may be
        # repeated. The timeout is short: a send waits for the store, and a client for the send.
        self._redis: Redis = Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 1),
            health_check_interval=0,
        )
        self._scripts = {name: asset(f"lua/{name}.lua").read_text() for name in SCRIPTS}
        self._digests = {
            name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in self._scripts.items()
        }
        self._takes: Batcher[Ask, Decision | None] = Batcher(
            self._take_batch, max_batch=MAX_BATCH, max_waiting=MAX_WAITING
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def ping(self) -> None:
        """Raise WalletUnavailableError unless the store answers."""
        await _answer(self._redis.ping())

    async def take(self, ask: Ask) -> Decision | None:
        """Decide about a send and take its fare in one step; None where the wallet is missing and must be rebuilt."""
        return await self._takes.submit(ask)

    async def state(self, number_id: str, user: str) -> State | None:
        """Return everything that a decision about a user looks at; None where the wallet is missing."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hgetall(_key(number_id, "wallet"))
        pipeline.hgetall(_key(number_id, f"user:{user}"))
        wallet, recipient = await _answer(pipeline.execute())
        return State(wallet, recipient) if wallet else None

    async def judge(self, ask: Ask, state: State) -> Judgement:
        """Decide about a send of one part in a state, real or supposed. The number's own keys are not touched.

        The same script decides as for a send, on keys that exist for one transaction.
        """
        assert ask.mode is Mode.DRY, "a judgement takes nothing"
        tag = f"{ask.number_id}:quote:{uuid4()}"
        keys, arguments = _take_arguments([ask], tag)
        wallet_key, _, user_key = keys
        pipeline = self._redis.pipeline(transaction=True)
        for key, fields in ((wallet_key, state.wallet), (user_key, state.recipient)):
            if fields:
                copied: dict[Any, Any] = {**fields}
                pipeline.hset(key, mapping=copied)
                pipeline.pexpire(key, SCRATCH_MS)
        pipeline.eval(self._scripts["take"], len(keys), *keys, *arguments)
        pipeline.delete(wallet_key, user_key)
        epoch, send = (await _answer(pipeline.execute()))[-2]
        (*_, terms) = send[2]
        seen = tuple(TermSeen(bool(holds), evidence, bool(paid)) for holds, evidence, paid in terms)
        return Judgement(_decision(epoch, send), seen)

    async def close(self, number_id: str, ends: Sequence[tuple[UUID, int, str]], epoch: int) -> None:
        """Give back what holds had set aside that the ledger ended in this epoch of the number, less the billed fare.

        An end is (hold id, billed micro-units, what becomes of its free unit: "", UNIT_BACK, or the pool it is now of).
        """
        arguments = [str(epoch)]
        arguments += [text for hold_id, billed, unit in ends for text in (str(hold_id), str(billed), unit)]
        await self._call("close", [_key(number_id, "wallet"), _key(number_id, "holds")], arguments)

    async def extend(
        self, number_id: str, hold_id: UUID, billed_micros: int, epoch: int | None, *, pool: str | None = None
    ) -> int | None:
        """Raise a hold to a dearer bill; return the wallet's epoch, None where the wallet is missing.

        With an epoch, nothing changes unless the wallet is of that epoch. With a pool the hold takes a free unit of it.
        """
        keys = [_key(number_id, "wallet"), _key(number_id, "holds")]
        arguments = ["" if epoch is None else str(epoch), str(hold_id), str(billed_micros), pool or ""]
        answer = await self._call("extend", keys, arguments)
        return int(answer) if answer else None

    async def credit(self, number_id: str, topup_id: UUID, amount_micros: int, epoch: int) -> int | None:
        """Add money that the ledger has booked; return available, None where the wallet must be (or was) rebuilt."""
        keys = [_key(number_id, "wallet"), _key(number_id, f"credit:{topup_id}")]
        answer = await self._call("credit", keys, [str(epoch), str(amount_micros), str(CREDIT_MARK_S)])
        return int(answer) if answer else None

    async def open_windows(self, number_id: str, windows: Iterable[Window]) -> None:
        """Open windows; they only grow."""
        keys, arguments = [], [str(KEEP_WINDOWS_MS)]
        for user, name, ends_at_ms, start_ms in windows:
            keys.append(_key(number_id, f"user:{user}"))
            arguments += [name, str(ends_at_ms), "" if start_ms is None else str(start_ms)]
        if keys:
            await self._call("open", keys, arguments)

    async def close_windows(self, number_id: str, users: Iterable[str], names: Sequence[str]) -> None:
        """Close windows that turned out not to be open."""
        for user in users:
            await _answer(self._redis.hdel(_key(number_id, f"user:{user}"), *names))

    async def converse(self, number_id: str, user: str, *, category: str, opener: str, state: str, now_ms: int) -> None:
        """Write what became of a conversation ("<end>:<paid>:<opener>"), or forget it ("")."""
        arguments = [category, opener, state, str(KEEP_WINDOWS_MS), str(now_ms)]
        await self._call("converse", [_key(number_id, f"user:{user}")], arguments)

    async def position(self, number_id: str) -> Position | None:
        """Return a wallet's money, None where the wallet is missing."""
        epoch, available, held = await _answer(
            self._redis.hmget(_key(number_id, "wallet"), ["epoch", "available", "held"])
        )
        return None if epoch is None else Position(int(epoch), int(available), int(held))

    async def rebuild(
        self,
        number_id: str,
        position: Position,
        *,
        holds: Sequence[tuple[str, int, str | None]],
        pools: dict[str, int],
        windows: Iterable[Window],
        conversations: Iterable[tuple[str, str, str]],
    ) -> None:
        """Write a wallet anew. While it is being written it is missing, so nobody takes from half of it."""
        wallet, open_holds = _key(number_id, "wallet"), _key(number_id, "holds")
        await _answer(self._redis.delete(wallet, open_holds))
        for start in range(0, len(holds), REBUILD_CHUNK):
            fields: dict[Any, Any] = {
                hold: f"{fare}:1:{pool or ''}" for hold, fare, pool in holds[start : start + REBUILD_CHUNK]
            }
            await _answer(self._redis.hset(open_holds, mapping=fields))
        rows = list(windows)
        for start in range(0, len(rows), REBUILD_CHUNK):
            await self.open_windows(number_id, rows[start : start + REBUILD_CHUNK])
        for user, category, state in conversations:
            await _answer(self._redis.hset(_key(number_id, f"user:{user}"), f"conv:{category}", state))
        fields = {
            "epoch": str(position.epoch),
            "available": str(position.available_micros),
            "held": str(position.held_micros),
            **{f"pool:{name}": str(used) for name, used in pools.items()},
        }
        await _answer(self._redis.hset(wallet, mapping=fields))

    async def _take_batch(self, asks: list[Ask]) -> list[Decision | None]:
        """One pipelined round trip for all sends in flight; a script call for each number among them."""
        calls = _group(asks)
        for attempt in ("as it is", "with the script loaded"):
            pipeline = self._redis.pipeline(transaction=False)
            if attempt == "with the script loaded":
                pipeline.script_load(self._scripts["take"])
            for places in calls:
                keys, arguments = _take_arguments([asks[place] for place in places])
                pipeline.evalsha(self._digests["take"], len(keys), *keys, *arguments)
            answers = await _answer(pipeline.execute(raise_on_error=False))
            # A store that restarted has forgotten the script. Repeating is safe: what was taken is answered again.
            if not any(isinstance(answer, NoScriptError) for answer in answers):
                break
        decisions: list[Decision | None] = [None] * len(asks)
        for places, answer in zip(calls, answers[-len(calls) :], strict=True):
            if isinstance(answer, RedisError):
                raise _unavailable(answer) if isinstance(answer, _AWAY) else answer
            epoch, *results = answer
            for place, result in zip(places, results, strict=bool(epoch)):
                decisions[place] = _decision(epoch, result)
        return decisions

    async def _call(self, script: str, keys: list[str], arguments: list[str]) -> Any:
        try:
            return await _answer(self._redis.evalsha(self._digests[script], len(keys), *keys, *arguments))
        except NoScriptError:
            return await _answer(self._redis.eval(self._scripts[script], len(keys), *keys, *arguments))


def _key(number_id: str, name: str) -> str:
    return f"farebox:{{{number_id}}}:{name}"


def _decision(epoch: str, send: list[Any]) -> Decision:
    outcome, available, *parts = send
    return Decision(
        taken=outcome != "refused",
        overdrawn=outcome == "overdrawn",
        available_micros=int(available),
        parts=tuple(Taken(term - 1, evidence, bool(paid), rides) for term, evidence, paid, rides, *_ in parts),
        epoch=int(epoch),
    )


def _group(asks: list[Ask]) -> list[list[int]]:
    """Return the places of the asks that share a number (and its rules), cut to what one call may carry."""
    by_number: dict[tuple[str, int, bool, str], list[int]] = {}
    for place, ask in enumerate(asks):
        by_number.setdefault((ask.number_id, ask.block_at_micros, ask.cover, ask.mode), []).append(place)
    return [
        places[start : start + MAX_SENDS_PER_CALL]
        for places in by_number.values()
        for start in range(0, len(places), MAX_SENDS_PER_CALL)
    ]


def _take_arguments(asks: list[Ask], tag: str | None = None) -> tuple[list[str], list[str]]:
    """Return keys and arguments of take.lua; `tag` names other keys than the number's own."""
    first = asks[0]
    tag = tag or first.number_id
    keys = [_key(tag, "wallet"), _key(tag, "holds")]
    arguments = [
        str(first.now_ms),
        str(first.block_at_micros),
        "cover" if first.cover else "",
        first.mode,
        str(KEEP_WINDOWS_MS),
    ]
    for ask in asks:
        arguments.append(str(len(ask.parts)))
        for part in ask.parts:
            keys.append(_key(tag, f"user:{part.user}"))
            arguments += [part.hold_id, part.offer]
    return keys, arguments


async def _answer(call: Awaitable[Any] | Any) -> Any:
    """Wait for the store; every way in which it can be away becomes one exception."""
    try:
        return await call
    except _AWAY as error:
        raise _unavailable(error) from error


# Everything that means "the store is away or can not write": cut off, too slow, loading its data, a replica that was a
# master, a cluster without a majority, no memory left. An error in a script of ours is none of these.
_AWAY = (
    OSError,
    TimeoutError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.MasterDownError,
    redis.exceptions.OutOfMemoryError,
)


def _unavailable(error: BaseException) -> WalletUnavailableError:
    return WalletUnavailableError(f"the wallet's store does not answer: {type(error).__name__}")
