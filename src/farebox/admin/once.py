"""A write with an `Idempotency-Key` is done once: a repetition gets the first answer, a refusal may be tried again.

Between doing and keeping the answer a crash may come; after the lease the repetition then does the write again. That
changes nothing for most: PUT, PATCH and DELETE set what is set already, a top-up books once per reference (and has one
made from its key where the client gives none), a quote takes nothing. Two writes are not of this kind: POST /v1/keys
makes a second key, while nobody ever saw the first, which GET /v1/keys lists; and the sandbox's clock moves again where
it is advanced by seconds.
"""

from collections.abc import Awaitable, Callable, Sequence

from farebox import metrics
from farebox.admin.problems import ProblemError
from farebox.core.reply import Reply
from farebox.gate import Gate
from farebox.idempotency import (
    IN_PROGRESS,
    OTHER_BODY,
    REPLAYED,
    RETRY_AFTER,
    BadKeyError,
    InUse,
    Keyed,
    claim_key,
    keep,
    read_key,
    release,
)

LEASE_MS = 60_000  # a write waits a few times for the ledger, 3 s each; moving the test clock makes a pass of the sweep


def key_of(values: Sequence[str]) -> str | None:
    """Return the key that a request brings, None where it brings none."""
    if not values:
        return None
    try:
        return read_key(values)
    except BadKeyError as error:
        raise ProblemError(400, str(error)) from None


async def once(
    gate: Gate, path: str, key: str, body: bytes, write: Callable[[], Awaitable[tuple[Reply, Reply]]]
) -> Reply:
    """Do a write once, or tell its first answer again. `write` returns the answer, and what of it may be kept."""
    claimed = await claim_key(gate, Keyed(scope=f"admin {path}", key=key, body=body, lease_ms=LEASE_MS))
    if isinstance(claimed, InUse):
        return _told(claimed)
    try:
        answer, kept = await write()
    except Exception:
        await release(gate, claimed)
        raise
    await keep(gate, claimed, kept)
    return answer


def _told(found: InUse) -> Reply:
    """Answer a repetition."""
    outcome = "conflict" if not found.same_body else "in_progress" if found.answer is None else "replayed"
    metrics.REPEATED.labels(outcome).inc()
    if not found.same_body:
        raise ProblemError(409, OTHER_BODY)
    if found.answer is None:
        raise ProblemError(409, IN_PROGRESS, headers=dict([RETRY_AFTER]))
    return found.answer.with_headers(REPLAYED)
