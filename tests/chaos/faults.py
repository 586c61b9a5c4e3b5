"""What goes wrong, one function a fault. Each returns when the fault has stopped; the rest is the product's."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial

import asyncpg

from chaos.stage import Stage
from chaos.wire import Post, Wire
from farebox.simulator import Behaviour

POINTS = (
    "before take",
    "after take",
    "after ledger",
    "after bytes",
    "after answer",
    "inside settle",
    "inside top-up",
    "inside rebuild",
)
A_WHILE_S = 2.0  # longer than every time-out of the wallet's and shorter than what clients wait
SLOW_S = 0.1  # WhatsApp's answer while a worker is to die between the bytes and the answer

Fault = Callable[[Stage], Awaitable[None]]


async def _at_point(stage: Stage, point: str, number: signal.Signals) -> int:
    if point == "after bytes":
        stage.whatsapp.behave(Behaviour(answer_delay_s=SLOW_S))
    waiting = asyncio.create_task(stage.order(point, number))
    if point == "inside rebuild":
        await stage.stores.flush_valkey()
    try:
        return await waiting
    finally:
        stage.whatsapp.behave()


async def worker_killed(stage: Stage, *, point: str) -> None:
    await _at_point(stage, point, signal.SIGKILL)


async def worker_stopped(stage: Stage, *, point: str) -> None:
    process = await _at_point(stage, point, signal.SIGSTOP)
    await asyncio.sleep(A_WHILE_S)
    os.kill(process, signal.SIGCONT)


async def gateway_killed(stage: Stage) -> None:
    await stage.kill_gateway()
    await stage.start_gateway()


async def gateway_and_valkey_killed(stage: Stage) -> None:
    """What neither had written down is gone; the ledger has it."""
    await asyncio.gather(stage.kill_gateway(), stage.stores.kill_valkey())
    await stage.stores.start_valkey()
    await stage.start_gateway()


async def valkey_killed(stage: Stage) -> None:
    await stage.stores.kill_valkey()
    await asyncio.sleep(A_WHILE_S)
    await stage.stores.start_valkey()


async def valkey_flushed(stage: Stage) -> None:
    await stage.stores.flush_valkey()


async def valkey_stopped(stage: Stage) -> None:
    stage.stores.signal_valkey(signal.SIGSTOP)
    await asyncio.sleep(A_WHILE_S)
    stage.stores.signal_valkey(signal.SIGCONT)


async def valkey_rolled_back(stage: Stage) -> None:
    """It comes back with what it knew some seconds ago: more money than there is."""
    copy = stage.folder / f"old-{stage.chance.randrange(10**9)}"
    stage.stores.copy_valkey(copy)
    await asyncio.sleep(A_WHILE_S)
    await stage.stores.kill_valkey()
    stage.stores.replace_valkey(copy)
    await stage.stores.start_valkey()


async def postgres_killed(stage: Stage) -> None:
    await stage.stores.kill_postgres()
    await asyncio.sleep(A_WHILE_S)
    await stage.stores.start_postgres()


async def postgres_stopped(stage: Stage) -> None:
    stage.stores.signal_postgres(signal.SIGSTOP)
    await asyncio.sleep(A_WHILE_S)
    stage.stores.signal_postgres(signal.SIGCONT)


async def postgres_full(stage: Stage) -> None:
    """Another program has all its connections; those of the gateway are cut."""
    ours = [await stage.stores.connect()]
    try:
        for _ in range(20):  # the gateway comes back as fast as it is cut off: until nothing is left for it
            await ours[0].execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name <> 'chaos'"
            )
            try:
                while True:
                    ours.append(await stage.stores.connect())
            except asyncpg.TooManyConnectionsError:
                await asyncio.sleep(A_WHILE_S / 20)
    finally:
        for connection in ours:
            await connection.close()


async def disk_full(stage: Stage) -> None:
    await stage.stores.fill_the_disk()
    await asyncio.sleep(A_WHILE_S)
    await stage.stores.kill_postgres()
    await stage.stores.start_postgres()


async def wire(stage: Stage, *, mode: Wire) -> None:
    stage.upstream.become(mode)
    await asyncio.sleep(A_WHILE_S)
    stage.upstream.become(Wire.WHOLE)


async def post(stage: Stage, *, mode: Post) -> None:
    stage.postman.mode = mode
    await asyncio.sleep(A_WHILE_S)
    stage.postman.mode = Post.ONCE


FAULTS: dict[str, Fault] = {
    **{f"worker kill -9 {point}": partial(worker_killed, point=point) for point in POINTS},
    **{f"worker SIGSTOP {point}": partial(worker_stopped, point=point) for point in POINTS},
    "gateway kill -9": gateway_killed,
    "gateway and Valkey kill -9": gateway_and_valkey_killed,
    "Valkey kill -9": valkey_killed,
    "Valkey FLUSHALL": valkey_flushed,
    "Valkey SIGSTOP": valkey_stopped,
    "Valkey from an old AOF": valkey_rolled_back,
    "PostgreSQL kill -9": postgres_killed,
    "PostgreSQL SIGSTOP": postgres_stopped,
    "PostgreSQL connection limit": postgres_full,
    "PostgreSQL disk full": disk_full,
    **{f"upstream {mode}": partial(wire, mode=mode) for mode in Wire if mode is not Wire.WHOLE},
    **{f"webhooks {mode}": partial(post, mode=mode) for mode in Post if mode is not Post.ONCE},
}
