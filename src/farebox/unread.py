"""Reads the users of a rebuilt wallet from the ledger: one by one as they are written to, and all of them in time.

A rebuilt wallet has its money at once, and knows nobody's windows and conversations. A user is marked in the wallet,
read from the ledger, and written; whoever changes the user in between takes the mark away, and then the user is read
again. So nothing is lost between looking and writing, however long the reading takes.
"""

import asyncio
import logging
from collections.abc import Sequence
from uuid import uuid4

from farebox.clock import Clock
from farebox.ledger import Ledger
from farebox.rows import known_conversation
from farebox.wallet import Wallet, WalletUnavailableError

log = logging.getLogger(__name__)

MAX_TRIES = 5  # a user who changes that often while being read is waited for no longer: the send answers 503
PAGE = 2_000  # users read in one statement and written in one round trip: some milliseconds for each store


class Unread:
    """Reads users of wallets."""

    def __init__(self, wallet: Wallet, ledger: Ledger, clock: Clock) -> None:
        self._wallet = wallet
        self._ledger = ledger
        self._clock = clock
        self._reading: dict[str, asyncio.Lock] = {}  # by number: many sends to one user read it once

    async def read(self, number_id: str, users: Sequence[str]) -> None:
        """Make users known to their number's wallet. Raises WalletUnavailableError or LedgerUnavailableError."""
        lock = self._reading.setdefault(number_id, asyncio.Lock())
        async with lock:
            position = await self._wallet.position(number_id)
            if position is not None:
                await self._read(number_id, position.epoch, sorted(set(users)))
        if not lock.locked():
            self._reading.pop(number_id, None)

    async def read_all(self, number_id: str, epoch: int) -> None:
        """Make every user with something open known to a wallet of this epoch: whoever is not has nothing open."""
        for listing in ("users_in_windows", "users_in_conversations"):
            after = ""
            while True:
                rows = await self._ledger.fetch(listing, number_id, after, self._clock.now_ms(), PAGE)
                users = [row["user_id"] for row in rows]
                if users and not await self._read(number_id, epoch, users):
                    return  # rebuilt meanwhile, and read again by whoever did that
                if len(users) < PAGE:
                    break
                after = users[-1]
        await self._wallet.filled(number_id, epoch)

    async def _read(self, number_id: str, epoch: int, users: Sequence[str]) -> bool:
        """Read users into a wallet; False where it is no longer of this epoch."""
        left: Sequence[str] = users
        for _ in range(MAX_TRIES):
            marks = await self._wallet.mark(number_id, epoch, left, f"?{uuid4()}")
            if marks is None:
                return False
            if not marks:
                return True
            left = await self._wallet.learn(number_id, epoch, marks, await self._fields(number_id, list(marks)))
            if not left:
                return True
        raise WalletUnavailableError(f"users of number {number_id} changed {MAX_TRIES} times while they were read")

    async def _fields(self, number_id: str, users: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return what the ledger knows of users, as the wallet writes it (take.lua)."""
        now_ms = self._clock.now_ms()
        fields: dict[str, dict[str, str]] = {user: {} for user in users}
        for row in await self._ledger.fetch("windows_of", number_id, users, now_ms):
            fields[row["user_id"]][row["kind"]] = str(row["ends_at_ms"])
        for row in await self._ledger.fetch("conversations_of", number_id, users, now_ms):
            fields[row["user_id"]][f"conv:{row['category']}"] = known_conversation(row)
        return fields
