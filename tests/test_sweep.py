"""The sweep, its command, and the daily comparison, on real stores."""

import argparse
from collections.abc import Sequence

import asyncpg
import pytest

from farebox import metrics
from farebox.commands import reconcile as reconcile_command
from farebox.commands import sweep as sweep_command
from farebox.core.hold import Event
from farebox.daily import DAILY_LOCK, reconcile_daily
from farebox.rows import Ended, Resolution
from farebox.simulator.behaviour import Behaviour
from farebox.sweep import SWEEP_LOCK, Sweep
from harness import NUMBER, USER, World, template

MONTH_MS = 31 * 86_400_000


@pytest.fixture
async def holds(world: World) -> list[str]:
    """Three messages that nothing more is heard of; their holds."""
    await world.fund("1.00")
    world.whatsapp.behave(Behaviour(statuses=()))
    return [(await world.send(template())).headers["X-Farebox-Hold"] for _ in range(3)]


async def skew_the_wallet(world: World) -> None:
    await world.gate.wallet._redis.hincrby(f"farebox:{{{NUMBER}}}:wallet", "available", -5_000)


async def drifts() -> dict[str, float]:
    found = (sample for metric in metrics.LEDGER_DRIFT.collect() for sample in metric.samples)
    return {sample.labels["kind"]: sample.value for sample in found}


async def test_one_bad_hold_does_not_keep_the_others(
    world: World, holds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve, bad = world.gate.funds.resolve, holds[1]

    async def broken(event: Event, resolutions: Sequence[Resolution]) -> list[Ended]:
        if any(str(resolution.hold.hold_id) == bad for resolution in resolutions):
            raise ValueError("this one breaks everything")
        return await resolve(event, resolutions)

    before = metrics.SWEEP_FAILURES.labels("expire")._value.get()
    monkeypatch.setattr(world.gate.funds, "resolve", broken)
    world.gate.clock._ahead_ms += MONTH_MS
    swept = await world.sweep.run()
    assert swept is not None
    assert (swept.expired, swept.failed) == (2, 1)
    assert metrics.SWEEP_FAILURES.labels("expire")._value.get() == before + 1
    assert metrics.OVERDUE._value.get() > 0
    monkeypatch.undo()
    swept = await world.sweep.run()
    assert swept is not None
    assert (swept.expired, swept.failed) == (1, 0)
    assert metrics.OVERDUE._value.get() == 0
    assert await world.balance() == {"available": "1.00", "held": "0.00"}


async def test_what_the_sweep_charges_is_counted_as_spent(world: World, holds: list[str]) -> None:
    wamid = (await world.message(holds[0]))["wamid"]
    status = {"id": wamid, "status": "delivered", "timestamp": "1795600000", "recipient_id": USER}  # without its price
    value = {"metadata": {"phone_number_id": NUMBER}, "statuses": [status]}
    await world.whatsapp.post_event("messages", value)
    await world.books_kept()
    spent = metrics.SPEND.labels("USD", "utility", "North America")._value
    before = spent.get()
    world.gate.clock._ahead_ms += MONTH_MS
    swept = await world.sweep.run()
    assert swept is not None
    assert swept.expired == 3
    assert round(spent.get() - before, 6) == 0.0034
    assert await world.balance() == {"available": "0.9966", "held": "0.00"}


async def test_statuses_that_can_not_be_decided_do_not_keep_the_wallets(
    world: World, holds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> int:
        raise ValueError("a status nobody thought of")

    monkeypatch.setattr("farebox.unmatched.retry", broken)
    await skew_the_wallet(world)
    swept = await world.sweep.run(whole=True)
    assert swept is not None
    assert (swept.decided, swept.rebuilt, swept.failed) == (0, 1, 1)
    assert len(holds) == 3
    assert await world.differences() == []


async def test_two_looks_are_needed_before_a_wallet_is_rebuilt(world: World, holds: list[str]) -> None:
    await skew_the_wallet(world)
    one, two = await world.sweep.run(), await world.sweep.run()
    assert one is not None
    assert two is not None
    assert (one.rebuilt, two.rebuilt) == (0, 1)
    assert await world.balance() == {"available": "0.9898", "held": "0.0102"}
    assert len(holds) == 3


async def test_the_command_says_what_it_did_and_that_another_is_at_it(
    world: World, holds: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    await skew_the_wallet(world)
    options = argparse.Namespace()
    assert await sweep_command.run(world.gate.settings, options) == 0
    assert capsys.readouterr().out == "0 holds ended, 0 early statuses decided, 1 wallets rebuilt\n"
    connection = await asyncpg.connect(world.gate.settings.database_url)
    await connection.execute("SELECT pg_advisory_lock($1)", SWEEP_LOCK)
    assert await sweep_command.run(world.gate.settings, options) == 0
    assert capsys.readouterr().out == "another worker is sweeping at the moment; nothing was done here\n"
    assert await Sweep(world.gate).run() is None
    await connection.close()
    assert len(holds) == 3


async def test_the_books_are_compared_once_a_day(world: World, holds: list[str]) -> None:
    await skew_the_wallet(world)
    assert await reconcile_daily(world.gate)
    assert (await drifts())["wallet"] == 1
    await world.sweep.run(whole=True)  # mended, but the next comparison is tomorrow's
    metrics.LEDGER_DRIFT.labels("wallet").set(0)  # a worker that has just started
    assert not await reconcile_daily(world.gate)
    assert (await drifts())["wallet"] == 1
    connection = await asyncpg.connect(world.gate.settings.database_url)
    await connection.execute("SELECT pg_advisory_lock($1)", DAILY_LOCK)
    world.gate.clock._ahead_ms += 86_400_000
    assert not await reconcile_daily(world.gate)
    await connection.close()
    assert await reconcile_daily(world.gate)
    assert await drifts() == dict.fromkeys(("charges", "topups", "movements", "balance", "usage", "wallet"), 0)
    assert len(holds) == 3


async def test_reconcile_mends_a_wallet_and_compares_again(
    world: World, holds: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def options(**given: object) -> argparse.Namespace:
        return argparse.Namespace(
            **{"number": None, "repair": False, "json": False, "meta": False, "month": None, **given}
        )

    await skew_the_wallet(world)
    assert await reconcile_command.run(world.gate.settings, options()) == 1
    *_, sentence, last = capsys.readouterr().out.splitlines()
    assert sentence.startswith(
        f"number {NUMBER} (USD): the wallet has 0.9848 available and 0.0102 held, the ledger 0.9"
    )
    assert last == "1 numbers compared, 1 differ"
    assert await reconcile_command.run(world.gate.settings, options(repair=True, number=[NUMBER])) == 0
    told = capsys.readouterr().out.splitlines()
    assert told == [f"number {NUMBER}: its wallet was rebuilt from the ledger", "1 numbers compared, 0 differ"]
    assert await reconcile_command.run(world.gate.settings, options()) == 0
    assert len(holds) == 3
