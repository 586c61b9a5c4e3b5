"""The people who may sign in: names, passwords, roles.

A password is kept as its argon2id hash (RFC 9106's second recommendation: 64 MiB, three passes). Checking one takes
a tenth of a second of a core and that memory, so only two are checked at once; and after ten wrong ones in a row a name
has to wait a quarter of an hour, whatever comes: guessing one word a minute finds no password.
"""

import asyncio
import re
import secrets
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from farebox.ledger import Ledger

MIN_PASSWORD = 12  # characters: what an attacker with the hashes can not go through
MAX_PASSWORD = 1_024  # argon2 would take gigabytes; nobody types them
MAX_FAILURES = 10
LOCKED_S = 900
_AT_ONCE = 2
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")  # as the table says

_hasher = PasswordHasher()
_checking = asyncio.Semaphore(_AT_ONCE)


class Role(IntEnum):
    """What a person may do; each may do what those before may."""

    VIEWER = 0  # look at everything
    FINANCE = 1  # money: add funds, renew, billing information
    OPERATOR = 2  # how numbers are metered, what is in quarantine


@dataclass(frozen=True, slots=True)
class Person:
    """Who is signed in."""

    name: str
    role: Role

    @property
    def initials(self) -> str:
        """Return one or two letters for the menu."""
        words = [word for word in re.split(r"[^a-z0-9]+", self.name.partition("@")[0]) if word]
        return "".join(word[0] for word in words[:2]).upper() or "?"


class UserError(ValueError):
    """A user can not be made so; the sentence says what to change."""


def check_user(name: str, password: str) -> None:
    """Raise UserError where name or password will not do."""
    if _NAME.fullmatch(name) is None:
        raise UserError("the name must be 1 to 64 small letters, digits or . _ @ + -, like ann@example.com")
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise UserError(f"the password must have {MIN_PASSWORD} to {MAX_PASSWORD} characters")


async def put_user(ledger: Ledger, name: str, password: str, role: Role) -> bool:
    """Make a user, or give one another password and role, which ends its sessions. Tell whether it is new."""
    check_user(name, password)
    hashed = await asyncio.to_thread(_hasher.hash, password)
    row = await ledger.fetch_one("put_user", name, hashed, role.name.lower())
    assert row is not None, "an upsert returns its row"
    return bool(row["created"])


async def check_password(ledger: Ledger, name: str, password: str) -> bool:
    """Tell whether a name has this password, and was not tried too often."""
    if len(password) > MAX_PASSWORD or _NAME.fullmatch(name) is None:
        return False
    row = await ledger.fetch_one("user_to_check", name, MAX_FAILURES, LOCKED_S)
    async with _checking:
        right = await asyncio.to_thread(_verify, None if row is None else row["password_hash"], password)
    if row is None or row["locked"]:
        return False
    await ledger.fetch_one("user_checked", name, right)
    return right


@cache
def _of_nobody() -> str:
    """Return a hash that an unknown name is checked against, so that it takes as long as a known one."""
    return _hasher.hash(secrets.token_urlsafe())


def _verify(hashed: str | None, password: str) -> bool:
    try:
        return _hasher.verify(hashed or _of_nobody(), password)
    except (VerificationError, InvalidHashError):
        return False
