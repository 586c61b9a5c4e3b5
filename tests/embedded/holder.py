"""Starts the stores in a process of its own, says `ready`, and holds them until SIGTERM asks for a clean stop."""

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from farebox.embedded import EmbeddedStores


async def hold(data_dir: Path) -> None:
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    async with EmbeddedStores(data_dir, postgres_settings={"fsync": "off"}):
        print("ready", flush=True)  # noqa: T201
        await asked.wait()


if __name__ == "__main__":
    loop_name, folder = sys.argv[1:]
    run = {"asyncio": asyncio.run, "uvloop": uvloop.run}[loop_name]
    run(hold(Path(folder)))
