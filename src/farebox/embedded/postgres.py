"""PostgreSQL as a child process."""

import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from farebox.embedded.binaries import postgres_program
from farebox.embedded.child import Child, Leash, StopStep, spawn
from farebox.embedded.errors import EmbeddedError
from farebox.embedded.folders import erase, make_store_folder
from farebox.embedded.privileges import StoreUser

ROLE = DATABASE = "farebox"
_PORT = 5432  # On unix sockets only a part of the socket's name. Stated in the URL, or PGPORT would fill it in.

# Fast shutdown rolls back what runs and writes a checkpoint, which is what takes its time. Immediate shutdown (QUIT)
# writes nothing, and the next start replays the log.
_STOP_STEPS = (
    StopStep(signal.SIGINT, 20.0),
    StopStep(signal.SIGQUIT, 5.0),
    StopStep(signal.SIGKILL, 5.0),
)
# It takes half a second, and as long as a slow disk needs to make 40 MB durable.
_INITDB_TIMEOUT_S = 60.0
# Interrupted, initdb removes what it made.
_INITDB_STOP_STEPS = (StopStep(signal.SIGINT, 5.0), StopStep(signal.SIGKILL, 5.0))

# Stated although they are PostgreSQL's defaults: the ledger is worth no more than these two lines.
_DURABLE = {"fsync": "on", "synchronous_commit": "on"}


def data_folder(data_dir: Path) -> Path:
    """Return the folder that holds PostgreSQL's data. While it exists, they are complete."""
    return data_dir / "postgres"


def database_url(sockets: Path) -> str:
    """Return the URL of the database behind the sockets in this folder."""
    return f"postgresql://{ROLE}@/{DATABASE}?host={sockets}&port={_PORT}"


async def start_postgres(
    data_dir: Path, *, sockets: Path, user: StoreUser, leash: Leash, settings: Mapping[str, str]
) -> Child:
    """Start PostgreSQL, on new data if there are none. It may not answer yet."""
    folder = data_folder(data_dir)
    durable = {**_DURABLE, **settings}
    if not folder.exists():
        # An interrupted initdb leaves half a database that looks like one. So it works under another name.
        unfinished = data_dir / "postgres.new"
        erase(unfinished)
        make_store_folder(unfinished, user)
        await _initdb(unfinished, leash=leash, log=data_dir / "initdb.log", sync=durable["fsync"] != "off")
        _rename_durably(unfinished, folder)
    # PostgreSQL refuses to start while the process of this id is alive. After a crash of the machine or a container
    # that may be any process by now. We know better: the stores lock is ours, so no server runs on this data.
    with contextlib.suppress(FileNotFoundError):
        (folder / "postmaster.pid").unlink()
    fixed = {
        "listen_addresses": "",
        "port": str(_PORT),
        "unix_socket_directories": str(sockets),
        "logging_collector": "off",  # all goes to our log
    }
    options = [f"--{name}={value}" for name, value in {**durable, **fixed}.items()]
    return await spawn(
        "PostgreSQL",
        [postgres_program("postgres"), "-D", folder, *options],
        leash=leash,
        log=data_dir / "postgres.log",
        stop_steps=_STOP_STEPS,
    )


async def wait_for_database(postgres: Child, sockets: Path) -> None:
    """Wait until PostgreSQL answers and make sure that our database exists."""

    async def answers() -> bool:
        try:
            await _make_database(sockets)
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError):
            return False  # not yet, or not any more
        except asyncpg.PostgresError as error:
            raise EmbeddedError(f"PostgreSQL has no database for farebox: {error}.") from error
        return True

    await postgres.wait_until(answers)


async def _make_database(sockets: Path) -> None:
    connection = await asyncpg.connect(host=str(sockets), port=_PORT, user=ROLE, database="postgres", ssl=False)
    try:
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f'CREATE DATABASE "{DATABASE}"')
    finally:
        await connection.close()


async def _initdb(folder: Path, *, leash: Leash, log: Path, sync: bool) -> None:
    # Trust, because who can enter the socket folder is the stores' user or root. The locale is PostgreSQL's own, so
    # that the same data sort the same on every machine.
    options = ["--username", ROLE, "--auth-local=trust", "--auth-host=reject", "--encoding=UTF8", "--locale=C"]
    options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
    if not sync:
        options.append("--no-sync")
    initdb = await spawn(
        "initdb",
        [postgres_program("initdb"), "-D", folder, *options],
        leash=leash,
        log=log,
        stop_steps=_INITDB_STOP_STEPS,
    )
    await initdb.finish(_INITDB_TIMEOUT_S)


def _rename_durably(source: Path, target: Path) -> None:
    source.rename(target)
    parent = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
