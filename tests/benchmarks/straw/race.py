"""The race: many sends at the same moment, from several worker processes, on one number."""

import asyncio
import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from uuid import uuid4

import uvloop

from benchmarks.straw.designs import DESIGNS, FARE_MICROS
from farebox.config import Settings

WORKERS = 2
WARM_SENDS = 200  # of each worker on a number of their own: opens connections, loads scripts, prepares statements
WORKER_TIMEOUT_S = 300  # a worker that says nothing for so long has died


@dataclass(frozen=True, slots=True)
class Heat:
    """One run of one design."""

    design: str
    sends: int
    funded: int  # fares that there was money for
    accepted: int
    unavailable: int  # sends that got no answer in time (a 503); nothing may be assumed about them
    seconds: float

    @property
    def allowed(self) -> int:
        """Return how many sends should have been accepted."""
        return min(self.sends, self.funded)

    @property
    def overspend_micros(self) -> int:
        """Return what was spent and was not there."""
        return max(0, self.accepted - self.funded) * FARE_MICROS

    @property
    def sends_a_second(self) -> float:
        """Return answers a second, refusals among them."""
        return self.sends / self.seconds


@dataclass(frozen=True, slots=True)
class Lap:
    """What one worker says of its part. Times are of the machine's steady clock, which processes share."""

    accepted: int
    unavailable: int
    started_ns: int
    ended_ns: int


async def race(design: str, settings: Settings, *, sends: int, funded: int) -> Heat:
    """Let all sends go at once, an equal part from each worker, on a new number with money for `funded` of them."""
    number_id, warm_id = (f"{name}-{uuid4()}" for name in ("race", "warm"))
    async with DESIGNS[design](settings) as entry:
        await entry.open_number(number_id, funded * FARE_MICROS)
        await entry.open_number(warm_id, WORKERS * WARM_SENDS * FARE_MICROS)
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(WORKERS):
        here, there = context.Pipe()
        arguments = (there, design, settings.database_url, settings.redis_url, number_id, warm_id, sends // WORKERS)
        process = context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        there.close()  # so that a worker's death ends the wait for it
        pipes.append(here)
        processes.append(process)
    try:
        for pipe in pipes:
            assert await _heard(pipe) == "ready"
        for pipe in pipes:
            pipe.send("go")
        laps: list[Lap] = [await _heard(pipe) for pipe in pipes]
    finally:
        for process in processes:
            process.kill()
            process.join()
    return Heat(
        design,
        sends=sends // WORKERS * WORKERS,
        funded=funded,
        accepted=sum(lap.accepted for lap in laps),
        unavailable=sum(lap.unavailable for lap in laps),
        seconds=(max(lap.ended_ns for lap in laps) - min(lap.started_ns for lap in laps)) / 1e9,
    )


async def _heard(pipe: "Connection") -> object:
    assert await asyncio.to_thread(pipe.poll, WORKER_TIMEOUT_S), "a worker of the race hangs"
    return pipe.recv()


def _work(pipe: "Connection", design: str, database_url: str, redis_url: str, *numbers_and_sends: object) -> None:
    # A busy machine is no dead store.
    settings = Settings(database_url=database_url, redis_url=redis_url, wallet_timeout_s=2)
    uvloop.run(_run(pipe, design, settings, *numbers_and_sends))  # type: ignore[arg-type]


async def _run(pipe: "Connection", design: str, settings: Settings, number_id: str, warm_id: str, sends: int) -> None:
    async with DESIGNS[design](settings) as runner:
        await runner.prepare(number_id)
        await asyncio.gather(*(runner.send(warm_id) for _ in range(WARM_SENDS)))
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)
        started_ns = time.monotonic_ns()
        outcomes = await asyncio.gather(*(runner.send(number_id) for _ in range(sends)), return_exceptions=True)
        ended_ns = time.monotonic_ns()
    accepted = sum(outcome is True for outcome in outcomes)
    unavailable = sum(isinstance(outcome, BaseException) for outcome in outcomes)
    pipe.send(Lap(accepted, unavailable, started_ns, ended_ns))
