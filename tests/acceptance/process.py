"""farebox as a person runs it: a process, its output, its ports."""

import asyncio
import json
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

START_S = 60  # what the first start of a new machine may take


class Farebox:
    """A running command; its output so far, and what it printed for people to try."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output = ""

    async def read_until(self, text: str) -> None:
        """Read what is printed until a text comes; fails with the output if it never does."""
        assert self.process.stdout is not None
        async with asyncio.timeout(START_S):
            while text not in self.output:
                line = await self.process.stdout.readline()
                assert line, f"farebox ended without printing {text!r}:\n{self.output}"
                self.output += line.decode()

    def url(self, what: str) -> str:
        found = re.search(rf"{what} (http://[^\s\"]+)", self.output)
        assert found is not None, self.output
        return found[1]

    def curls(self) -> list[list[str]]:
        """The commands that the sandbox prints, ready to paste."""
        text = self.output.replace("\\\n", " ")
        return [shlex.split(line) for line in text.splitlines() if line.strip().startswith("curl ")]

    async def end(self, signal: int) -> int:
        if self.process.returncode is None:
            self.process.send_signal(signal)
        async with asyncio.timeout(START_S):
            return await self.process.wait()


@asynccontextmanager
async def farebox(
    *arguments: str, environment: dict[str, str] | None = None, inside: tuple[str, ...] = ()
) -> AsyncIterator[Farebox]:
    """Run a command of farebox, `inside` what another command puts around it; it is gone when the block ends."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FAREBOX_")}
    process = await asyncio.create_subprocess_exec(
        *inside,
        sys.executable,
        "-m",
        "farebox",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # A busy machine is no dead store.
        env={**clean, "PYTHONUNBUFFERED": "1", "FAREBOX_WALLET_TIMEOUT_S": "2", **(environment or {})},
        limit=2**20,
    )
    running = Farebox(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def sandbox(data_dir: Path, *arguments: str) -> AsyncIterator[Farebox]:
    async with farebox("sandbox", "--port", "0", "--data-dir", str(data_dir), *arguments) as running:
        await running.read_until("Ctrl-C ends everything")
        yield running


async def run(*command: str) -> tuple[int, str]:
    """Run a command to its end: exit code and output."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def curl(session: aiohttp.ClientSession, command: list[str]) -> tuple[int, Any]:
    """Do what a printed curl command does: URL, headers, data."""
    arguments = command[1:]
    headers: dict[str, str] = {"Content-Type": "application/x-www-form-urlencoded"}
    data: list[str] = []
    url = ""
    while arguments:
        word = arguments.pop(0)
        if word == "-H":
            name, _, value = arguments.pop(0).partition(": ")
            headers[name] = value
        elif word == "-d":
            data.append(arguments.pop(0))
        elif word != "-i":
            url = word
    if not data:
        async with session.get(url, headers=headers) as answer:
            return answer.status, await answer.json()
    async with session.post(url, headers=headers, data="&".join(data)) as answer:
        return answer.status, json.loads(await answer.text())


def processes_of(data_dir: Path) -> list[str]:
    """Command lines of processes that have this folder open or named: stores that were left behind."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(data_dir) in words and ("postgres" in words or "valkey" in words):
                found.append(words)
    return found
