"""PostgreSQL and Valkey as children that can be harmed one by one, and started again on the data that they left."""

import asyncio
import contextlib
import os
import shutil
import signal
from pathlib import Path

import asyncpg
from redis.asyncio import Redis

from farebox.embedded import folders, postgres, valkey
from farebox.embedded.binaries import postgres_program, valkey_program
from farebox.embedded.child import Child, Leash
from farebox.embedded.locks import DataLocks
from farebox.embedded.privileges import StoreUser, choose_user, setpriv_options

# A power cut is not among the faults, so nothing has to reach the disk; a commit must outlive its process all the same.
SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "50", "restart_after_crash": "on"}
GONE_S = 30  # in which the children of a killed PostgreSQL notice and end


class Stores:
    """Both stores. Start them in the main thread."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.resolve()
        self._sockets = folders.socket_folder(self._data_dir)
        self.database_url = postgres.database_url(self._sockets)
        self.redis_url = valkey.redis_url(self._sockets)
        self._locks = DataLocks(self._data_dir)
        self._leash: Leash | None = None
        self._postgres: Child | None = None
        self._user: StoreUser | None = None
        self._valkey: Child | None = None

    async def start(self) -> None:
        programs = (postgres_program("postgres"), postgres_program("initdb"), valkey_program())
        folders.make_data_folder(self._data_dir)
        self._user = user = choose_user(self._data_dir, database=postgres.data_folder(self._data_dir))
        privileges = setpriv_options(user, programs=programs, data_dir=self._data_dir)
        self._locks.take_owner()
        self._leash = Leash(privileges, await self._locks.take_stores())
        folders.open_socket_folder(self._sockets, user)
        await self.start_valkey()
        await self.start_postgres()

    async def stop(self) -> None:
        for child in (self._valkey, self._postgres):
            if child is not None:
                await child.stop()
        with contextlib.suppress(OSError):
            folders.remove_socket_folder(self._sockets)
        self._locks.release()

    async def start_valkey(self) -> None:
        assert self._leash is not None
        assert self._user is not None
        self._valkey = await valkey.start_valkey(
            self._data_dir, sockets=self._sockets, user=self._user, leash=self._leash
        )
        await valkey.wait_for_valkey(self._valkey, self._sockets)

    async def start_postgres(self) -> None:
        assert self._leash is not None
        assert self._user is not None
        self._postgres = await postgres.start_postgres(
            self._data_dir, sockets=self._sockets, user=self._user, leash=self._leash, settings=SETTINGS
        )
        await postgres.wait_for_database(self._postgres, self._sockets)

    async def kill_valkey(self) -> None:
        assert self._valkey is not None
        os.kill(self._valkey.pid, signal.SIGKILL)
        await self._valkey.wait()

    async def kill_postgres(self) -> None:
        """Kill it, and wait until nobody works on its data any more: the next one must be alone with them."""
        family = self._postgres_family()
        assert self._postgres is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._postgres.pid, signal.SIGKILL)
        await self._postgres.wait()
        async with asyncio.timeout(GONE_S):
            for process in family:
                while Path(f"/proc/{process}").exists():  # noqa: ASYNC110, ASYNC240  others' processes tell nobody
                    await asyncio.sleep(0.01)

    def signal_valkey(self, number: signal.Signals) -> None:
        assert self._valkey is not None
        os.kill(self._valkey.pid, number)

    def signal_postgres(self, number: signal.Signals) -> None:
        for process in self._postgres_family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    async def fill_the_disk(self) -> None:
        """Let PostgreSQL write no more: its files may not grow past their first byte, as on a disk that is full.

        Its own user may limit it so; a root in a container may not.
        """
        assert self._leash is not None
        for process in self._postgres_family():
            command = ("setpriv", *self._leash.privileges, "prlimit", "--pid", str(process), "--fsize=1:")
            limiting = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
            await limiting.wait()  # not 0 where the process has ended meanwhile

    def copy_valkey(self, target: Path) -> None:
        shutil.copytree(valkey.data_folder(self._data_dir), target)

    def replace_valkey(self, source: Path) -> None:
        assert self._user is not None
        folder = valkey.data_folder(self._data_dir)
        shutil.rmtree(folder)
        shutil.copytree(source, folder)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, self._user.uid, self._user.gid)

    async def flush_valkey(self) -> None:
        async with Redis.from_url(self.redis_url) as client:
            await client.flushall()

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(self.database_url, server_settings={"application_name": "chaos"})

    def _postgres_family(self) -> list[int]:
        assert self._postgres is not None
        family = [self._postgres.pid]
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                if folder.name.isdigit() and int(_parent(folder)) == self._postgres.pid:
                    family.append(int(folder.name))
        return family


def _parent(process: Path) -> str:
    return (process / "stat").read_text().rpartition(")")[2].split()[1]
