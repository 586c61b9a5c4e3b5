"""A master, a replica and three sentinels, all real: the master dies under load, the replica takes over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from farebox.config import Settings
from farebox.gate import Gate, open_gate
from stores.load import Load
from stores.servers import HOST, Valkey, start_valkey, until

NUMBERS = 10
NAME = "wallets"
PASSWORD, SENTINEL_PASSWORD = "of-the-stores", "of-the-sentinels"
AUTH = {"requirepass": PASSWORD, "primaryauth": PASSWORD}


@dataclass
class Watched:
    """What the sentinels watch, and their URL."""

    master: Valkey
    replica: Valkey
    sentinels: list[Valkey]

    @property
    def url(self) -> str:
        hosts = ",".join(f"{HOST}:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://:{PASSWORD}@{hosts}/{NAME}/0?sentinel_password={SENTINEL_PASSWORD}"

    async def ready(self) -> bool:
        """Tell whether each sentinel knows the replica and both others: then they can agree on a failover."""
        rows = [(await sentinel.client.sentinel_masters())[NAME] for sentinel in self.sentinels]
        return all(row["num-slaves"] == 1 and row["num-other-sentinels"] == 2 for row in rows)


@pytest.fixture
async def watched(open_folder: Path) -> AsyncIterator[Watched]:
    async with AsyncExitStack() as stack:
        folder, login = open_folder / "sentinel", {"password": PASSWORD}
        master = await start_valkey(stack, folder / "master", AUTH, login=login)
        replica = await start_valkey(
            stack, folder / "replica", {**AUTH, "replicaof": f"{HOST} {master.port}"}, login=login
        )
        await until(partial(_replicates, replica))  # a sentinel asks when it starts, and then only every ten seconds
        configuration = f"""
            sentinel monitor {NAME} {HOST} {master.port} 2
            sentinel auth-pass {NAME} {PASSWORD}
            sentinel down-after-milliseconds {NAME} 500
            sentinel failover-timeout {NAME} 3000
            sentinel sentinel-pass {SENTINEL_PASSWORD}
            requirepass {SENTINEL_PASSWORD}
        """
        sentinels = [
            await start_valkey(
                stack,
                folder / f"sentinel{place}",
                login={"password": SENTINEL_PASSWORD},
                sentinel="\n".join(line.strip() for line in configuration.splitlines()) + "\n",
            )
            for place in range(3)
        ]
        watched = Watched(master, replica, sentinels)
        await until(watched.ready)
        yield watched


async def _replicates(replica: Valkey) -> bool:
    return (await replica.client.info("replication"))["master_link_status"] == "up"


@pytest.fixture
async def gates(database_url: str, watched: Watched, tmp_path: Path) -> AsyncIterator[list[Gate]]:
    settings = Settings(database_url=database_url, redis_url=watched.url, data_dir=tmp_path, wallet_timeout_s=2)
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_gate(settings)) for _ in range(2)]


async def test_sends_go_on_after_a_failover_and_nothing_is_spent_twice(watched: Watched, gates: list[Gate]) -> None:
    load = await Load.on(gates, numbers=NUMBERS, fares=100)
    stop = asyncio.Event()
    sending = asyncio.create_task(load.until(stop, settling=False))
    await load.more("reserved")
    epochs = await load.epochs()
    await watched.master.kill()
    await load.more("WalletUnavailableError")
    # The new master may lack what the old one did last, so nothing is taken from its copies of the wallets.
    await until(partial(load.rebuilt_since, epochs))
    await load.more("reserved")
    stop.set()
    await sending
    assert (await watched.replica.client.info("replication"))["role"] == "master"
    await load.sums_up()
