"""Numbers, keys, templates and the clock are read again when the database says that they changed.

A worker listens before it reads them for the first time, so nothing that changes meanwhile is missed, and a start reads
them once: a hundred thousand numbers take seconds, which the first sends would wait beside. While the database is away
nothing is heard, so everything is read again afterwards.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg

from farebox.gate import Gate
from farebox.ledger import LedgerUnavailableError

log = logging.getLogger(__name__)

CHANNEL = "farebox"  # of NOTIFY, see announce_change() in sql/
RECONNECT_S = 1  # pause before listening again after the database was away
CLOSE_S = 1  # how long the end of the connection may take
RULES = ("spend_limit", "renewal_rule", "alert_level")  # tables that are read with the numbers
DATABASE_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    LedgerUnavailableError,
)
Reload = Callable[[], Awaitable[object]]


class Changes:
    """The tables that have changed, heard on a connection of its own."""

    def __init__(self, database_url: str, *, timeout_s: float) -> None:
        self._database_url = database_url
        self._timeout_s = timeout_s
        self._connection: asyncpg.Connection | None = None
        self._tables: set[str] = set()  # many changes in a row are one
        self._news = asyncio.Event()

    @classmethod
    async def listening(cls, database_url: str, *, timeout_s: float) -> "Changes":
        """Return what hears all changes from now on; raises one of DATABASE_AWAY."""
        changes = cls(database_url, timeout_s=timeout_s)
        await changes.listen()
        return changes

    @property
    def hears(self) -> bool:
        """Whether every change since `listen` is heard."""
        return self._connection is not None and not self._connection.is_closed()

    async def listen(self) -> None:
        """Hear all changes from now on, once more after `aclose`; raises one of DATABASE_AWAY."""
        connection = await asyncpg.connect(self._database_url, timeout=self._timeout_s)
        try:
            connection.add_termination_listener(lambda _: self._news.set())
            await connection.add_listener(CHANNEL, self._heard)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection

    async def aclose(self) -> None:
        """Hear nothing any longer, and forget what was heard; a database that is away holds nobody up."""
        connection, self._connection = self._connection, None
        self._tables.clear()
        if connection is not None:
            with suppress(*DATABASE_AWAY):  # past its time asyncpg has cut the connection itself
                await connection.close(timeout=CLOSE_S)

    async def next(self) -> set[str]:
        """Wait for changes and return the names of their tables; raises ConnectionError where nothing is heard."""
        while self.hears and not self._tables:
            self._news.clear()
            await self._news.wait()
        if not self.hears:
            raise ConnectionError("the connection for changes was closed")
        tables, self._tables = self._tables, set()
        return tables

    def _heard(self, *arguments: object) -> None:
        self._tables.add(str(arguments[-1]))
        self._news.set()


async def follow_changes(gate: Gate, changes: Changes) -> None:
    """Read again what changes, for good. What changed before `changes` listened must have been read after that."""
    numbers, ledger = ("number", "account", "auth_international", "volume_tier", *RULES), gate.ledger
    reload: dict[str, Reload] = {
        **dict.fromkeys(numbers, lambda: gate.directory.load_numbers(ledger)),
        "api_key": lambda: gate.directory.load_keys(ledger),
        "template": lambda: gate.directory.load_templates(ledger),
        "clock": lambda: gate.clock.sync(ledger),
    }
    due: set[Reload] = set()
    while True:
        with suppress(*DATABASE_AWAY):
            if not changes.hears:
                await changes.listen()
                due = set(reload.values())
            while True:
                while due:
                    await due.pop()()
                # A table that is not known here is one of a later version, which another gateway runs already.
                due = {reload[table] for table in await changes.next() if table in reload}
        log.warning("changes of settings are not heard at the moment; trying again")
        await changes.aclose()
        await asyncio.sleep(RECONNECT_S)
