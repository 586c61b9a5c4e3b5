"""A real cluster of three masters: its slots move and its masters die, hang and forget while numbers send."""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.crc import key_slot
from redis.exceptions import ResponseError

from farebox.config import Settings
from farebox.forgetting import Forgetting
from farebox.gate import Gate, open_gate
from farebox.redis_cluster import Cluster
from farebox.taking import key_of
from farebox.wallet import WalletUnavailableError
from harness import ADMIN_TOKEN, APP_SECRET, VERIFY_TOKEN, World, template
from stores.load import Load
from stores.local_cluster import LocalCluster
from stores.servers import until

NUMBERS = 50


@pytest.fixture
async def settings(database_url: str, cluster: LocalCluster, tmp_path: Path) -> Settings:
    for node in cluster.nodes:
        await node.client.flushall()
        await node.client.script_flush()
    return Settings(
        database_url=database_url,
        redis_url=cluster.url,
        data_dir=tmp_path,
        wallet_timeout_s=60,  # a server that is dead is known to be; one that hangs is not, and the clock does not say
    )


@pytest.fixture
async def gates(settings: Settings) -> AsyncIterator[list[Gate]]:
    """Two gateways, as two workers have them."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_gate(settings)) for _ in range(2)]


@pytest.fixture
def redirections(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often which redirection was followed."""
    counted: Counter[str] = Counter()
    original = Cluster._is_sent_on

    def counting(self: Cluster, command: object, *args: object, **options: object) -> bool:
        counted[type(command.result).__name__] += isinstance(command.result, ResponseError)  # type: ignore[attr-defined]
        return original(self, command, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Cluster, "_is_sent_on", counting)
    return counted


async def test_slots_move_while_numbers_send(
    cluster: LocalCluster, gates: list[Gate], redirections: Counter[str]
) -> None:
    load = await Load.on(gates, numbers=NUMBERS, fares=30)
    stop = asyncio.Event()
    sending = asyncio.create_task(load.until(stop))
    owners = list(cluster.owners)
    slots = {cluster.slot_of(number.number_id) for number in load.numbers}
    await load.more("reserved")
    await cluster.move(slots, pause=load.more)
    await load.more("reserved")
    stop.set()
    await sending
    assert all(cluster.owners[slot] != owners[slot] for slot in slots)
    assert {"MovedError", "AskError", "TryAgainError"} <= redirections.keys(), redirections
    await load.sums_up()


async def test_slots_that_move_whole_stop_nobody(cluster: LocalCluster, gates: list[Gate]) -> None:
    load = await Load.on(gates, numbers=NUMBERS, fares=20)
    stop = asyncio.Event()
    sending = asyncio.create_task(load.until(stop))
    await load.more("reserved")
    await cluster.move_whole({cluster.slot_of(number.number_id) for number in load.numbers})
    await load.more()
    stop.set()
    await sending
    assert "WalletUnavailableError" not in load.outcomes
    await load.sums_up()


async def test_a_slot_on_its_way_stops_its_own_number_alone(cluster: LocalCluster, gates: list[Gate]) -> None:
    load = await Load.on(gates[:1], numbers=NUMBERS, fares=5)
    (gate,) = load.gates
    assert {await load.send(gate, number) for number in load.numbers} == {"reserved"}
    moving = load.numbers[0]
    slot = cluster.slot_of(moving.number_id)
    owner = cluster.owners[slot]
    neighbours = [number for number in load.numbers[1:] if cluster.owners[cluster.slot_of(number.number_id)] == owner]
    outcomes = []

    async def send() -> None:
        outcomes.append(await load.send(gate, moving))
        with contextlib.suppress(WalletUnavailableError):
            await gate.wallet.state(moving.number_id, "somebody")
        assert {await load.send(gate, number) for number in neighbours} == {"reserved"}

    await cluster.move([slot], pause=send)
    assert outcomes == ["WalletUnavailableError", "WalletUnavailableError", "reserved"]
    await load.sums_up()


async def test_a_dead_master_stops_its_own_numbers_alone_until_it_is_back(
    cluster: LocalCluster, settings: Settings, gates: list[Gate]
) -> None:
    load = await Load.on(gates[:1], numbers=NUMBERS, fares=5)
    (gate,) = load.gates
    assert {await load.send(gate, number) for number in load.numbers} == {"reserved"}
    dead = cluster.nodes[2]
    await dead.kill()
    outcomes = await asyncio.gather(*(load.send(gate, number) for number in load.numbers))
    for number, outcome in zip(load.numbers, outcomes, strict=True):
        gone = cluster.owners[cluster.slot_of(number.number_id)] == 2
        assert outcome == ("WalletUnavailableError" if gone else "reserved")
    # And once it is known that it is dead, which is remembered for a moment.
    assert outcomes == await asyncio.gather(*(load.send(gate, number) for number in load.numbers))
    assert {"WalletUnavailableError", "reserved"} <= set(outcomes)
    await gate.wallet.ping()  # the gateway is of use to the others
    async with open_gate(settings) as another:  # one that starts now, and does not know yet which number is where
        assert outcomes == await asyncio.gather(*(load.send(another, number) for number in load.numbers))
    await dead.restart()
    await until(cluster.complete)
    await load.sums_up()


