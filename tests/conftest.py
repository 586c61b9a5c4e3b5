"""What the tests stand on: real stores, started once, a database for every test, a whole gateway on demand."""

import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from factory import FAST, fastest_folder
from farebox.config import Settings
from farebox.embedded import EmbeddedStores
from farebox.gate import Gate, open_gate
from farebox.migrate import migrate
from harness import ADMIN_TOKEN, APP_SECRET, VERIFY_TOKEN, World

_serial = itertools.count()
LONGEST = ("test_simulate.py", "test_machine.py")


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> Iterator[None]:
    """A developer's own FAREBOX_* variables must not reach the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("FAREBOX_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that the stores' user can enter; pytest's own are closed, also to a root without capabilities."""
    with tempfile.TemporaryDirectory(prefix="farebox-tests-", dir=fastest_folder()) as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture(scope="session")
async def stores(open_folder: Path) -> AsyncIterator[EmbeddedStores]:
    async with EmbeddedStores(open_folder, postgres_settings=FAST) as embedded:
        await migrate(embedded.database_url)
        yield embedded


@pytest.fixture
async def database_url(stores: EmbeddedStores) -> AsyncIterator[str]:
    """A migrated database of this test's own, copied from the migrated one."""
    name = f"test_{next(_serial)}"
    admin = await asyncpg.connect(stores.database_url.replace("/farebox?", "/postgres?"))
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE farebox STRATEGY file_copy")
    yield stores.database_url.replace("/farebox?", f"/{name}?")
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def redis_url(stores: EmbeddedStores) -> str:
    async with Redis.from_url(stores.redis_url) as client:
        await client.flushall()
    return stores.redis_url


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        database_url=database_url,
        redis_url=redis_url,
        data_dir=tmp_path,
        admin_token=ADMIN_TOKEN,
        app_secret=APP_SECRET,
        verify_token=VERIFY_TOKEN,
        wallet_timeout_s=2,  # a busy machine is no dead store
        ledger_timeout_s=10,
        upstream_url="http://127.0.0.1:9",  # the discard port: nothing answers unless a test says who
    )


@pytest.fixture
async def gate(settings: Settings) -> AsyncIterator[Gate]:
    async with open_gate(settings) as opened:
        yield opened


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    """A whole gateway with a simulated WhatsApp, an application behind it, one funded number and one key."""
    async with World.open(settings) as opened:
        yield opened


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take minutes: they would be alone at the end, while the other process has nothing."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
