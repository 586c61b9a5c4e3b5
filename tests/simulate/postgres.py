"""A PostgreSQL in memory: the ledger's tables, row locks of numbers, transactions; behind asyncpg's pool.

A statement runs whole at one moment, once nobody else holds the rows that it locks: that is how the ledger's statements
behave to each other, each being one transaction (READ COMMITTED reads a row anew after waiting for its lock). What a
transaction of several statements writes is taken back if it does not come to its commit. What the statements do is in
`queries`, and `test_simulate` compares it with a real PostgreSQL.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from farebox.sql import queries
from simulate import queries as model
from simulate.network import CutError, Link, RefusedError, Reply
from simulate.tables import Database

ABANDONED_US = (1_000, 800_000)  # how soon the server learns that a client is gone, and rolls back

_names = {text: name for name, text in queries().items()}


class Session:
    """A connection as the server sees it: the rows that it locks, and what would have to be taken back."""

    def __init__(self) -> None:
        self.locked: set[str] = set()
        self.undo: list[Callable[[], None]] = []
        self.advisory: set[int] = set()
        self.in_transaction = False
        self.broken = False


class Postgres:
    """The server."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.sessions: list[Session] = []
        self._waiting: list[Callable[[], bool]] = []
        self.observe: Callable[[str, tuple[Any, ...], list[Any]], None] = lambda *_: None

    def connect(self) -> Session:
        session = Session()
        self.sessions.append(session)
        return session

    def submit(
        self, session: Session, query: str, arguments: tuple[Any, ...], reply: Reply, asked: "asyncio.Future[Any]"
    ) -> None:
        """Run a statement as soon as no other session locks its rows."""

        def attempt() -> bool:
            if session.broken:
                reply(CutError())
                return True
            numbers = model.locks(query, arguments)
            taken = set().union(*(other.locked & numbers for other in self.sessions if other is not session))
            values = arguments
            if taken and query == model.PASSING_LOCKED:
                numbers -= taken
                values = (sorted(numbers),)
            elif taken:
                return False
            if query in model.LOCKING_FOR_LONG and session.in_transaction:
                session.locked |= numbers
            undo = session.undo if session.in_transaction else []
            try:
                rows = model.run(self.database, query, values, undo)
            except asyncpg.PostgresError as error:
                reply(error)
            else:
                self.observe(query, arguments, rows)
                reply(rows)
            return True

        if not attempt():

            def again() -> bool:
                # A client that gave up has sent a cancel request, which finds a statement that waits for a lock.
                return asked.cancelled() or attempt()

            self._waiting.append(again)

    def commit(self, session: Session) -> None:
        session.undo.clear()
        self._unlock(session)

    def roll_back(self, session: Session) -> None:
        while session.undo:
            session.undo.pop()()
        self._unlock(session)

    def disconnect(self, session: Session) -> None:
        """Forget a connection, and everything that was not committed on it."""
        session.broken = True
        session.advisory.clear()
        if session in self.sessions:
            self.sessions.remove(session)
        self.roll_back(session)

    def crash(self) -> None:
        """Cut every connection; what was committed stays."""
        for session in list(self.sessions):
            self.disconnect(session)

    def try_advisory(self, session: Session, lock: int) -> bool:
        if any(lock in other.advisory for other in self.sessions):
            return False
        session.advisory.add(lock)
        return True

    def _unlock(self, session: Session) -> None:
        session.locked.clear()
        session.in_transaction = False
        waiting, self._waiting = self._waiting, []
        self._waiting += [again for again in waiting if not again()]


