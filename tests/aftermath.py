"""What others do after a worker has died, and what must be true then."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from multidict import CIMultiDict

from doomed import Doomed, Work
from farebox.access import Request, admit
from farebox.core.path import read_path
from farebox.doors import MetaDoor
from farebox.gate import Gate
from farebox.inbound import receive
from farebox.outbound import send
from harness import NUMBER, Seen, World, template

FUNDS = "1000.00"
MAX_STEPS = 1_000  # no operation has more; past that it does not come to its end
PASSES = 3  # of the sweep: it looks twice before it calls a difference one, and once more for what that brought
MONTH_S = 32 * 86_400  # the longest life of a hold, and a day


def sending(key: str, message: Any) -> Work:
    path = f"/v23.0/{NUMBER}/messages"

    async def work(gate: Gate) -> int:
        route = read_path("POST", path, "", d360_key=False, pass_unknown_sends=False)
        headers = CIMultiDict({"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
        call = admit(gate.directory, route, Request("POST", path, "", headers))
        status = (await send(gate, call.with_body(json.dumps(message).encode()))).status
        await gate.ledger.noted()  # the answer does not wait for it, a kill may come before it
        return status

    return work


def receiving(webhook: Seen) -> Work:
    async def work(gate: Gate) -> int:
        request = Request("POST", "/webhooks/meta", "", CIMultiDict(webhook.headers), webhook.body)
        return (await receive(gate, request, MetaDoor(gate, request))).status

    return work


def user(step: int) -> str:
    return f"1650{step:07d}"


async def forget_wallets(world: World) -> None:
    await world.gate.wallet._redis.flushall()


async def turns(doomed: Doomed) -> None:
    """Give the loop turns, in which the simulator reads what has left."""
    left = 100
    while left:
        await asyncio.sleep(0)
        left -= not doomed.unsent_bytes()


async def quiet(world: World, doomed: Doomed) -> None:
    """Wait until nothing that the dead worker began is on its way any more."""
    await turns(doomed)
    await world.books_kept()
    for pid in doomed.server_pids:
        for _ in range(1_000):
            if not await world.gate.ledger._pool.fetchval(
                "SELECT count(pg_sleep(0.002)) FROM pg_stat_activity WHERE pid = $1", pid
            ):
                break


async def position(world: World) -> tuple[int, int]:
    """Balance and held by the ledger, in micro-units; the stored balance is the sum of the entries."""
    (truth,) = await world.gate.ledger.fetch("books", "", 10, None)
    assert truth["balance_micros"] == truth["entries_micros"]
    return truth["balance_micros"], truth["held_micros"]


async def never_too_much(world: World) -> None:
    wallet = await world.gate.wallet.position(NUMBER)
    balance_micros, held_micros = await position(world)
    if wallet is not None:
        there_is = balance_micros - held_micros
        assert wallet.available_micros <= there_is, f"the wallet shows {wallet.available_micros}, there is {there_is}"


async def tidied_up(world: World) -> None:
    for _ in range(PASSES):
        await world.sweep.run()
        await never_too_much(world)
        if not await world.differences():
            return
    assert await world.differences() == []


async def killed_at_every_step(
    world: World,
    prepare: Callable[[int], Awaitable[Work]],
    meanwhile: Callable[[int], Awaitable[None]],
    check: Callable[[int], Awaitable[None]] | None = None,
) -> int:
    """Kill a worker at its first step, at its second and so on; return how many steps there are.

    `meanwhile` is what others do before the sweep has been there, `check` looks at what is there after it.
    """
    for step in range(MAX_STEPS):
        doomed = Doomed(world.gate.settings)
        ended = await doomed.run(await prepare(step), steps=step)
        if not ended:
            await turns(
                doomed
            )  # what has left is read, before its connection ends: a server may drop a request otherwise
            await doomed.kill()
            await quiet(world, doomed)
        await never_too_much(world)
        await meanwhile(step)
        await tidied_up(world)
        if check is not None:
            await check(step)
        if ended:
            return step
    raise AssertionError("it does not come to its end")


async def everything_is_accounted(world: World) -> None:
    """All holds have run out by now: what WhatsApp took is charged once, and nothing else is."""
    await world.admin("PUT", "/v1/clock", {"advance_s": MONTH_S})
    await tidied_up(world)
    rows = await world.gate.ledger._pool.fetch("SELECT hold_id::text, recipient, state, billed_micros FROM hold")
    holds = {row["hold_id"]: row for row in rows}
    took = Counter(message.body["biz_opaque_callback_data"] for message in world.whatsapp.sent)
    assert set(took) <= set(holds), "bytes left without a hold"
    assert set(took.values()) <= {1}, "a hold let two messages out"
    for message in world.whatsapp.sent:
        hold = holds[message.body["biz_opaque_callback_data"]]
        assert (hold["recipient"], hold["state"]) == (message.user.wa_id, "settled")
    assert {hold["state"] for hold_id, hold in holds.items() if hold_id not in took} <= {"expired", "released"}
    entries = await world.gate.ledger._pool.fetch(
        "SELECT hold_id::text, amount_micros FROM entry WHERE kind = 'settle'"
    )
    assert {entry["hold_id"] for entry in entries} == set(took)
    spent_micros = sum(entry["amount_micros"] for entry in entries)
    assert spent_micros == 3_400 * len(took)
    assert await position(world) == (1_000_000_000 - spent_micros, 0)


async def another_send(world: World, step: int) -> None:
    """Others go on as if nothing had been."""
    assert (await world.send(template(to=f"1212{step:07d}"))).status == 200
    await world.books_kept()