async def test_a_master_that_hangs_holds_up_its_own_numbers_alone(cluster: LocalCluster, gates: list[Gate]) -> None:
    load = await Load.on(gates[:1], numbers=NUMBERS, fares=4)
    (gate,) = load.gates
    assert {await load.send(gate, number) for number in load.numbers} == {"reserved"}
    hangs = {number.number_id for number in load.numbers if cluster.owners[cluster.slot_of(number.number_id)] == 1}
    os.kill(cluster.nodes[1].child.pid, signal.SIGSTOP)
    try:
        sends = {number.number_id: asyncio.create_task(load.send(gate, number)) for number in load.numbers}
        answered = [send for number_id, send in sends.items() if number_id not in hangs]
        assert {await send for send in answered} == {"reserved"}
        assert not any(sends[number_id].done() for number_id in hangs)
    finally:
        os.kill(cluster.nodes[1].child.pid, signal.SIGCONT)
    await asyncio.gather(*sends.values())
    await load.sums_up()


async def test_a_node_that_forgot_the_scripts_is_told_them_again(cluster: LocalCluster, gates: list[Gate]) -> None:
    load = await Load.on(gates[:1], numbers=NUMBERS, fares=2)
    (gate,) = load.gates
    assert {await load.send(gate, number) for number in load.numbers} == {"reserved"}
    await cluster.nodes[0].client.script_flush()
    assert set(await asyncio.gather(*(load.send(gate, number) for number in load.numbers))) == {"reserved"}
    await load.sums_up()


async def test_users_are_forgotten_on_every_node_and_a_dead_one_does_not_keep_the_others(
    cluster: LocalCluster, gates: list[Gate]
) -> None:
    gate = gates[0]
    users = [key_of(str(number), f"user:{user}") for number in range(60) for user in range(5)]
    for user in users:
        await gate.wallet._redis.hset(user, mapping={"epoch": 1, "csw": 1})
    forgetting = Forgetting(gate.wallet, gate.clock, grace_ms=0)
    assert await forgetting.turn() == len(users)
    for user in users:
        await gate.wallet._redis.hset(user, mapping={"epoch": 1, "csw": 1})
    assert await forgetting.turn() == 0, "the pass of this day is made"
    dead = cluster.nodes[0]
    await dead.kill()
    forgetting = Forgetting(gate.wallet, gate.clock, grace_ms=0)
    with pytest.raises(WalletUnavailableError):
        await forgetting.turn()
    assert [await node.client.dbsize() for node in cluster.nodes[1:]] == [0, 0]
    await dead.restart()
    await until(cluster.complete)
    await dead.client.hset(next(user for user in users if _owner(cluster, user) == 0), mapping={"epoch": 1, "csw": 1})
    assert await forgetting.turn() == 1, "it goes on where it had been cut short"


def _owner(cluster: LocalCluster, key: str) -> int:
    return cluster.owners[key_slot(key.encode())]


async def test_a_whole_gateway_works_on_a_cluster(settings: Settings) -> None:
    tokens = {"admin_token": ADMIN_TOKEN, "app_secret": APP_SECRET, "verify_token": VERIFY_TOKEN}
    settings = Settings(**(settings.model_dump(exclude_unset=True) | tokens))
    async with World.open(settings) as world:
        await world.fund("1.00")
        for place in range(10):
            number_id = f"2{place:05}"
            await world.add_number(number_id)
            await world.fund("1.00", number_id)
            quoted = await world.admin("POST", "/v1/quotes", {"number": number_id, "message": template()})
            assert quoted["term"]
        assert (await world.send(template())).status == 200
        await world.books_kept()
        assert await world.balance() == {"available": "0.9966", "held": "0.00"}
        assert await world.differences() == []


async def test_a_replica_takes_over(cluster: LocalCluster, gates: list[Gate], open_folder: Path) -> None:
    async with AsyncExitStack() as stack:
        replica = await cluster.add_replica(stack, open_folder / "replica", of=0)
        load = await Load.on(gates, numbers=NUMBERS, fares=20)
        stop = asyncio.Event()
        sending = asyncio.create_task(load.until(stop, settling=False))
        await load.more("reserved")
        epochs = await load.epochs()
        moved = {number.number_id for number in load.numbers if cluster.owners[cluster.slot_of(number.number_id)] == 0}
        await cluster.nodes[0].kill()

        async def rebuilt() -> bool:
            """The copies of the replica are not trusted; other wallets have no reason to change."""
            now = await load.epochs()
            grown = {number.number_id for number, was, is_ in zip(load.numbers, epochs, now, strict=True) if is_ > was}
            return grown == moved

        await until(rebuilt)
        assert (await replica.client.info("replication"))["role"] == "master"
        stop.set()
        await sending
        await load.sums_up()
        # Back to three masters, for the tests to come.
        await cluster.nodes[0].restart()
        await cluster.fail_back(0)
