"""A keyed send through death and sleep: whatever happens to its worker, WhatsApp gets the message at most once."""

import asyncio
import contextlib
import gc
import json
import types
from collections.abc import AsyncIterator, Coroutine, Generator
from typing import Any

import asyncpg
import pytest
from multidict import CIMultiDict

from farebox.access import Call, Request, admit
from farebox.core.path import read_path
from farebox.core.reply import Reply
from farebox.gate import Gate, open_gate
from farebox.outbound import send
from harness import GERMAN, NUMBER, USER, World, reaction, template
from keying import KEY, SILENT, end_lease, keyed, same

PATH = f"/v23.0/{NUMBER}/messages"
FEWEST_AWAITS = {"paid": 6, "free": 6, "group": 7, "not metered": 4}  # one that is not reached tests nothing
MOST_AWAITS = 200


@pytest.fixture
async def worker(world: World) -> AsyncIterator[Gate]:
    """Another worker on the same stores, which is stopped and killed."""
    await world.fund("1.00")
    async with open_gate(world.gate.settings) as gate:
        yield gate


def call_of(gate: Gate, world: World, message: Any, key: str = KEY) -> Call:
    headers = CIMultiDict({"Authorization": f"Bearer {world.key}", "Idempotency-Key": key})
    headers["Content-Type"] = "application/json"
    route = read_path("POST", PATH, "", d360_key=False, pass_unknown_sends=False)
    return admit(gate.directory, route, Request("POST", PATH, "", headers)).with_body(json.dumps(message).encode())


class KilledError(Exception):
    """The worker is dead."""


@types.coroutine
def killed_at(work: Coroutine[Any, Any, Reply], awaits: int) -> Generator[Any, Any, Reply]:
    """Run up to the await of this number, and no further: no handler and no `finally` runs, as after kill -9."""
    resume, value = work.send, None
    while True:
        try:
            waited = resume(value)  # type: ignore[arg-type]
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        if awaits == 0:
            raise KilledError
        awaits -= 1
        try:
            yield waited
            resume, value = work.send, None
        except BaseException as error:  # a timeout's cancellation is the work's own business
            resume, value = work.throw, error  # type: ignore[assignment]


async def run_and_kill(world: World, message: Any, key: str, awaits: int) -> Reply | None:
    """Let a worker of its own do a send and die at an await; None where it died."""
    async with open_gate(world.gate.settings) as gate:
        work = send(gate, call_of(gate, world, message, key))
        # In a task of its own: the timeouts of what is left behind must not cancel the test.
        task = asyncio.ensure_future(_awaited(killed_at(work, awaits)))
        try:
            return await task
        except KilledError:
            gate.ledger._pool.terminate()
            with contextlib.suppress(RuntimeError):
                work.close()
            return None


async def _awaited(work: Any) -> Reply:
    return await work  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the dead close no connections
@pytest.mark.parametrize("case", FEWEST_AWAITS)
async def test_killed_at_every_await_it_is_forwarded_at_most_once(world: World, case: str) -> None:
    await world.fund("10.00")
    message = reaction() if case == "free" else template()
    if case == "group":
        message = {**message, "to": world.whatsapp.add_group([USER, GERMAN]), "recipient_type": "group"}
    if case == "not metered":
        await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"mode": "off"})
    seen = set()
    for awaits in range(MOST_AWAITS):
        key, before = f"key-{awaits}", len(world.whatsapp.sent)
        reply = await run_and_kill(world, message, key, awaits)
        await world.books_kept()
        at_once = await keyed(world, message, key)
        assert at_once.status in ({200} if reply else {200, 409}), (awaits, at_once.body)
        await end_lease(world)
        told = await keyed(world, message, key)
        await world.books_kept()
        sent = len(world.whatsapp.sent) - before
        assert sent <= 1, f"forwarded {sent} times when killed at await {awaits}"
        # A webhook brought the hold's wamid, so a message that left is known to have left.
        known = case != "not metered" or told.status == 200
        assert told.status == (200 if sent and known else 504), (awaits, told.status, told.body)
        seen.add((bool(reply), at_once.status, told.status, sent))
        if reply is not None:
            break
    assert awaits >= FEWEST_AWAITS[case]
    assert seen >= {(False, 409, 200, 1), (True, 200, 200, 1)}, seen
    # Between ledger and WhatsApp lies an await where a connection is made; a group's members were read on one before.
    assert (False, 409, 504, 0) in seen or case == "group"
    await world.sweep.run()
    await world.sweep.run()
    assert await world.differences() == []
    gc.collect()  # here, where what it has to say about the dead is expected


def paused(worker: Gate, monkeypatch: pytest.MonkeyPatch, of: object, name: str) -> tuple[asyncio.Event, asyncio.Event]:
    """Stop a worker before it calls something: (it is there, it may go on), like SIGSTOP and SIGCONT."""
    there, go = asyncio.Event(), asyncio.Event()
    real = getattr(of, name)

    async def wait(*arguments: Any) -> Any:
        there.set()
        await go.wait()
        return await real(*arguments)

    monkeypatch.setattr(of, name, wait)
    return there, go


