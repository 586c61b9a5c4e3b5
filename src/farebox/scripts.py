"""How the wallets' store is spoken to: scripts by digest, one short patience for every call, and a breaker.

A send waits for the store, and a client for the send: so a call gets `timeout_s` in all, connecting included. After a
call that failed, the next ones fail at once for a moment: whoever waits behind a dead store has waited once. Of a
cluster each server has a breaker of its own.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import redis.exceptions
from redis.exceptions import NoScriptError

from farebox.assets import asset
from farebox.redis_client import Client, Command, Rounds, open_redis

T = TypeVar("T")

# What a call costs once the store is known to be away: nothing. Long enough that a dead store is not asked by every
# send, short enough that sends resume as soon as it is back.
BREAK_S = 0.1

LAST_LOOK = 0.1  # of the time that a call has: what is left when the first timer goes off

LOADS = 2  # the second for a server that the first did not know of

Call = tuple[str, list[str], list[str]]  # a script's name, its keys and its arguments


class WalletUnavailableError(Exception):
    """The store did not answer in time: nothing may be assumed about what it did."""


class Scripts:
    """The scripts of `farebox/lua/`, on one Redis or Valkey, or a cluster of them."""

    def __init__(self, url: str, names: Sequence[str], *, timeout_s: float) -> None:
        self._rounds = Rounds(open_redis(url, timeout_s=timeout_s))
        self._timeout_s = timeout_s
        self._open_at: dict[str, float] = {}  # of each server's breaker, by the loop's clock
        shared = asset("lua/_shared.lua").read_text()
        self.texts = {name: shared + asset(f"lua/{name}.lua").read_text() for name in names}
        self._digests = {
            name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in self.texts.items()
        }

    @property
    def client(self) -> Client:
        """The store's client, for what is no script."""
        return self._rounds.client

    async def aclose(self) -> None:
        """Close the connections."""
        await self.client.aclose()

    def server(self, key: str) -> str:
        """Name the server that a key is on, as far as is known."""
        return self._rounds.lane(key)

    async def call(self, name: str, keys: list[str], arguments: list[str], *, repeat: bool = True) -> Any:
        """Run one script. With `repeat`, a second time where the connection turns out to be dead.

        After a restart of the store every pooled connection is. A script that may not run twice is not repeated.
        """

        async def run() -> Any:
            try:
                return await self.client.evalsha(self._digests[name], len(keys), *keys, *arguments)
            except NoScriptError:
                return await self.client.eval(self.texts[name], len(keys), *keys, *arguments)

        return await self.answer(run, server=self.server(keys[0]), repeat=repeat)

    async def many(self, calls: Sequence[Call], *, timeout_s: float | None = None) -> list[Any]:
        """Run scripts that may be repeated, in one round trip to each server; an answer, or an error, in each place.

        Where a server of several is away, the places of its calls have a WalletUnavailableError.
        """
        answers: list[Any] = [None] * len(calls)
        by_server: dict[str, list[int]] = {}
        for place, (_, keys, _) in enumerate(calls):
            by_server.setdefault(self.server(keys[0]), []).append(place)

        async def run(server: str, places: list[int]) -> None:
            asked = [calls[place] for place in places]
            try:
                found = await self.answer(lambda: self._known(asked), server=server, timeout_s=timeout_s)
            except WalletUnavailableError as error:
                found = [error] * len(places)
            for place, answer in zip(places, found, strict=True):
                answers[place] = as_raised(answer)

        if len(by_server) == 1:  # no task of its own for what nothing runs beside
            await run(*by_server.popitem())
        else:
            await asyncio.gather(*(run(server, places) for server, places in by_server.items()))
        return answers

    async def answer(
        self, call: Callable[[], Awaitable[T]], *, server: str = "", repeat: bool = True, timeout_s: float | None = None
    ) -> T:
        """Wait for the store; every way in which it can be away becomes one exception."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._open_at.get(server, 0):
            raise WalletUnavailableError("the wallet's store did not answer a moment ago")
        try:
            async with _patience(timeout_s or self._timeout_s):
                try:
                    return await call()
                except CUT_OFF:
                    if not repeat:
                        raise
                    return await call()
        except ON_ITS_WAY as error:
            raise unavailable(error) from error  # one slot, which says nothing about the server's others
        except AWAY as error:
            self._open_at[server] = loop.time() + BREAK_S
            raise unavailable(error) from error

    async def _known(self, calls: Sequence[Call]) -> list[Any]:
        """Run scripts, and those again that a server does not know: it restarted, or has just got the number's slot."""
        answers = await self._pipelined(calls, load=())
        for _ in range(LOADS):
            forgotten = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if not forgotten:
                break
            again = [calls[place] for place in forgotten]
            load = sorted({name for name, _, _ in again})
            for place, answer in zip(forgotten, await self._pipelined(again, load=load), strict=True):
                answers[place] = answer
        return answers

    async def _pipelined(self, calls: Sequence[Call], *, load: Sequence[str]) -> list[Any]:
        commands: list[Command] = [("SCRIPT LOAD", self.texts[name]) for name in load]
        commands += [("EVALSHA", self._digests[name], len(keys), *keys, *arguments) for name, keys, arguments in calls]
        answers = await self._rounds.run(commands)
        if answers and all(isinstance(answer, CUT_OFF) for answer in answers):
            raise answers[0]  # a cluster's client tells one by one that a server is away
        return answers[len(load) :]


@asynccontextmanager
async def _patience(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError in the block after so long; an answer that is there by then is read first.

    Where this process itself was late (a long batch, a collection of garbage), the timer would come before the answer
    that waits in the socket, and a store would be called dead that is not.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as timeout:
        last = seconds * LAST_LOOK
        timer = loop.call_later(seconds - last, lambda: timeout.reschedule(loop.time() + last))
        try:
            yield
        finally:
            timer.cancel()


CUT_OFF = (redis.exceptions.ConnectionError, OSError)

# A slot of a cluster that kept moving, whose keys are on two nodes, or that no node serves.
ON_ITS_WAY = (redis.exceptions.AskError, redis.exceptions.TryAgainError, redis.exceptions.ClusterError)

# Everything that means "the store is away or can not write": cut off, too slow, loading its data, a replica that was a
# master, a slot on its way, no memory left. An error in a script of ours is none of these.
AWAY = (
    *CUT_OFF,
    *ON_ITS_WAY,
    TimeoutError,
    redis.exceptions.TimeoutError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
)


def as_raised(answer: Any) -> Any:
    """Return an answer as it is, or what an error among the answers is raised as."""
    return unavailable(answer) if isinstance(answer, AWAY) else answer


def unavailable(error: BaseException) -> WalletUnavailableError:
    """Say that the store is away."""
    return WalletUnavailableError(f"the wallet's store does not answer: {type(error).__name__}")
