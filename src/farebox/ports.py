"""Ports: taken, free, shared."""

import socket


class PortTakenError(Exception):
    """Somebody listens on the port already; the text names it."""


def reserve(host: str, port: int, what: str, *, take_over: bool = False) -> socket.socket:
    """Bind a port that worker processes will share (SO_REUSEPORT), 0 for a free one; keep the socket while they run.

    Raises PortTakenError. A shared port alone would not tell that another program of ours listens there: the first,
    unshared bind does. To `take_over` is to share it on purpose, which the kernel allows to programs of one user only.
    """
    try:
        if not take_over:
            with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
                # Connections of a gateway that has just stopped linger for a minute and are no reason to refuse.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
                port = probe.getsockname()[1]
        return share(host, port)
    except OSError as error:
        raise PortTakenError(
            f"port {port} ({what}) can not be used: {error.strerror}. Stop what listens there, or choose another port; "
            "0 takes a free one."
        ) from error


def share(host: str, port: int, *, reuse_address: bool = False) -> socket.socket:
    """Bind a port together with others that do the same; raises OSError.

    With `reuse_address` its connections, which linger for a minute after their end, do not keep the port taken.
    """
    shared = socket.socket(_family(host), socket.SOCK_STREAM)
    try:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if reuse_address:
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        shared.bind((host, port))
    except OSError:
        shared.close()
        raise
    return shared


def number_of(bound: socket.socket) -> int:
    """Return the port of a bound socket."""
    return int(bound.getsockname()[1])


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
