"""A worker dies, or is stopped for a while, between any two steps of what it does; others tidy up.

Whatever the step: the wallet never shows too much, no bytes left without a hold, and once the sweep has been there and
the webhooks have come, everything that WhatsApp took is charged once, and wallet and ledger agree.
"""

import functools
from uuid import uuid4

import aiohttp
import pytest

from aftermath import (
    FUNDS,
    MAX_STEPS,
    another_send,
    everything_is_accounted,
    forget_wallets,
    killed_at_every_step,
    never_too_much,
    position,
    receiving,
    sending,
    tidied_up,
    user,
)
from doomed import Doomed, Work
from farebox.gate import Gate
from farebox.simulator import Behaviour
from farebox.sweep import Sweep
from farebox.tariffs import Tariffs
from harness import NUMBER, World, template

pytestmark = pytest.mark.timeout(300)  # many small worlds; a loaded machine takes its time


@pytest.fixture(autouse=True)
def _tariffs_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of what a worker's start costs here, and none of it is what these tests are about."""
    monkeypatch.setattr("farebox.gate.Tariffs", functools.cache(Tariffs))


@pytest.mark.parametrize("cold", [False, True], ids=["its wallet is there", "its wallet is lost"])
async def test_a_send_is_cut_off(world: World, cold: bool) -> None:
    await world.fund(FUNDS)

    async def prepare(step: int) -> Work:
        if cold:
            await forget_wallets(world)
        else:
            await world.gate.rebuild(world.gate.directory.numbers[NUMBER], stale_epoch=None)
        return sending(world.key, template(to=user(step)))

    async def meanwhile(step: int) -> None:
        if step % 3 == 0:  # with and without others that need the wallet before the sweep has been there
            await another_send(world, step)

    assert await killed_at_every_step(world, prepare, meanwhile) > 20
    await world.books_kept()
    recipients = {message.user.wa_id for message in world.whatsapp.sent}
    assert {user(0)} & recipients == set(), "nothing leaves at the first step"
    assert sum(recipient.startswith("1650") for recipient in recipients) > 1, "some leave, and their worker dies then"
    await everything_is_accounted(world)


@pytest.mark.parametrize("cold", [False, True], ids=["its wallet is there", "its wallet is lost meanwhile"])
async def test_a_send_is_stopped_for_a_while(world: World, cold: bool) -> None:
    """The worker wakes up in a world that has gone on without it, with a wallet of another epoch perhaps."""
    await world.fund(FUNDS)
    steps = 0
    for step in range(MAX_STEPS):
        await world.gate.rebuild(world.gate.directory.numbers[NUMBER], stale_epoch=None)
        doomed = Doomed(world.gate.settings)
        if await doomed.run(sending(world.key, template(to=user(step))), steps=step):
            break
        steps += 1
        if cold:
            await forget_wallets(world)
        await another_send(world, step)
        assert await doomed.go_on() == 200
        await world.books_kept()
        await never_too_much(world)
    await tidied_up(world)
    assert steps > 20
    assert len(world.whatsapp.sent) == 2 * steps + 1
    await everything_is_accounted(world)


ENDS = {
    "delivered": ("delivered", None, 3_400),
    "dearer than its hold": ("delivered", {"category": "marketing"}, 25_000),
    "failed": ("failed", None, 0),
}


@pytest.mark.parametrize("end", ENDS)
async def test_the_books_of_a_webhook_are_cut_off(world: World, end: str) -> None:
    status, pricing, billed_micros = ENDS[end]
    await world.fund(FUNDS)
    world.whatsapp.behave(Behaviour(statuses=()))
    webhook_url = f"{world.url}/webhooks/meta"
    charged = 0

    async def prepare(step: int) -> Work:
        sent = await world.send(template(to=user(step)))
        world.whatsapp.set_webhook(world.app_url)  # where it is caught, and handed to the one that will die over it
        await world.whatsapp.post_status(sent.json["messages"][0]["id"], status, pricing=pricing)
        return receiving(world.app.seen[-1])

    async def meanwhile(step: int) -> None:
        """Deliver it again, as WhatsApp does; the first to keep its books has charged it."""
        nonlocal charged
        charged += billed_micros
        webhook = world.app.seen[-1]
        async with aiohttp.ClientSession() as session:
            for _ in range(2):
                headers = {**webhook.headers, "Connection": "close"}
                async with session.post(webhook_url, data=webhook.body, headers=headers) as answer:
                    assert answer.status == 200
        await world.books_kept()

    async def check(step: int) -> None:
        assert await position(world) == (1_000_000_000 - charged, 0)

    assert await killed_at_every_step(world, prepare, meanwhile, check) > 15