class Pool:
    """One process's asyncpg pool."""

    def __init__(self, link: Link, server: Postgres, *, timeout_s: float) -> None:
        self._link = link
        self._server = server
        self._timeout_s = timeout_s
        self.sessions: list[Session] = []
        self._plain = self._connected()

    def _connected(self) -> Session:
        session = self._server.connect()
        self.sessions.append(session)
        return session

    async def fetch(self, text: str, *arguments: Any) -> list[Any]:
        return await self.statement(self._plain, text, arguments)

    async def fetchrow(self, text: str, *arguments: Any) -> Any:
        rows = await self.fetch(text, *arguments)
        return rows[0] if rows else None

    def acquire(self) -> "Acquired":
        return Acquired(self)

    def taken(self) -> "Connection":
        return Connection(self, self._connected())

    async def release(self, connection: "Connection") -> None:
        if not self._link.kernel.over:
            self.sessions.remove(connection.session)
            self._server.disconnect(connection.session)

    async def statement(self, session: Session, text: str, arguments: tuple[Any, ...]) -> list[Any]:
        query = _names[text]
        answer: list[Any] = await self.ask(
            session, query, lambda reply, asked: self._server.submit(session, query, arguments, reply, asked)
        )
        return answer

    async def ask(self, session: Session, what: str, arrive: Callable[[Reply, "asyncio.Future[Any]"], None]) -> Any:
        """Ask the server; a connection that broke stays broken, and the server learns of it in its own time."""
        if session is self._plain and session.broken:
            session = self._plain = self._connected()
        if session.broken:
            raise asyncpg.InterfaceError("connection is closed")
        try:
            if session is self._plain:  # the ledger's own patience is the same
                return await self._link.ask(what, arrive)
            async with asyncio.timeout(self._timeout_s):
                return await self._link.ask(what, arrive)
        except CutError:
            self._abandon(session)
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation") from None
        except RefusedError:
            raise ConnectionRefusedError from None
        except (TimeoutError, asyncio.CancelledError):
            self._abandon(session)
            raise

    def _abandon(self, session: Session) -> None:
        if session is self._plain:
            return  # of many plain connections one broke; nothing was open on it
        session.broken = True
        kernel = self._link.kernel
        kernel.after(kernel.random.randrange(*ABANDONED_US), self._server.disconnect, session)

    @property
    def server(self) -> Postgres:
        return self._server


class Acquired:
    """A connection to be taken out of its pool: for good, or for a block."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __await__(self) -> Generator[Any, None, "Connection"]:
        return self._take().__await__()

    async def _take(self) -> "Connection":
        return self._pool.taken()

    async def __aenter__(self) -> "Connection":
        self._connection = self._pool.taken()
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        await self._pool.release(self._connection)


class Connection:
    """A connection that a process took out of its pool."""

    def __init__(self, pool: Pool, session: Session) -> None:
        self._pool = pool
        self.session = session

    def is_closed(self) -> bool:
        return self.session.broken

    async def fetch(self, text: str, *arguments: Any) -> list[Any]:
        return await self._pool.statement(self.session, text, arguments)

    async def fetchrow(self, text: str, *arguments: Any) -> Any:
        rows = await self.fetch(text, *arguments)
        return rows[0] if rows else None

    async def fetchval(self, text: str, *arguments: Any) -> Any:
        if "pg_try_advisory_lock" in text:
            server, session = self._pool.server, self.session
            return await self._pool.ask(
                session, "advisory lock", lambda reply, _: reply(server.try_advisory(session, arguments[0]))
            )
        row = await self.fetchrow(text, *arguments)
        return None if row is None else next(iter(row.values()))

    async def execute(self, text: str, *arguments: Any) -> None:
        if "pg_advisory_unlock" in text:
            session = self.session
            await self._pool.ask(
                session, "advisory unlock", lambda reply, _: reply(session.advisory.discard(arguments[0]))
            )
            return
        if not text.startswith("SET LOCAL"):  # how a statement is planned is no business of the model
            await self.fetch(text, *arguments)

    @asynccontextmanager
    async def transaction(self, **_: Any) -> AsyncIterator[None]:
        session, server, pool = self.session, self._pool.server, self._pool
        session.in_transaction = True
        try:
            yield
        except BaseException:
            if not session.broken and not pool._link.kernel.over:
                await pool.ask(session, "rollback", lambda reply, _: reply(server.roll_back(session)))
            raise

        def commit(reply: Reply, _: Any) -> None:
            if session.broken:
                reply(CutError())
            else:
                reply(server.commit(session))

        await pool.ask(session, "commit", commit)
