"""Real servers on loopback, for tests: each in a folder of its own, on free ports, and dead when the test is.

The kernel kills them should this process die; the stack that they are started on kills them otherwise.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

import redis.exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from farebox.embedded.binaries import valkey_program
from farebox.embedded.child import Child, Leash, StopStep, spawn
from farebox.embedded.errors import EmbeddedError

HOST = "127.0.0.1"
AT_ONCE = (StopStep(SIGKILL, 5.0),)
TRIES = 3  # another program may take a port that was free when we looked
POLL_S = 0.02
PATIENCE_S = 60  # for what takes a second where nothing else runs
NOT_YET = (redis.exceptions.RedisError, OSError)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():  # noqa: ASYNC110  servers set no events
            await asyncio.sleep(POLL_S)


def free_ports(count: int) -> list[int]:
    """Return ports that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


async def start(
    stack: AsyncExitStack, name: str, command: Sequence[str | Path], log: Path, privileges: tuple[str, ...] = ()
) -> Child:
    """Start a program that ends with the stack."""
    nothing = os.open("/dev/null", os.O_RDONLY)
    try:
        child = await spawn(name, command, leash=Leash(privileges, nothing), log=log, stop_steps=AT_ONCE)
    finally:
        os.close(nothing)
    stack.push_async_callback(child.stop)
    return child


@dataclass
class Valkey:
    """A running server (or sentinel) and a client to steer it with."""

    port: int
    child: Child
    client: Redis
    start_again: Callable[[], Awaitable[Child]]

    async def kill(self) -> None:
        """End it as a power cut does."""
        os.kill(self.child.pid, SIGKILL)
        await self.child.wait()

    async def restart(self) -> None:
        """Start it anew at the same place; without a disk it has forgotten all but its place in a cluster."""
        self.child = await self.start_again()
        await self.child.wait_until(self.answers)

    async def answers(self) -> bool:
        """Tell whether it serves."""
        try:
            return bool(await self.client.ping())
        except NOT_YET:
            return False


async def start_valkey(
    stack: AsyncExitStack,
    folder: Path,
    settings: dict[str, str] | None = None,
    *,
    login: dict[str, str] | None = None,
    sentinel: str | None = None,
) -> Valkey:
    """Start a Valkey without a disk, or with the text of a configuration as a sentinel; wait until it answers."""
    for attempt in range(TRIES):
        try:
            return await _start_valkey(stack, folder / str(attempt), settings or {}, login or {}, sentinel)
        except EmbeddedError:
            if attempt == TRIES - 1:
                raise
    raise AssertionError


async def _start_valkey(
    stack: AsyncExitStack, folder: Path, settings: dict[str, str], login: dict[str, str], sentinel: str | None
) -> Valkey:
    port, bus = free_ports(2)
    fixed = {"port": str(port), "bind": HOST, "dir": str(folder)}
    if "cluster-enabled" in settings:
        fixed |= {"cluster-port": str(bus)}
    if sentinel is None:
        fixed |= {"save": "", "appendonly": "no", "repl-diskless-sync-delay": "0", **settings}
    words = [word for name, value in fixed.items() for word in (f"--{name}", value)]
    if sentinel is not None:
        words = [str(folder / "sentinel.conf"), *words, "--sentinel"]
    _make(folder, sentinel)
    start_again = partial(start, stack, "Valkey", [valkey_program(), *words], folder / "log")
    client = steering(port, **login)
    stack.push_async_callback(client.aclose)
    valkey = Valkey(port, await start_again(), client, start_again)
    await valkey.child.wait_until(valkey.answers)
    return valkey


def _make(folder: Path, sentinel: str | None) -> None:
    folder.mkdir(parents=True)
    if sentinel is not None:
        (folder / "sentinel.conf").write_text(sentinel)


def steering(port: int, **options: Any) -> Redis:
    """Return a client. One retry: what steers a failover cuts the connections of everybody."""
    return Redis(host=HOST, port=port, decode_responses=True, socket_timeout=5, retry=Retry(NoBackoff(), 1), **options)
