"""The two stores together: one start, one stop, one owner."""

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from farebox.embedded import folders, postgres, valkey
from farebox.embedded.binaries import postgres_program, valkey_program
from farebox.embedded.child import Child, Leash
from farebox.embedded.errors import EmbeddedError
from farebox.embedded.locks import DataLocks
from farebox.embedded.privileges import choose_user, setpriv_options


class EmbeddedStores:
    """A PostgreSQL and a Valkey of our own, with their data in one folder.

    Start them in the main thread, as `async with EmbeddedStores(folder) as stores` or by `start` and `stop`.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        postgres_settings: Mapping[str, str] = MappingProxyType({}),
        fresh: bool = False,
    ) -> None:
        """`fresh` deletes the stores' data at the start, and nothing else in the folder."""
        # Resolved, so that one folder has one lock, one socket folder and one list of parents by every name.
        self.data_dir = data_dir.resolve()
        self._sockets = folders.socket_folder(self.data_dir)
        self.database_url = postgres.database_url(self._sockets)
        self.redis_url = valkey.redis_url(self._sockets)
        self._postgres_settings = postgres_settings
        self._fresh = fresh
        self._locks = DataLocks(self.data_dir)
        self._sockets_open = False
        self._children: list[Child] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start both stores and wait until they answer. Nothing of them is left running when this raises."""
        assert not self._locks.held, "the stores are started once, and again only after a stop"
        if not sys.platform.startswith("linux"):
            raise EmbeddedError(
                "The embedded stores need Linux: set FAREBOX_DATABASE_URL and FAREBOX_REDIS_URL to stores of your own."
            )
        try:
            await self._start()
        except OSError as error:
            await self.stop()
            raise EmbeddedError(f"The data folder {self.data_dir} can not be used: {error}.") from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop both stores, in peace if they let us. Does nothing when they do not run."""
        await asyncio.gather(*(child.stop() for child in self._children))
        self._children.clear()
        if self._sockets_open:
            self._sockets_open = False
            # A folder that cannot be removed is taken over by the next start.
            with contextlib.suppress(OSError):
                folders.remove_socket_folder(self._sockets)
        self._locks.release()

    async def wait_for_exit(self) -> str:
        """Wait until a store ends; say in one line which, how, and what it logged last.

        While the stores are wanted, that is an accident. A caller that stops them cancels this first.
        """
        assert self._children, "the stores are not running"
        ends = {asyncio.ensure_future(child.wait()): child for child in self._children}
        try:
            ended, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        return ends[ended.pop()].obituary()

    async def _start(self) -> None:
        programs = (postgres_program("postgres"), postgres_program("initdb"), valkey_program())
        folders.make_data_folder(self.data_dir)
        user = choose_user(self.data_dir, database=postgres.data_folder(self.data_dir))
        privileges = setpriv_options(user, programs=programs, data_dir=self.data_dir)
        self._locks.take_owner()
        leash = Leash(privileges, await self._locks.take_stores())
        if self._fresh:
            folders.erase(postgres.data_folder(self.data_dir))
            folders.erase(valkey.data_folder(self.data_dir))
        folders.open_socket_folder(self._sockets, user)
        self._sockets_open = True
        # Valkey loads its data while PostgreSQL makes or recovers its own.
        self._children.append(await valkey.start_valkey(self.data_dir, sockets=self._sockets, user=user, leash=leash))
        self._children.append(
            await postgres.start_postgres(
                self.data_dir, sockets=self._sockets, user=user, leash=leash, settings=self._postgres_settings
            )
        )
        valkey_child, postgres_child = self._children
        await postgres.wait_for_database(postgres_child, self._sockets)
        await valkey.wait_for_valkey(valkey_child, self._sockets)
