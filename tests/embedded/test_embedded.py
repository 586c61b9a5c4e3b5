"""The embedded stores, with the real binaries and real processes."""

import asyncio
import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from farebox.embedded import DataInUse, EmbeddedError, EmbeddedStores
from farebox.embedded.folders import remove_socket_folder, socket_folder
from farebox.embedded.privileges import StoreUser, choose_user

FAST = {"fsync": "off", "synchronous_commit": "off"}
READ_SEARCH = 1 << 2  # CAP_DAC_READ_SEARCH
HOLDER = Path(__file__).with_name("holder.py")

# A store's shutdown takes a tenth of a second; a slow machine may need longer.
GONE_WITHIN_S = 10.0


def fast(data_dir: Path, *, fresh: bool = False) -> EmbeddedStores:
    return EmbeddedStores(data_dir, postgres_settings=FAST, fresh=fresh)


@asynccontextmanager
async def clients(stores: EmbeddedStores) -> AsyncIterator[tuple[asyncpg.Connection, redis.asyncio.Redis]]:
    connection = await asyncpg.connect(stores.database_url)
    valkey = redis.asyncio.Redis.from_url(stores.redis_url, decode_responses=True)
    try:
        yield connection, valkey
    finally:
        await connection.close()
        await valkey.aclose()


def store_user(data_dir: Path) -> StoreUser:
    return choose_user(data_dir, database=data_dir / "postgres")