@pytest.mark.parametrize("message", [template(), reaction()], ids=["paid", "free"])
async def test_a_worker_that_slept_over_its_lease_sends_nothing(
    world: World, worker: Gate, monkeypatch: pytest.MonkeyPatch, message: Any
) -> None:
    """It wakes up with the fare in its hand, and its claim is another's: the ledger refuses its hold."""
    world.whatsapp.behave(SILENT)
    there, go = paused(worker, monkeypatch, worker.ledger, "record")
    sleeper = asyncio.create_task(send(worker, call_of(worker, world, message)))
    await there.wait()
    assert (await keyed(world, message)).status == 409
    await end_lease(world)
    assert (await keyed(world, template("summer_sale"))).status == 409  # only the same request takes over
    assert (await keyed(world, message, key="other")).status == 200
    second = await keyed(world, message)
    assert second.status == 200
    go.set()
    assert (await sleeper).status == 409
    assert len(world.whatsapp.sent) == 2
    assert same(second, await keyed(world, message))
    assert await world.differences() == []
    count = "SELECT count(*) FROM hold WHERE state = 'accepted'"
    assert await world.gate.ledger._pool.fetchval(count) == 2


async def test_a_sleeper_whose_key_was_released_sends_nothing(
    world: World, worker: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, go = paused(worker, monkeypatch, worker.ledger, "record")
    sleeper = asyncio.create_task(send(worker, call_of(worker, world, template())))
    await there.wait()
    await end_lease(world)
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"block_at": "5.00"})
    assert (await keyed(world)).status == 402
    go.set()
    assert (await sleeper).status == 409
    assert world.whatsapp.sent == []


async def test_a_sleeper_without_a_hold_sends_nothing_either(
    world: World, worker: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"mode": "off"})
    await worker.directory.load_numbers(worker.ledger)
    there, go = asyncio.Event(), asyncio.Event()
    real = worker.ledger.fetch_one

    async def wait(query: str, *arguments: Any) -> Any:
        if query == "claim_leaves":
            there.set()
            await go.wait()
        return await real(query, *arguments)

    monkeypatch.setattr(worker.ledger, "fetch_one", wait)
    sleeper = asyncio.create_task(send(worker, call_of(worker, world, template())))
    await there.wait()
    await end_lease(world)
    assert (await keyed(world)).status == 200
    go.set()
    assert (await sleeper).status == 409
    assert len(world.whatsapp.sent) == 1


async def test_a_sleeper_with_a_hold_sends_and_nobody_else_does(
    world: World, worker: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.whatsapp.behave(SILENT)
    there, go = paused(worker, monkeypatch, worker.upstream, "send")
    sleeper = asyncio.create_task(send(worker, call_of(worker, world, template())))
    await there.wait()
    assert (await keyed(world)).status == 409
    await end_lease(world)
    unknown = await keyed(world)
    assert (unknown.status, unknown.headers["Idempotency-Replayed"]) == (504, "true")
    assert (await world.message(unknown.headers["X-Farebox-Hold"]))["state"] == "reserved"
    assert (await keyed(world, template("summer_sale"))).status == 409
    go.set()
    first = await sleeper
    assert first.status == 200
    told = await keyed(world)
    assert (told.status, told.body) == (200, first.body)
    assert len(world.whatsapp.sent) == 1


async def test_an_answer_that_was_not_kept_is_made_from_the_hold(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.fund("1.00")
    world.whatsapp.behave(SILENT)

    async def died(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("farebox.keyed.keep", died)
        assert (await keyed(world)).status == 500
    await end_lease(world)
    told = await keyed(world)
    (sent,) = world.whatsapp.sent
    assert told.json == {
        "messaging_product": "whatsapp",
        "contacts": [{"input": USER, "wa_id": USER}],
        "messages": [{"id": sent.wamid}],
    }
    for name, value in {"Class": "paid", "Fare": "0.0034", "Hold": sent.body["biz_opaque_callback_data"]}.items():
        assert told.headers[f"X-Farebox-{name}"] == value


async def test_a_message_that_whatsapp_did_not_take_is_said_to_be_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.fund("1.00")

    async def died(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("farebox.keyed.keep", died)
        patch.setattr(world.gate.upstream._sends, "_prefix", "/nowhere")
        assert (await keyed(world)).status == 500
    await end_lease(world)
    told = await keyed(world)
    assert told.status == 502
    assert "another key" in told.json["error"]["message"]
    assert world.whatsapp.sent == []


async def test_recording_and_taking_over_at_once_have_one_winner(
    world: World, worker: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sleeper's hold is being recorded, not committed yet, when another attempt takes the claim over: it waits."""
    there, go = paused(worker, monkeypatch, worker.ledger, "record")
    sleeper = asyncio.create_task(send(worker, call_of(worker, world, template())))
    await there.wait()
    await end_lease(world)
    connection = await asyncpg.connect(world.gate.settings.database_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("UPDATE idempotency SET state = 'sent'")
    second = asyncio.create_task(keyed(world))
    while not await world.gate.ledger._pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
        pass
    await transaction.commit()
    await connection.close()
    assert (await second).status == 504
    assert world.whatsapp.sent == []
    go.set()
    assert (await sleeper).status == 200
    assert len(world.whatsapp.sent) == 1
