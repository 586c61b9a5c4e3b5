"""Who is acting, and why: set around a write, handed to the database with it, where the audit log writes it down.

    with acting(Actor("user ann@example.com", why="asked for by phone", request_id="4f1c")):
        await ledger.fetch("put_number", ...)

The audit log's triggers (`sql/0022_audit.sql`) write the row in the transaction of the change. A deed that changes no
table with such a trigger notes itself: `await ledger.note("replayed", "quarantine", "17", before=None, after={...})`.
"""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

MAX_WHY = 500  # characters, as the table takes them: a sentence or two
MAX_WHO = 200


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts (`admin token`, `user ann@example.com`, `command reconcile by ann`), why, and for which request."""

    who: str
    why: str = ""
    request_id: str = ""


_ACTOR: ContextVar[Actor | None] = ContextVar("farebox_actor", default=None)


def by_command(name: str, *, why: str = "") -> Actor:
    """Return the actor of a command: its name, and the user of the machine who runs it, sudo or not."""
    user_id = os.environ.get("SUDO_UID", "")
    try:
        user = pwd.getpwuid(int(user_id) if user_id.isdecimal() else os.getuid()).pw_name
    except KeyError:  # in a container a user often has a number and no name
        user = f"user {user_id or os.getuid()}"
    return Actor(f"command {name} by {user}", why)


def actor() -> Actor | None:
    """Return who is acting, None where nobody said so: the gateway itself."""
    return _ACTOR.get()


@contextmanager
def acting(who: Actor) -> Iterator[None]:
    """Let everything that is written in this block be written in somebody's name."""
    token = _ACTOR.set(who)
    try:
        yield
    finally:
        _ACTOR.reset(token)
