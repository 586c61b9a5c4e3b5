"""A real cluster of three masters on loopback, made and resharded by the commands that a cluster has for it."""

from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from redis.crc import key_slot

from stores.servers import HOST, Valkey, start_valkey, until

SLOTS = 16_384
SETTINGS = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": "1000",
    "cluster-require-full-coverage": "no",  # the slots of the others are served when a master is gone
}
KEYS_AT_ONCE = 10  # few, so that a slot is on its way for a while


class LocalCluster:
    """Three masters, each with a third of the slots at first."""

    def __init__(self, nodes: list[Valkey], ids: list[str]) -> None:
        self.nodes = nodes
        self.ids = ids
        self.owners = [slot * len(nodes) // SLOTS for slot in range(SLOTS)]

    @classmethod
    async def start(cls, stack: AsyncExitStack, folder: Path) -> "LocalCluster":
        """Start three servers and make them one cluster."""
        nodes = [await start_valkey(stack, folder / f"node{place}", SETTINGS) for place in range(3)]
        ids = [await node.client.execute_command("CLUSTER MYID") for node in nodes]
        cluster = cls(nodes, ids)
        for place, node in enumerate(nodes):
            mine = [slot for slot, owner in enumerate(cluster.owners) if owner == place]
            await node.client.execute_command("CLUSTER ADDSLOTSRANGE", mine[0], mine[-1])
            await node.client.execute_command("CLUSTER SET-CONFIG-EPOCH", place + 1)
            bus = await node.client.config_get("cluster-port")
            await nodes[0].client.execute_command("CLUSTER MEET", HOST, node.port, bus["cluster-port"])
        await until(cluster.complete)
        return cluster

    async def add_replica(self, stack: AsyncExitStack, folder: Path, *, of: int) -> Valkey:
        """Start a replica of a node and wait until it could take over."""
        replica = await start_valkey(stack, folder, SETTINGS)
        bus = await replica.client.config_get("cluster-port")
        await self.nodes[0].client.execute_command("CLUSTER MEET", HOST, replica.port, bus["cluster-port"])

        async def joined() -> bool:
            info = await replica.client.execute_command("CLUSTER INFO")
            return info["cluster_slots_ok"] == str(SLOTS)

        async def synchronized() -> bool:
            return (await replica.client.info("replication")).get("master_link_status") == "up"

        await until(joined)
        await replica.client.execute_command("CLUSTER REPLICATE", self.ids[of])
        await until(synchronized)
        return replica

    @property
    def url(self) -> str:
        """The URL with two of the nodes: the third has to be found."""
        return "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in self.nodes[:2])

    @staticmethod
    def slot_of(number_id: str) -> int:
        """Return the slot of all keys of a number."""
        return key_slot(number_id.encode())

    async def move(self, slots: Collection[int], *, pause: Callable[[], Awaitable[None]]) -> None:
        """Hand slots to the next node while others use them, with a pause at each stage of their way."""
        for slot in slots:
            taker, giver = self._ends(slot)
            await self._set(taker, slot, "IMPORTING", self.ids[self.owners[slot]])
            await self._set(giver, slot, "MIGRATING", self.ids[self.next_of(slot)])
        await pause()
        for slot in slots:
            taker, giver = self._ends(slot)
            while keys := await giver.client.execute_command("CLUSTER GETKEYSINSLOT", slot, KEYS_AT_ONCE):
                await giver.client.execute_command("MIGRATE", HOST, taker.port, "", 0, 5000, "KEYS", *keys)
        await pause()
        for slot in slots:
            taker, giver = self._ends(slot)
            for node in (taker, giver, *self.nodes):
                await self._set(node, slot, "NODE", self.ids[self.next_of(slot)])
            self.owners[slot] = self.next_of(slot)
        await pause()

    async def move_whole(self, slots: Collection[int]) -> None:
        """Hand slots to the next node with all their keys at once, as Valkey 9 can.

        One after the other: a Valkey 9.0 that gives and takes slots at the same time ends with a failed assertion.
        """
        for slot in slots:
            giver, to = self.owners[slot], self.ids[self.next_of(slot)]
            await self.nodes[giver].client.execute_command("CLUSTER MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", to)
            await until(partial(self._given, slot, giver))
            self.owners[slot] = self.next_of(slot)

    async def _given(self, slot: int, giver: int) -> bool:
        """Tell whether a node knows that it no longer has a slot."""
        rows = await self.nodes[giver].client.execute_command("CLUSTER SLOTS")
        return not any(first <= slot <= last and node[2] == self.ids[giver] for first, last, node, *_ in rows)

    def next_of(self, slot: int) -> int:
        """Return which node a slot moves to."""
        return (self.owners[slot] + 1) % len(self.nodes)

    def _ends(self, slot: int) -> tuple[Valkey, Valkey]:
        return self.nodes[self.next_of(slot)], self.nodes[self.owners[slot]]

    @staticmethod
    async def _set(node: Valkey, slot: int, *words: str) -> None:
        await node.client.execute_command("CLUSTER SETSLOT", slot, *words)

    async def fail_back(self, place: int) -> None:
        """Make a node that restarted, and found itself replaced, the master of its slots again."""
        client = self.nodes[place].client

        async def follows() -> bool:
            return (await client.info("replication")).get("master_link_status") == "up"

        async def leads() -> bool:
            return (await client.info("replication"))["role"] == "master"

        await until(follows)
        await client.execute_command("CLUSTER FAILOVER")
        await until(leads)
        await until(self.complete)

    async def complete(self) -> bool:
        """Tell whether every node sees all slots served."""
        infos = [await node.client.execute_command("CLUSTER INFO") for node in self.nodes]
        return all(info["cluster_state"] == "ok" and info["cluster_slots_ok"] == str(SLOTS) for info in infos)
