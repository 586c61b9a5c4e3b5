"""Ports: taken, free, shared."""

import socket


class PortTakenError(Exception):
    """Somebody listens on the port already; the text names it."""


def reserve(host: str, port: int, what: str) -> socket.socket:
    """Bind a port that worker processes will share (SO_REUSEPORT), 0 for a free one; keep the socket while they run.

    Raises PortTakenError. A shared port alone would not tell that another program of ours listens there: the first,
    unshared bind does.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # Connections of a gateway that has just stopped linger for a minute and are no reason to refuse.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            port = probe.getsockname()[1]
        shared = socket.socket(family, socket.SOCK_STREAM)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind((host, port))
    except OSError as error:
        raise PortTakenError(
            f"port {port} ({what}) can not be used: {error.strerror}. Stop what listens there, or choose another port; "
            "0 takes a free one."
        ) from error
    return shared


def number_of(bound: socket.socket) -> int:
    """Return the port of a bound socket."""
    return int(bound.getsockname()[1])
