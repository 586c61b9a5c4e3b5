"""What the client does at each stage of a slot's way from one node to another, on a real cluster."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import ConnectionError, MovedError, TryAgainError  # noqa: A004  redis-py's, not Python's

from farebox.redis_client import open_redis
from farebox.redis_cluster import Cluster
from stores.local_cluster import LocalCluster
from stores.servers import HOST, free_ports

TAG = "on-its-way"
KEYS = [f"farebox:{{{TAG}}}:{name}" for name in ("one", "two")]
OTHERS = [f"farebox:{{{place}}}:wallet" for place in range(50)]
BOTH = "return {redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])}"


async def nothing() -> None:
    """No pause at a stage."""


@pytest.fixture
async def client(cluster: LocalCluster) -> AsyncIterator[Cluster]:
    for node in cluster.nodes:
        await node.client.flushall()
        await node.client.script_flush()
    opened = open_redis(cluster.url, timeout_s=10)
    assert isinstance(opened, Cluster)
    yield opened
    await opened.aclose()


async def test_each_command_goes_to_its_keys_node(cluster: LocalCluster, client: Cluster) -> None:
    pipeline = client.pipeline(transaction=False)
    for key in OTHERS:
        pipeline.set(key, key)
        pipeline.get(key)
    assert await pipeline.execute() == [answer for key in OTHERS for answer in (True, key)]
    assert {client.lane(key) for key in OTHERS} == {f"{HOST}:{node.port}" for node in cluster.nodes}
    held = [await node.client.dbsize() for node in cluster.nodes]
    assert sum(held) == len(OTHERS)
    assert all(held)


async def test_a_key_is_found_at_every_stage(cluster: LocalCluster, client: Cluster) -> None:
    await client.set(KEYS[0], "first")
    found: list[list[str]] = []

    async def look() -> None:
        """Read the key many times at once, so over several connections, and write another."""
        found.append(await asyncio.gather(*(client.get(KEYS[0]) for _ in range(20))))
        pipeline = client.pipeline(transaction=False)
        pipeline.incr(KEYS[1])
        pipeline.get(KEYS[0])
        for key in OTHERS:
            pipeline.incr(key)
        assert await pipeline.execute() == [len(found), "first"] + [len(found)] * len(OTHERS)

    await cluster.move([cluster.slot_of(TAG)], pause=look)
    assert found == [["first"] * 20] * 3
    assert client.lane(KEYS[0]) == f"{HOST}:{cluster.nodes[cluster.owners[cluster.slot_of(TAG)]].port}"


async def test_keys_on_two_nodes_are_waited_for_but_not_for_long(
    cluster: LocalCluster, client: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.mset(dict.fromkeys(KEYS, "x"))

    slot = cluster.slot_of(TAG)
    source, target = (cluster.nodes[place] for place in (cluster.owners[slot], cluster.next_of(slot)))

    async def apart() -> None:
        if await source.client.execute_command("CLUSTER COUNTKEYSINSLOT", slot) < 2:
            return
        await source.client.execute_command("MIGRATE", HOST, target.port, KEYS[0], 0, 5000)
        with pytest.raises(TryAgainError):  # as long as it lasts: nobody decides on half of a number's keys
            await client.eval(BOTH, 2, *KEYS)
        monkeypatch.setattr(Cluster, "_dispatch", together_at_the_last_hop)
        assert await client.eval(BOTH, 2, *KEYS) == ["x", "x"]

    original = Cluster._dispatch

    async def together_at_the_last_hop(self: Cluster, commands: object, *, transaction: bool, hops: int) -> None:
        if hops == 1:
            await source.client.execute_command("MIGRATE", HOST, target.port, KEYS[1], 0, 5000)
        await original(self, commands, transaction=transaction, hops=hops)  # type: ignore[arg-type]

    await cluster.move([slot], pause=apart)
    assert await client.eval(BOTH, 2, *KEYS) == ["x", "x"]


async def test_a_transaction_follows_its_slot(
    cluster: LocalCluster, client: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.set(KEYS[0], "first")
    monkeypatch.setattr(Cluster, "_look_soon", lambda self: None)  # the redirection alone says where to
    await cluster.move([cluster.slot_of(TAG)], pause=nothing)
    pipeline = client.pipeline(transaction=True)
    pipeline.get(KEYS[0])
    pipeline.set(KEYS[1], "second")
    assert await pipeline.execute() == ["first", True]


async def test_a_script_is_loaded_on_every_node(cluster: LocalCluster, client: Cluster) -> None:
    digest = await client.script_load("return KEYS[1]")
    pipeline = client.pipeline(transaction=False)
    for key in OTHERS:
        pipeline.evalsha(digest, 1, key)
    assert await pipeline.execute() == OTHERS


async def test_a_redirection_without_end_ends(cluster: LocalCluster, client: Cluster) -> None:
    await client.set(KEYS[0], "x")
    owner = client.lane(KEYS[0])

    class Elsewhere(Cluster):
        """One that believes no redirection."""

        def _is_sent_on(self, command: object, *args: object, **options: object) -> bool:
            sent_on = super()._is_sent_on(command, *args, **options)  # type: ignore[arg-type]
            self._owners = dict.fromkeys(range(16_384), wrong)
            return sent_on

    wrong = next((HOST, node.port) for node in cluster.nodes if f"{HOST}:{node.port}" != owner)
    lost = Elsewhere([wrong], {"decode_responses": True, "socket_connect_timeout": 10})
    lost._owners = dict.fromkeys(range(16_384), wrong)
    with pytest.raises(MovedError):
        await lost.get(KEYS[0])
    await lost.aclose()


async def test_one_seed_of_several_is_enough(cluster: LocalCluster) -> None:
    hosts = ",".join(f"{HOST}:{port}" for port in (*free_ports(3), cluster.nodes[1].port))
    client = open_redis(f"redis+cluster://{hosts}/", timeout_s=10)
    assert await client.set(KEYS[0], "x")
    await client.aclose()


async def test_no_node_and_no_cluster_are_told_apart(redis_port: int) -> None:
    for port, said in ((*free_ports(1), "Connect call failed"), (redis_port, "cluster support disabled")):
        client = open_redis(f"redis+cluster://{HOST}:{port}", timeout_s=10)
        with pytest.raises(ConnectionError, match=said):
            await client.set(KEYS[0], "x")
        await client.aclose()