async def pids(stores: EmbeddedStores) -> tuple[int, int]:
    """Return the process ids of PostgreSQL and Valkey."""
    async with clients(stores) as (_, valkey):
        info = await valkey.info("server")
    return int((stores.data_dir / "postgres" / "postmaster.pid").read_text().split()[0]), info["process_id"]


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def stores_run(data_dir: Path) -> bool:
    """Whether any process of the stores lives: each of them holds the lock, backends and savers included."""
    with (data_dir / "stores.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


async def until_gone(data_dir: Path) -> None:
    async with asyncio.timeout(GONE_WITHIN_S):
        while stores_run(data_dir):  # noqa: ASYNC110 - another process's lock rings no event
            await asyncio.sleep(0.02)


@asynccontextmanager
async def holder(data_dir: Path, loop_name: str = "asyncio") -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, HOLDER, loop_name, data_dir, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


class TestRunning:
    async def test_both_answer(self, stores: EmbeddedStores) -> None:
        async with clients(stores) as (connection, valkey):
            assert await connection.fetchval("SELECT current_database()") == "farebox"
            assert await connection.fetchval("SHOW server_version_num") >= "180000"
            assert (await valkey.info("server"))["valkey_version"] >= "9"

    async def test_both_are_durable(self, stores: EmbeddedStores) -> None:
        async with clients(stores) as (connection, valkey):
            assert await connection.fetchval("SHOW fsync") == "on"
            assert await connection.fetchval("SHOW synchronous_commit") == "on"
            found = await valkey.config_get("appendonly", "appendfsync", "save", "maxmemory-policy")
        assert found == {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}

    async def test_neither_listens_on_the_network(self, stores: EmbeddedStores) -> None:
        async with clients(stores) as (connection, valkey):
            assert await connection.fetchval("SHOW listen_addresses") == ""
            assert await valkey.config_get("port", "tls-port") == {"port": "0", "tls-port": "0"}

    async def test_only_their_user_can_reach_the_sockets(self, stores: EmbeddedStores) -> None:
        found = socket_folder(stores.data_dir).lstat()
        assert stat.S_IMODE(found.st_mode) == 0o700
        assert found.st_uid == store_user(stores.data_dir).uid

    async def test_neither_runs_as_root_nor_with_its_powers(self, stores: EmbeddedStores) -> None:
        for pid in await pids(stores):
            found = status(pid)
            assert set(found["Uid"].split()) == {str(store_user(stores.data_dir).uid)}
            assert found["Uid"].split()[0] != "0"
            if os.geteuid() == 0:
                assert found["Groups"] == ""
                assert int(found["CapPrm"], 16) in {0, READ_SEARCH}
                assert int(found["CapBnd"], 16) == int(found["CapPrm"], 16)

    async def test_a_second_farebox_is_refused(self, stores: EmbeddedStores) -> None:
        with pytest.raises(DataInUse) as refusal:
            await fast(stores.data_dir, fresh=True).start()
        assert str(stores.data_dir) in str(refusal.value)
        assert f"process {os.getpid()}" in str(refusal.value)
        async with clients(stores) as (connection, valkey):
            assert await connection.fetchval("SELECT 1") == 1
            assert await valkey.ping()

    def test_no_other_child_inherits_the_locks(self, stores: EmbeddedStores) -> None:
        listing = subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, check=True)
        assert b".lock" not in listing.stdout

    async def test_the_environment_stays_with_us(
        self, folder: Path, stores: EmbeddedStores, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PGPORT", "1")
        monkeypatch.setenv("PGSSLMODE", "require")
        async with clients(stores), fast(folder) as others, clients(others) as (connection, _):
            assert await connection.fetchval("SHOW port") == "5432"


class TestData:
    async def test_state_survives_a_restart_and_fresh_starts_over(self, folder: Path) -> None:
        (folder / "kept").write_text("not ours")
        async with fast(folder) as stores, clients(stores) as (connection, valkey):
            await connection.execute("CREATE TABLE ledger AS SELECT 5 AS fare_micros")
            await valkey.set("available", "5")

        async with fast(folder) as stores, clients(stores) as (connection, valkey):
            assert await connection.fetchval("SELECT fare_micros FROM ledger") == 5
            assert await valkey.get("available") == "5"

        async with fast(folder, fresh=True) as stores, clients(stores) as (connection, valkey):
            assert await connection.fetchval("SELECT to_regclass('ledger')") is None
            assert await valkey.get("available") is None
        assert (folder / "kept").read_text() == "not ours"

    async def test_a_long_path_with_spaces_and_an_interrupted_initdb(self, folder: Path) -> None:
        data_dir = folder / "a folder with spaces" / ("long" * 40)
        unfinished = data_dir / "postgres.new" / "base"
        unfinished.mkdir(parents=True)
        async with fast(data_dir) as stores, clients(stores) as (connection, valkey):
            assert await connection.fetchval("SELECT 1") == 1
            assert await valkey.ping()
        assert not unfinished.exists()

    async def test_a_stale_process_id_stops_nobody(self, folder: Path) -> None:
        async with fast(folder) as stores:
            pidfile = folder / "postgres" / "postmaster.pid"
            lines = pidfile.read_text().splitlines()
            _, valkey_pid = await pids(stores)
        async with fast(folder / "other") as other:
            # The id of a living process of the same user, as after a crash of a container with few processes.
            _, valkey_pid = await pids(other)
            pidfile.write_text("\n".join([str(valkey_pid), *lines[1:]]) + "\n")
            async with fast(folder) as stores, clients(stores) as (connection, _):
                assert await connection.fetchval("SELECT 1") == 1

    @pytest.mark.skipif(
        os.geteuid() == 0 and not int(status(os.getpid())["CapPrm"], 16) & READ_SEARCH,
        reason="a root without dac_read_search can not open this path to the stores",
    )
    async def test_the_parents_keep_their_modes(self, folder: Path) -> None:
        closed = folder / "closed"
        data_dir = closed / "data"
        data_dir.mkdir(parents=True)
        data_dir.chmod(0o755)
        closed.chmod(0o700)

        def modes() -> list[tuple[int, int, int]]:
            folders = [data_dir, *data_dir.parents, *Path(sys.prefix).parents]
            return [(found.st_mode, found.st_uid, found.st_gid) for found in (folder.stat() for folder in folders)]

        before = modes()
        async with fast(data_dir) as stores, clients(stores) as (connection, _):
            assert await connection.fetchval("SELECT 1") == 1
            assert modes() == before
        assert modes() == before


class TestEnd:
    @pytest.mark.parametrize("loop_name", ["asyncio", "uvloop"])
    async def test_kill_leaves_no_orphan(self, folder: Path, loop_name: str) -> None:
        async with holder(folder, loop_name) as process:
            process.kill()
            await until_gone(folder)
        remove_socket_folder(socket_folder(folder))

    @pytest.mark.parametrize(("loop_name", "last"), [("asyncio", "postgres"), ("uvloop", "valkey")])
    async def test_a_start_after_a_kill_waits_for_the_last_store(self, folder: Path, loop_name: str, last: str) -> None:
        stores = fast(folder)
        async with holder(folder, loop_name) as process:
            postgres, valkey = await pids(stores)
            frozen = {"postgres": postgres, "valkey": valkey}[last]
            os.kill(frozen, signal.SIGSTOP)
            process.kill()
            await process.wait()
            start = asyncio.ensure_future(stores.start())
            await asyncio.sleep(0)
            assert stores_run(folder)
            assert not start.done()
            os.kill(frozen, signal.SIGCONT)
            await start
        async with clients(stores) as (connection, client):
            assert await connection.fetchval("SELECT 1") == 1
            assert await client.ping()
        await stores.stop()

    @pytest.mark.parametrize("loop_name", ["asyncio", "uvloop"])
    async def test_term_stops_cleanly(self, folder: Path, loop_name: str) -> None:
        async with holder(folder, loop_name) as process:
            process.terminate()
            assert await process.wait() == 0
        assert not stores_run(folder)
        assert not socket_folder(folder).exists()
        assert "database system is shut down" in (folder / "postgres.log").read_text()

    async def test_a_store_that_dies_is_reported(self, folder: Path) -> None:
        async with fast(folder) as stores:
            _, valkey = await pids(stores)
            report = asyncio.ensure_future(stores.wait_for_exit())
            os.kill(valkey, signal.SIGKILL)
            async with asyncio.timeout(GONE_WITHIN_S):
                assert (await report).startswith("Valkey ended by SIGKILL; the end of ")
        assert not stores_run(folder)

    async def test_stop_may_come_twice_and_a_start_after_it(self, folder: Path) -> None:
        stores = fast(folder)
        await stores.stop()
        await stores.start()
        await stores.stop()
        await stores.stop()
        async with stores, clients(stores) as (connection, _):
            assert await connection.fetchval("SELECT 1") == 1


class TestErrors:
    async def test_a_failed_start_says_why_and_leaves_nothing(self, folder: Path) -> None:
        with pytest.raises(EmbeddedError, match=r"PostgreSQL ended with exit code 1; .*postgres\.log: .*nonsense"):
            await EmbeddedStores(folder, postgres_settings={**FAST, "nonsense": "1"}).start()
        assert not stores_run(folder)
        assert not socket_folder(folder).exists()
        async with fast(folder) as stores, clients(stores) as (connection, _):
            assert await connection.fetchval("SELECT 1") == 1
