"""A cluster to share: it takes a few seconds until three servers agree that they are one."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from stores.local_cluster import LocalCluster
from stores.servers import start_valkey


@pytest.fixture(scope="session")
async def cluster(open_folder: Path) -> AsyncIterator[LocalCluster]:
    async with AsyncExitStack() as stack:
        yield await LocalCluster.start(stack, open_folder / "cluster")


@pytest.fixture
async def redis_port(open_folder: Path) -> AsyncIterator[int]:
    """The port of a server that is of no cluster."""
    async with AsyncExitStack() as stack:
        yield (await start_valkey(stack, open_folder / "alone")).port
