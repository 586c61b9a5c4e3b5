"""Stores that stop and start again: what came by webhook and what left meanwhile is in the books afterwards, once."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from factory import FAST, fastest_folder
from farebox import inbound as inbound_module
from farebox import metrics
from farebox.allowance import Allowance
from farebox.config import Settings
from farebox.drain import drain
from farebox.embedded import EmbeddedStores
from farebox.gate import Gate, open_gate
from farebox.migrate import migrate
from farebox.news import Kind, Piece
from farebox.rows import new_hold_id
from farebox.simulator import Behaviour
from farebox.wallet import WalletUnavailableError
from harness import (
    ADMIN_TOKEN,
    APP_SECRET,
    GERMAN,
    NUMBER,
    USER,
    VERIFY_TOKEN,
    World,
    lead_upstream,
    reaction,
    template,
)
from test_inbound import REGULAR, inbound, payload, post, status
from test_unmatched import patience

ALLOWED = {"on_outage": "allow_up_to", "outage_allowance": "0.0068", "ledger_timeout_s": 0.5}  # two utility templates


@pytest.fixture(scope="module")
async def own_stores() -> AsyncIterator[EmbeddedStores]:
    """Stores that may be stopped."""
    with tempfile.TemporaryDirectory(prefix="farebox-outage-", dir=fastest_folder()) as folder:
        Path(folder).chmod(0o711)  # noqa: ASYNC240
        async with EmbeddedStores(Path(folder), postgres_settings=FAST) as stores:
            await migrate(stores.database_url)
            yield stores


@pytest.fixture
async def site(own_stores: EmbeddedStores, tmp_path: Path) -> AsyncIterator[World]:
    if not own_stores._locks.held:  # a test that failed left them stopped
        await own_stores.start()
    settings = Settings(
        database_url=own_stores.database_url,
        redis_url=own_stores.redis_url,
        data_dir=tmp_path,
        admin_token=ADMIN_TOKEN,
        app_secret=APP_SECRET,
        verify_token=VERIFY_TOKEN,
        **ALLOWED,
    )
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(World.open(settings))
        world.whatsapp.behave(Behaviour(statuses=()))
        world.stores = own_stores  # type: ignore[attr-defined]
        yield world


async def stop(site: World) -> None:
    await site.stores.stop()  # type: ignore[attr-defined]


async def start_stores(site: World) -> None:
    """Start the stores and wait until the wallet's is asked again."""
    await site.stores.start()  # type: ignore[attr-defined]
    while True:
        try:
            await site.gate.wallet.ping()
        except WalletUnavailableError:
            await asyncio.sleep(0)
        else:
            return


async def start(site: World) -> int:
    """Start the stores and tell the spool; return how much it told."""
    await start_stores(site)
    return await tell_all(site.gate)


async def tell_all(gate: Gate) -> int:
    """Tell the spool; return how much was told."""
    told = 0
    for _ in range(20):  # connections of before the outage are found dead, one by one, and a busy machine answers late
        told += await drain(gate)
        if not gate.spool.waits():
            return told
    raise AssertionError("the spool was not told")


async def spent(site: World) -> tuple[str, str]:
    balance = await site.balance()
    return balance["available"], balance["held"]


async def test_webhooks_of_an_outage_are_kept_in_the_end(site: World) -> None:
    await site.fund("1.00")
    wamid = (await site.send(template())).json["messages"][0]["id"]
    full = await spent(site)
    await stop(site)
    delivered = payload(**inbound(), statuses=[status(wamid, pricing=REGULAR)])
    for _ in range(2):
        assert await post(site, delivered) == (200, b"thanks")
    assert len(site.app.seen) == 2
    (file,) = (site.gate.settings.data_dir / "spool").iterdir()
    written = file.read_bytes()
    assert written.count(b"\n") == 4
    assert "hé".encode() not in written
    assert b"u00e9" not in written
    assert await start(site) == 4
    assert (await site.message(wamid))["state"] == "settled"
    assert full[1] == "0.0034"
    assert (await spent(site))[1] == "0.00"
    rows = await site.gate.ledger.fetch("windows_of", NUMBER, [USER], 0)
    assert USER in [row["user_id"] for row in rows]
    assert file.stat().st_size == 0
    assert await site.differences() == []


async def test_a_full_spool_asks_whatsapp_to_deliver_again_after_the_relay(site: World) -> None:
    site.gate.spool._max_bytes = 10
    before = metrics.SPOOL_FULL._value.get()
    await stop(site)
    assert (await post(site, payload(**inbound())))[0] == 503
    assert len(site.app.seen) == 1
    assert metrics.SPOOL_FULL._value.get() == before + 1
    await start(site)
    assert (await post(site, payload(**inbound())))[0] == 200


async def test_books_that_are_slow_are_on_the_disk_before_the_answer(
    site: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound_module, "BOOKS_WAIT_S", 0)
    assert (await post(site, payload(**inbound(GERMAN))))[0] == 200
    assert site.gate.spool.waits()
    assert await drain(site.gate) == 1


