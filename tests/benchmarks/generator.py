"""Sends from one process without a framework: plain sockets, one epoll, requests that are written out beforehand.

Two kinds of load. Closed: each connection sends again as soon as it is answered. Open: at a constant rate, whatever the
answers take, each timed from the moment it was due, so that queueing shows. Reads an order as JSON, writes what it saw.
"""

import json
import re
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from benchmarks.population import id_of, key_of

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
PATIENCE_S = 10  # for the answers that are still to come when the time is over
BODY = (
    '{"messaging_product":"whatsapp","recipient_type":"individual","to":"+1650%07d","type":"template","template":'
    '{"name":"order_update","language":{"code":"en_US"},"components":[{"type":"body","parameters":'
    '[{"type":"text","text":"1234"}]}]}}'
)


@dataclass(slots=True)
class Connection:
    """A connection and what it waits for."""

    socket: socket.socket
    began: float = 0.0  # when its request was due
    unread: bytes = b""


@dataclass(slots=True)
class Run:
    """One run."""

    host: str
    numbers: int
    serial: int
    took: list[float] = field(default_factory=list)
    failures: int = 0

    def request(self) -> bytes:
        """Return the next send: with several numbers every second one is of the first, the hot one."""
        self.serial += 1
        number = 1 if self.numbers == 1 or self.serial % 2 else self.serial // 2 % self.numbers + 1
        body = BODY % (2_000_000 + self.serial % 8_000_000)
        return (
            f"POST /v23.0/{id_of(number)}/messages HTTP/1.1\r\nHost: {self.host}\r\n"
            f"Authorization: Bearer {key_of(number)}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def send(self, connection: Connection, due: float) -> None:
        """Send the next message."""
        connection.began = due
        connection.socket.sendall(self.request())

    def receive(self, connection: Connection) -> bool:
        """Read what is there; tell whether an answer is whole."""
        data = connection.socket.recv(65_536)
        if not data:
            raise ConnectionError("the server closed a connection")
        data = connection.unread + data
        end = data.find(b"\r\n\r\n")
        length = LENGTH.search(data, 0, end) if end >= 0 else None
        if length is None or len(data) < end + 4 + int(length[1]):
            connection.unread = data
            return False
        connection.unread = b""
        self.took.append(time.perf_counter() - connection.began)
        self.failures += data[9:10] != b"2"
        return True


def _connect(address: tuple[str, int], count: int) -> tuple[select.epoll, dict[int, Connection]]:
    poll, connections = select.epoll(), {}
    for _ in range(count):
        opened = socket.create_connection(address)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(opened, select.EPOLLIN)
        connections[opened.fileno()] = Connection(opened)
    return poll, connections


def closed(run: Run, poll: select.epoll, connections: dict[int, Connection], seconds: float) -> float:
    """Send again at once; return how long it took."""
    began = time.perf_counter()
    for connection in connections.values():
        run.send(connection, time.perf_counter())
    while (now := time.perf_counter()) < began + seconds:
        for place, _ in poll.poll(began + seconds - now):
            if run.receive(connections[place]):
                run.send(connections[place], time.perf_counter())
    return time.perf_counter() - began


def steady(run: Run, poll: select.epoll, connections: dict[int, Connection], seconds: float, rate: int) -> float:
    """Send at a constant rate; what finds no free connection waits, and its clock runs. Return how long it took."""
    free, due, total = deque(connections.values()), 0, int(seconds * rate)
    began = time.perf_counter() + 0.01
    while len(run.took) < total:
        now = time.perf_counter()
        if now > began + seconds + PATIENCE_S:
            run.failures += total - len(run.took)
            break
        while due < total and free and began + due / rate <= now:
            run.send(free.popleft(), began + due / rate)
            due += 1
        wait = began + due / rate - time.perf_counter() if due < total and free else 1.0
        # epoll itself counts in whole milliseconds, select in microseconds.
        if wait > 0:
            select.select([poll], [], [], wait)
        for place, _ in poll.poll(0):
            if run.receive(connections[place]):
                free.append(connections[place])
    return time.perf_counter() - began


def main() -> None:
    """Do what the order on the standard input says."""
    order = json.load(sys.stdin)
    target = urlsplit(order["url"])
    poll, connections = _connect((str(target.hostname), int(target.port or 80)), order["connections"])
    run = Run(target.netloc, order["numbers"], order["first"])
    if "rate" in order:
        seconds = steady(run, poll, connections, order["seconds"], order["rate"])
    else:
        seconds = closed(run, poll, connections, order["seconds"])
    ordered = sorted(run.took)
    p50, p99 = (1000 * ordered[int(len(ordered) * part)] for part in (0.5, 0.99))
    json.dump(
        {"answers": len(ordered), "seconds": seconds, "p50_ms": p50, "p99_ms": p99, "failures": run.failures},
        sys.stdout,
    )


if __name__ == "__main__":
    main()
