"""In which order the stores are asked, and what a fault between two steps leaves behind.

Each test stops the world at one point and looks: the wallet may show too little there, never too much.
"""

import asyncio
import contextlib
from typing import Any
from uuid import uuid4

import pytest

from farebox import inbound as inbound_module
from farebox.asks import Ask, Decision
from farebox.core.hold import Event, State
from farebox.core.reply import Reply
from farebox.directory import Number
from farebox.funds import Reserved
from farebox.gate import open_gate
from farebox.ledger import LedgerUnavailableError
from farebox.rows import KnownHold, Resolution
from farebox.sql import queries
from farebox.sweep import SWEEP_LOCK, Sweep
from farebox.wallet import Position, WalletUnavailableError
from harness import NUMBER, USER, World, template
from test_funds import FARE, reserve
from test_inbound import REGULAR, inbound, payload, post, sent, status

START = 10 * FARE
DEARER = 25_000


@pytest.fixture
async def world(world: World) -> World:
    """A number with money for ten fares, whose wallet is there."""
    await world.fund("0.034")
    assert await position(world) == (START, 0)
    return world


def number(world: World) -> Number:
    return world.gate.directory.numbers[NUMBER]


async def position(world: World) -> tuple[int, int]:
    """Available and held, as the wallet shows them."""
    found = await money(world)
    return found.available_micros, found.held_micros


async def money(world: World) -> Position:
    found = await world.gate.wallet.position(NUMBER)
    if found is None:  # a top-up alone need not have made a wallet
        await world.gate.rebuild(number(world), stale_epoch=None)
        found = await world.gate.wallet.position(NUMBER)
    assert found is not None
    return found


async def reserved_hold(world: World) -> tuple[Reserved, KnownHold]:
    reserved = await reserve(world.gate, number(world))
    assert isinstance(reserved, Reserved)
    (hold,) = await world.gate.ledger.find_holds([reserved.hold_id], [])
    return reserved, hold


async def until_it_waits_for_a_lock(world: World, task: "asyncio.Task[Any]") -> None:
    """Go on when another statement waits for a lock, or when the task is through without having waited."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not task.done() and not await world.gate.ledger._pool.fetchval(waiting):
        pass  # the question itself lets the others run


async def test_a_take_that_is_repeated_takes_nothing_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer of a store may be lost: asking again must not take again."""
    take, asks = world.gate.wallet.take, []

    async def noted(ask: Ask) -> Decision | None:
        asks.append(ask)
        return await take(ask)

    monkeypatch.setattr(world.gate.wallet, "take", noted)
    await reserve(world.gate, number(world))
    again = await take(asks[-1])
    assert again is not None
    assert again.taken
    assert await position(world) == (START - FARE, FARE)


async def test_a_credit_that_is_repeated_adds_nothing_more(world: World) -> None:
    epoch, topup_id = (await money(world)).epoch, uuid4()
    for _ in range(2):
        assert await world.gate.wallet.credit(NUMBER, topup_id, 1_000, epoch) == START + 1_000


async def test_a_late_webhook_does_not_shorten_a_window(world: World) -> None:
    async def ends_at_ms() -> int | None:
        state = await world.gate.wallet.state(NUMBER, USER)
        assert state is not None
        return state.window_end_ms("csw")

    await world.whatsapp.write_in(USER)
    await world.books_kept()
    before = await ends_at_ms()
    assert before is not None
    assert (await post(world, payload(**inbound())))[0] == 200  # written in 1970
    assert await ends_at_ms() == before


async def test_recording_waits_for_a_rebuild_under_way_and_is_then_fenced_off(world: World) -> None:
    """The send took from a wallet that is being replaced: its hold must not slip in beside the new epoch."""
    pool = world.gate.ledger._pool
    async with pool.acquire() as connection, connection.transaction():
        await connection.fetchval(queries()["lock_numbers"], [NUMBER])
        await connection.execute("UPDATE number SET epoch = epoch + 1 WHERE number_id = $1", NUMBER)
        sending = asyncio.create_task(reserve(world.gate, number(world)))
        await until_it_waits_for_a_lock(world, sending)
    assert isinstance(await sending, Reserved)
    assert (
        await pool.fetchval("SELECT count(*) FROM hold JOIN number n USING (number_id) WHERE hold.epoch < n.epoch") == 0
    )
    assert await position(world) == (START - FARE, FARE)
    assert await world.differences() == []


