"""A network of its own on one machine: a switch, hosts (network namespaces) on it, and a plain TCP balancer."""

import asyncio
import os
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count

import pytest

from operate.tools import need

CHUNK = 65_536


def need_namespaces() -> str:
    """Return the path of `ip`; skip the test where this user may not make network namespaces."""
    ip = need("ip", package="iproute2")
    probe = f"fbx-{secrets.token_hex(2)}"
    if os.geteuid() != 0 or subprocess.run([ip, "netns", "add", probe], capture_output=True, check=False).returncode:
        pytest.skip("network namespaces may not be made here: run it as root, with CAP_SYS_ADMIN and CAP_NET_ADMIN")
    subprocess.run([ip, "netns", "del", probe], check=True)
    return ip


class Network:
    """A switch with this machine at .1 and hosts from .11 on."""

    def __init__(self, ip: str) -> None:
        self._ip = ip
        self._name = f"fbx{secrets.token_hex(2)}"
        self._subnet = f"10.213.{secrets.randbelow(254) + 1}"
        self._hosts: dict[str, str] = {}
        self.here = f"{self._subnet}.1"

    @classmethod
    @asynccontextmanager
    async def open(cls, ip: str) -> AsyncIterator["Network"]:
        """Make the switch; everything is gone when the block ends."""
        network = cls(ip)
        try:
            network._do("link", "add", network._name, "type", "bridge")
            network._do("addr", "add", f"{network.here}/24", "dev", network._name)
            network._do("link", "set", network._name, "up")
            yield network
        finally:
            network._clear()

    def add_host(self, host: str) -> str:
        """Make a host and return its address."""
        address = f"{self._subnet}.{11 + len(self._hosts)}"
        namespace, outside, inside = self._namespace(host), f"{self._name}{host}", f"{self._name}{host}i"
        self._hosts[host] = address
        self._do("netns", "add", namespace)
        self._do("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", namespace)
        self._do("link", "set", outside, "master", self._name, "up")
        for words in (("addr", "add", f"{address}/24", "dev", inside), ("link", "set", inside, "up"),
                      ("link", "set", "lo", "up")):  # fmt: skip
            self._do("-n", namespace, *words)
        return address

    def power_off(self, host: str) -> None:
        """End everything that runs on a host, at once."""
        command = [self._ip, "netns", "pids", self._namespace(host)]
        for pid in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def on(self, host: str) -> tuple[str, ...]:
        """Return what runs a command on a host."""
        return (self._ip, "netns", "exec", self._namespace(host))

    def _clear(self) -> None:
        for host in self._hosts:
            subprocess.run([self._ip, "netns", "del", self._namespace(host)], check=False)
        subprocess.run([self._ip, "link", "del", self._name], check=False)

    def _namespace(self, host: str) -> str:
        return f"{self._name}-{host}"

    def _do(self, *words: str) -> None:
        subprocess.run([self._ip, *words], check=True)


class Balancer:
    """A plain TCP balancer: each connection goes to the next that takes it; it does not look at what passes."""

    def __init__(self, *targets: tuple[str, int] | str) -> None:
        self.targets = list(targets)  # host and port, or the path of a unix socket
        self._turn = count()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str) -> int:
        """Listen; return the port."""
        server = await asyncio.start_server(self._serve, host, 0)
        self._server = server
        return int(server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Cut every connection."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            behind = await self._connect()
            if behind is not None:
                there = asyncio.gather(_pipe(reader, behind[1]), _pipe(behind[0], writer))
                with suppress(OSError):
                    await there
        finally:
            writer.transport.abort() if task.cancelling() else writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in range(len(self.targets)):
            target = self.targets[next(self._turn) % len(self.targets)]
            with suppress(OSError):
                if isinstance(target, str):
                    return await asyncio.open_unix_connection(target)
                return await asyncio.open_connection(*target)
        return None


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand on bytes until one side ends, and then its end."""
    try:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    finally:
        with suppress(OSError):
            writer.close()