async def test_a_top_up_is_cut_off(world: World) -> None:
    number = world.gate.directory.numbers[NUMBER]

    async def prepare(step: int) -> Work:
        if step % 2:
            await world.gate.rebuild(number, stale_epoch=None)
        else:
            await forget_wallets(world)

        async def work(gate: Gate) -> bool:
            return await gate.funds.credit(
                number, topup_id=uuid4(), amount_micros=1_000_000, reference=f"r{step}", method="manual"
            )

        return work

    async def meanwhile(step: int) -> None:
        """Ask again, as whoever got no answer does."""
        topup = {"amount": "1.00", "reference": f"r{step}", "method": "manual"}
        await world.admin("POST", f"/v1/numbers/{NUMBER}/topups", topup)

    async def check(step: int) -> None:
        assert await position(world) == (1_000_000 * (step + 1), 0)

    assert await killed_at_every_step(world, prepare, meanwhile, check) > 5


async def test_a_rebuild_is_cut_off(world: World) -> None:
    await world.fund(FUNDS)
    world.whatsapp.behave(Behaviour(statuses=(), times=3), Behaviour())
    for recipient in range(3):  # that stay open, so that there is something to be held
        assert (await world.send(template(to=f"1313000000{recipient}"))).status == 200
    number = world.gate.directory.numbers[NUMBER]

    async def prepare(step: int) -> Work:
        await forget_wallets(world)
        return lambda gate: gate.rebuild(number, stale_epoch=None)

    async def check(step: int) -> None:
        wallet = await world.gate.wallet.position(NUMBER)
        assert wallet is not None
        assert wallet.held_micros == 3 * 3_400

    assert await killed_at_every_step(world, prepare, lambda step: another_send(world, step), check) > 5


async def test_a_sweep_is_cut_off(world: World) -> None:
    """It finds a hold that has run out, a status that came too early, and a wallet that shows too little."""
    await world.fund(FUNDS)
    world.whatsapp.behave(Behaviour(statuses=()))
    database, webhook_url = world.gate.ledger._pool, f"{world.url}/webhooks/meta"

    async def prepare(step: int) -> Work:
        overdue, early = [await world.send(template(to=f"{area}{step:07d}")) for area in ("1650", "1651")]
        await database.execute(
            "UPDATE hold SET expires_at = now() WHERE hold_id = $1::uuid", overdue.headers["X-Farebox-Hold"]
        )
        # The answer to its send is not noted yet, and the client had put a text of its own where our hold id travels.
        wamid, hold_id = early.json["messages"][0]["id"], early.headers["X-Farebox-Hold"]
        await database.execute("UPDATE hold SET wamid = NULL WHERE hold_id = $1::uuid", hold_id)
        world.whatsapp.memory.find(wamid).echo = "of the client"
        world.whatsapp.set_webhook(webhook_url)
        await world.whatsapp.post_status(wamid, "delivered")
        await world.books_kept()
        assert await database.fetchval("SELECT count(*) FROM unmatched_status") == 1
        await database.execute("UPDATE hold SET wamid = $1 WHERE hold_id = $2::uuid", wamid, hold_id)
        await world.gate.wallet._redis.hincrby(f"farebox:{{{NUMBER}}}:wallet", "available", -5)

        async def work(gate: Gate) -> None:
            sweep = Sweep(gate)
            for _ in range(2):  # it rebuilds a wallet that looks wrong twice
                await sweep.run()

        return work

    async def check(step: int) -> None:
        assert await database.fetchval("SELECT count(*) FROM unmatched_status") == 0
        states = await database.fetch("SELECT state, count(*) FROM hold GROUP BY state ORDER BY state")
        assert [tuple(row) for row in states] == [("expired", step + 1), ("settled", step + 1)]
        assert await position(world) == (1_000_000_000 - 3_400 * (step + 1), 0)

    assert await killed_at_every_step(world, prepare, lambda step: world.books_kept(), check) > 15
