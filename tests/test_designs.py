"""Three designs of a balance under the same concurrency: which overspend, and which can not."""

import asyncio

import pytest
from redis.asyncio import Redis

from benchmarks.straw.designs import DESIGNS, FARE_MICROS, Design, ReadThenSpend
from benchmarks.straw.race import race
from farebox.config import Settings

FUNDED = 37
SENDS = 120


async def accepted(*workers: Design) -> int:
    """Let all sends go at once, from all workers, with money for a part of them; return how many were accepted."""
    await workers[0].open_number("contested", FUNDED * FARE_MICROS)
    for worker in workers:
        await worker.prepare("contested")
    outcomes = await asyncio.gather(*(workers[n % len(workers)].send("contested") for n in range(SENDS)))
    return sum(outcomes)


@pytest.mark.parametrize("design", ["row lock", "ours"])
async def test_two_workers_accept_exactly_what_there_is_money_for(settings: Settings, design: str) -> None:
    async with DESIGNS[design](settings) as one, DESIGNS[design](settings) as other:
        assert await accepted(one, other) == FUNDED


async def test_read_then_spend_accepts_every_send_that_looks_in_time(redis_url: str) -> None:
    """All look before the first one takes: not by luck, each waits for the others in between."""
    together = asyncio.Barrier(SENDS)
    async with Redis.from_url(redis_url, max_connections=SENDS) as redis:
        assert await accepted(ReadThenSpend(redis, together.wait)) == SENDS
        assert int(await redis.get("straw:contested")) == (FUNDED - SENDS) * FARE_MICROS


async def test_read_then_spend_is_right_where_nothing_happens_at_once(redis_url: str) -> None:
    """The fault is in the concurrency alone, which is why it is not found by trying it out."""
    async with Redis.from_url(redis_url) as redis:
        design = ReadThenSpend(redis)
        await design.open_number("alone", FUNDED * FARE_MICROS)
        assert [await design.send("alone") for _ in range(SENDS)].count(True) == FUNDED


@pytest.mark.parametrize("design", ["row lock", "ours"])
async def test_so_do_two_processes(settings: Settings, design: str) -> None:
    heat = await race(design, settings, sends=SENDS, funded=FUNDED)
    assert (heat.accepted, heat.unavailable, heat.overspend_micros) == (FUNDED, 0, 0)