async def test_a_rebuild_waits_for_a_hold_that_is_being_recorded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebuild that starts between the INSERT and its commit must know the hold."""
    fetch, rebuilding = world.gate.ledger.fetch, []

    async def interrupted(query: str, *arguments: Any) -> Any:
        if query != "record_holds":
            return await fetch(query, *arguments)
        async with world.gate.ledger._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(queries()[query], *arguments)
            stale = (await money(world)).epoch
            rebuilding.append(asyncio.create_task(world.gate.rebuild(number(world), stale_epoch=stale)))
            await until_it_waits_for_a_lock(world, rebuilding[0])
        return rows

    monkeypatch.setattr(world.gate.ledger, "fetch", interrupted)
    assert isinstance(await reserve(world.gate, number(world)), Reserved)
    await rebuilding[0]
    assert await position(world) == (START - FARE, FARE)
    assert await world.differences() == []


async def test_one_status_in_two_workers_is_charged_once(world: World) -> None:
    """Both have looked before either has charged."""
    _, hold = await reserved_hold(world)
    async with open_gate(world.gate.settings) as other:
        ways = (gate.funds.resolve(Event.DELIVER, [Resolution(hold, FARE)]) for gate in (world.gate, other))
        assert sorted(len(ended) for ended in await asyncio.gather(*ways)) == [0, 1]
    assert await position(world) == (START - FARE, 0)
    assert await world.differences() == []


async def test_an_answer_that_comes_after_the_delivery_reopens_nothing(world: World) -> None:
    reserved, hold = await reserved_hold(world)
    await world.gate.funds.resolve(Event.DELIVER, [Resolution(hold, FARE)])
    await world.gate.funds.accept(reserved, "wamid.late", None, may_gather=False)
    (found,) = await world.gate.ledger.find_holds([], ["wamid.late"])
    assert found.state is State.SETTLED
    assert await world.differences() == []


async def away(*_: Any, **__: Any) -> Any:
    raise LedgerUnavailableError


async def test_a_release_that_the_ledger_did_not_take_gives_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, hold = await reserved_hold(world)
    monkeypatch.setattr(world.gate.ledger, "end", away)
    with pytest.raises(LedgerUnavailableError):
        await world.gate.funds.resolve(Event.FAIL, [Resolution(hold, 0)])
    assert await position(world) == (START - FARE, FARE)


async def test_a_crash_inside_a_dearer_bill_never_shows_too_much(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger has charged and the wallet has not heard of it: what is available there must be there."""
    _, hold = await reserved_hold(world)

    async def lost(*_: Any, **__: Any) -> None:
        raise WalletUnavailableError

    monkeypatch.setattr(world.gate.wallet, "close", lost)
    with contextlib.suppress(WalletUnavailableError):
        await world.gate.funds.resolve(Event.DELIVER, [Resolution(hold, DEARER)])
    assert await world.gate.ledger._pool.fetchval("SELECT balance_micros FROM balance") == START - DEARER
    assert (await position(world))[0] <= START - DEARER


async def test_a_top_up_that_the_ledger_did_not_take_adds_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.gate.ledger, "fetch_one", away)
    with pytest.raises(LedgerUnavailableError):
        await world.gate.funds.credit(
            number(world), topup_id=uuid4(), amount_micros=1_000, reference="r", method="manual"
        )
    assert await position(world) == (START, 0)


async def test_nothing_leaves_while_the_ledger_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.gate.ledger, "record", away)
    answer = await world.send(template())
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert world.whatsapp.sent == []


async def test_one_worker_sweeps_at_a_time(world: World) -> None:
    async with world.gate.ledger.elected(SWEEP_LOCK) as elected:
        assert elected
        assert await Sweep(world.gate).run() is None
    assert await Sweep(world.gate).run() is not None


async def test_the_sweep_mends_only_what_it_saw_twice(world: World) -> None:
    """A send that has taken and not recorded yet looks like a loss, once."""
    await world.gate.wallet.extend(NUMBER, uuid4(), FARE, None, aside=(0, None), category="marketing", key_id=None)
    epoch = (await money(world)).epoch
    await world.sweep.run()
    assert (await money(world)).epoch == epoch
    await world.sweep.run()
    assert await position(world) == (START, 0)


async def test_statuses_of_every_entry_count(world: World) -> None:
    wamids = [await sent(world) for _ in range(2)]
    both, second = (payload(statuses=[status(wamid, pricing=REGULAR)]) for wamid in wamids)
    both["entry"] += second["entry"]
    assert (await post(world, both))[0] == 200
    assert [(await world.message(wamid))["state"] for wamid in wamids] == ["settled", "settled"]


async def test_a_number_can_not_end_the_hold_of_another(world: World) -> None:
    wamid = await sent(world)
    await world.add_number("200", app_secret="its-own-secret")
    failed = payload("200", statuses=[status(wamid, "failed")])
    assert (await post(world, failed, secret="its-own-secret"))[0] == 200
    assert (await world.message(wamid))["state"] == "accepted"


async def test_inbound_does_not_wait_for_the_bookkeeping(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bookkeeping here ends only when the application has answered."""
    relay, relayed, kept_after_relay = inbound_module._relay, asyncio.Event(), []

    async def noted(*arguments: Any, **named: Any) -> Reply:
        reply = await relay(*arguments, **named)
        relayed.set()
        return reply

    async def slow(*_: Any) -> None:
        with contextlib.suppress(TimeoutError):  # it is there at once, unless it waits for us
            await asyncio.wait_for(relayed.wait(), 10)
        kept_after_relay.append(relayed.is_set())

    monkeypatch.setattr(inbound_module, "_relay", noted)
    monkeypatch.setattr(inbound_module, "tell", slow)
    monkeypatch.setattr(inbound_module, "BOOKS_WAIT_S", 60)  # longer than `slow` waits: the answer comes after both
    assert (await post(world, payload(**inbound())))[0] == 200
    assert kept_after_relay == [True]
