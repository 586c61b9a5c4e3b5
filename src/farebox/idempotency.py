"""Requests that are done once: an `Idempotency-Key` is claimed in the ledger before anything else happens.

The same key and body get the first answer again for 24 hours; another body, or a first attempt that is still under
way, is a conflict. Only answers that mean something happened are kept: whatever came to nothing (no funds, a store
away, a mistake in the request) releases the key, so that it may be tried again.

A claim is leased, because its worker may die. When the lease is over, a claim that has done nothing is taken over by
the next attempt; one that may have sent something never is. A worker that was only paused finds its claim gone: the
statement that records a hold demands the claim (record_holds), as it demands the epoch, and then nothing leaves.
"""

import hashlib
import json
import logging
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from farebox.access import IDEMPOTENCY_KEY
from farebox.core.reply import Reply
from farebox.gate import Gate
from farebox.ledger import ClaimLostError, LedgerUnavailableError

log = logging.getLogger(__name__)

REPLAYED = ("Idempotency-Replayed", "true")  # stands in every answer that is told again and not made anew
KEEP_MS = 86_400_000  # a day: longer than any client repeats a request
MAX_KEY = 255  # characters; a UUID has 36
MAX_FORGOTTEN = 50_000  # rows that one pass of the sweep deletes; at one pass in 30 s, 1,600 keys a second
MAX_TRIES = 3  # a key may be released between our finding it in use and our reading it
RETRY_AFTER = ("Retry-After", "1")  # seconds; an attempt under way has its answer by then as a rule
_KEY = re.compile(r'"([\x21-\x7e]{1,255})"|((?!")[\x21-\x7e]{1,255})')

BAD_KEY = f"{IDEMPOTENCY_KEY} must be given once, as 1 to {MAX_KEY} visible ASCII characters without spaces."
OTHER_BODY = f"This {IDEMPOTENCY_KEY} was used for another request; give every request a key of its own."
IN_PROGRESS = f"A request with this {IDEMPOTENCY_KEY} is still in progress; ask again in a moment."


class BadKeyError(ValueError):
    """The header is no key."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """A request with a key. `scope`: whose key it is; `body`: all that must be the same in a repetition."""

    scope: str
    key: str
    body: bytes
    lease_ms: int  # how long an attempt may take; after that it is dead or too late


@dataclass(slots=True)
class Claim:
    """One attempt's right to do what its key stands for. `left`: something happened that the answer is kept for."""

    claim_id: UUID
    left: bool = False


@dataclass(frozen=True, slots=True)
class InUse:
    """What is known of a key that is not free. `answer` is kept of an attempt that came to its end."""

    same_body: bool
    lease_over: bool
    sent: bool
    hold_id: UUID | None
    answer: Reply | None


def read_key(values: Sequence[str]) -> str:
    """Read the header, whose value may stand in quotes as the draft of the standard has it; raises BadKeyError."""
    read = _KEY.fullmatch(values[0].strip()) if len(values) == 1 else None
    if read is None:
        raise BadKeyError(BAD_KEY)
    return read[1] or read[2]


async def claim_key(gate: Gate, keyed: Keyed) -> Claim | InUse:
    """Claim a key, or tell why it is not free. Raises LedgerUnavailableError: nothing can be promised then."""
    key, body = _digest(keyed.key.encode()), _digest(keyed.body)
    for _ in range(MAX_TRIES):
        now_ms, claim_id = gate.clock.now_ms(), uuid.uuid4()
        claimed = await gate.ledger.fetch_one(
            "claim_key", keyed.scope, key, body, claim_id, now_ms, now_ms + keyed.lease_ms, now_ms - KEEP_MS
        )
        if claimed is not None:
            return Claim(claim_id)
        row = await gate.ledger.fetch_one("key_in_use", keyed.scope, key, body, now_ms)
        if row is not None:
            answer = None
            if row["status"] is not None:
                headers = tuple((name, value) for name, value in json.loads(row["headers"]))
                answer = Reply(row["status"], row["body"], headers)
            return InUse(row["same_body"], row["lease_over"], row["state"] == "sent", row["hold_id"], answer)
    return InUse(same_body=True, lease_over=False, sent=False, hold_id=None, answer=None)


async def leave(gate: Gate, claim: Claim, hold_id: UUID | None) -> None:
    """Note that bytes are about to leave without a hold, or on one that is recorded later.

    Raises ClaimLostError or LedgerUnavailableError: none may leave then.
    """
    if await gate.ledger.fetch_one("claim_leaves", claim.claim_id, hold_id) is None:
        raise ClaimLostError


async def keep(gate: Gate, claim: Claim, answer: Reply) -> None:
    """Keep an attempt's answer. With the ledger away a repetition is told what the hold knows, after the lease."""
    headers = json.dumps(answer.headers)
    try:
        await gate.ledger.fetch("keep_answer", claim.claim_id, answer.status, headers, answer.body)
    except LedgerUnavailableError as error:
        log.warning("the answer of claim %s is not kept: %s", claim.claim_id, error)


async def release(gate: Gate, claim: Claim) -> None:
    """Free the key of an attempt that came to nothing. With the ledger away it is free after the lease."""
    try:
        await gate.ledger.fetch("release_claim", claim.claim_id)
    except LedgerUnavailableError as error:
        log.warning("claim %s is released by its lease: %s", claim.claim_id, error)


async def forget_keys(gate: Gate) -> None:
    """Delete keys whose day is over, a bounded number of them."""
    await gate.ledger.fetch("forget_keys", gate.clock.now_ms() - KEEP_MS, MAX_FORGOTTEN)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