async def test_paid_sends_pass_up_to_the_allowance_and_are_accounted_once(site: World) -> None:
    await site.fund("1.00")
    await site.send(template())  # the wallet is there
    available, held = await spent(site)
    await stop(site)
    answers = [await site.send(template()) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 503]
    assert answers[2].headers["Retry-After"] == "1"
    assert answers[0].headers["X-Farebox-Class"] == "paid"
    ids = [answer.headers["X-Farebox-Hold"] for answer in answers[:2]]
    wamids = [answer.json["messages"][0]["id"] for answer in answers[:2]]
    assert (await post(site, payload(statuses=[status(wamids[0], pricing=REGULAR)])))[0] == 200
    assert (await site.send(reaction())).status == 200
    assert await start(site) == 5
    first, second = [await site.message(wamid) for wamid in wamids]
    assert [first["hold_id"], second["hold_id"]] == ids
    assert (first["state"], second["state"]) == ("settled", "accepted")
    assert "sent while a store was away" in second["note"]
    money = await spent(site)
    assert [round(float(new) - float(old), 6) for new, old in zip(money, (available, held), strict=True)] == [
        -0.0068,
        0.0034,
    ]
    assert await site.differences() == []
    await stop(site)  # accounted, it counts from zero again
    assert [(await site.send(template())).status for _ in range(3)] == [200, 200, 503]
    await start(site)
    assert await site.differences() == []


async def test_a_refused_send_of_an_outage_costs_nothing(site: World) -> None:
    await site.fund("1.00")
    await site.send(template())
    before = await spent(site)
    await stop(site)
    site.whatsapp.behave(Behaviour(http_status=400, code=100))
    rejected = await site.send(template())
    assert (rejected.status, rejected.json["error"]["code"]) == (400, 100)
    lead_upstream(site.gate, "http://127.0.0.1:9")
    answer = await site.send(template())
    assert answer.status == 502
    await start(site)
    for refused in (rejected, answer):
        assert (await site.message(refused.headers["X-Farebox-Hold"]))["state"] == "released"
    assert await spent(site) == before
    assert await site.differences() == []


async def test_a_webhook_that_comes_before_its_send_is_accounted_charges_once(site: World) -> None:
    """By another worker, which has the stores while this one's disk still waits."""
    await site.fund("1.00")
    await site.send(template())
    before = await spent(site)
    own_word = {**template(), "biz_opaque_callback_data": "mine"}  # so that no hold id comes back
    await stop(site)
    one, two = await site.send(template()), await site.send(own_word)
    held, waiting = site.gate.spool.own, []
    assert held is not None
    waiting = held.path.read_bytes()
    held.path.write_bytes(b"")  # its worker is not heard of for a while
    await start_stores(site)
    site.gate.spool.away = False
    said = [
        status(answer.json["messages"][0]["id"], pricing=REGULAR, biz_opaque_callback_data=reference)
        for answer, reference in ((one, one.headers["X-Farebox-Hold"]), (two, "mine"))
    ]
    await post(site, payload(statuses=said))
    held.path.write_bytes(b"")  # what the first try of the webhook may have left
    held.told_bytes, held._end = 0, 0
    site.gate.spool.away = False
    await post(site, payload(statuses=said))
    await patience(site)
    charged = await spent(site)
    assert round(float(before[0]) - float(charged[0]), 6) == 0.0068
    held.append(waiting)
    for _ in range(2):
        await drain(site.gate)
    assert await spent(site) == charged
    assert (await site.message(two.headers["X-Farebox-Hold"]))["state"] == "released"
    assert await site.differences() == []


async def test_an_allowance_outlives_the_worker_that_used_it(site: World, tmp_path: Path) -> None:
    await site.fund("1.00")
    await stop(site)
    assert [(await site.send(template())).status for _ in range(2)] == [200, 200]
    spool = site.gate.spool
    spool.close()  # as when the process dies
    site.gate.allowance.slot = None
    site.gate.allowance._spent.clear()
    assert (await site.send(template())).status == 503
    await start(site)


def test_an_allowance_counts_what_is_under_way_and_forgets_what_was_not_taken() -> None:
    allowance = Allowance(100)
    assert allowance.take("1", 60)
    assert not allowance.take("1", 60)
    assert allowance.take("2", 60)
    allowance.give_back("1", 60)
    assert allowance.take("1", 60)
    allowance.accounted()  # not on the disk yet: it still counts
    assert not allowance.take("1", 60)
    allowance.spend("1", 60)
    allowance.accounted()
    assert allowance.take("1", 100)
    lost, kept = new_hold_id(1), new_hold_id(2)
    sends = [Piece(Kind.SEND, "3", {"hold_id": str(hold), "most_micros": 60}) for hold in (lost, kept)]
    allowance.remember([*sends, Piece(Kind.NOT_TAKEN, "3", {"hold_id": str(lost)})])
    assert allowance.take("3", 40)
    assert not allowance.take("3", 1)


async def test_a_gate_tells_what_an_earlier_one_left(site: World) -> None:
    await site.fund("1.00")
    await stop(site)
    answer = await site.send(template())
    site.gate.spool.close()
    await start_stores(site)
    async with open_gate(site.gate.settings) as gate:
        assert await tell_all(gate) == 2
    message: Any = await site.message(answer.headers["X-Farebox-Hold"])
    assert message["state"] == "accepted"
