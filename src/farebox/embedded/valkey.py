"""Valkey as a child process."""

import asyncio
import contextlib
import signal
from pathlib import Path

from farebox.embedded.binaries import valkey_program
from farebox.embedded.child import Child, Leash, StopStep, spawn
from farebox.embedded.folders import make_store_folder
from farebox.embedded.privileges import StoreUser

# At TERM Valkey writes its append-only file out; what a kill would lose is the last second.
_STOP_STEPS = (StopStep(signal.SIGTERM, 10.0), StopStep(signal.SIGKILL, 5.0))


def data_folder(data_dir: Path) -> Path:
    """Return the folder that holds Valkey's data."""
    return data_dir / "valkey"


def redis_url(sockets: Path) -> str:
    """Return the URL of the Valkey behind the socket in this folder."""
    return f"unix://{_socket(sockets)}?db=0"


async def start_valkey(data_dir: Path, *, sockets: Path, user: StoreUser, leash: Leash) -> Child:
    """Start Valkey. It may not answer yet."""
    folder = data_folder(data_dir)
    make_store_folder(folder, user)
    settings = {
        "port": "0",
        "unixsocket": str(_socket(sockets)),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        # Refuse writes when memory is full: an evicted wallet would be money forgotten.
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "logfile": "",  # the standard output, which is our log
    }
    options = [word for name, value in settings.items() for word in (f"--{name}", value)]
    return await spawn(
        "Valkey",
        [valkey_program(), *options],
        leash=leash,
        log=data_dir / "valkey.log",
        stop_steps=_STOP_STEPS,
    )


async def wait_for_valkey(valkey: Child, sockets: Path) -> None:
    """Wait until Valkey answers and has loaded its data."""

    async def answers() -> bool:
        try:
            reader, writer = await asyncio.open_unix_connection(str(_socket(sockets)))
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            # While it loads, the answer is an error.
            return await reader.readline() == b"+PONG\r\n"
        except OSError:
            return False
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    await valkey.wait_until(answers)


def _socket(sockets: Path) -> Path:
    return sockets / "valkey.sock"
