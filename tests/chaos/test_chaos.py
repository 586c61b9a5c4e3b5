"""A short run of the most telling faults. `make chaos` runs all of them, again and again."""

import pytest

from chaos.cycle import run_cycle, run_out
from chaos.faults import FAULTS
from chaos.load import Load
from chaos.stage import Stage

SHORT = (
    "worker kill -9 after take",
    "worker kill -9 after bytes",
    "worker SIGSTOP after ledger",
    "worker kill -9 inside settle",
    "Valkey from an old AOF",
    "PostgreSQL kill -9",
    "upstream reset after the bytes",
    "webhooks 20 % lost, delivered again later",
)


@pytest.mark.timeout(600)  # each cycle has a minute to resolve; usually it takes seconds
async def test_nothing_is_lost_or_doubled_whatever_fails() -> None:
    assert set(SHORT) <= set(FAULTS)
    async with Stage.open(seed=1) as stage:
        load = Load(stage)
        outcomes = [await run_cycle(stage, load, fault) for fault in SHORT]
        assert all(not outcome.violations for outcome in outcomes), "\n".join(map(str, outcomes))
        assert await run_out(stage) == []
