"""What webhooks said and the books could not take, and telling it again."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from farebox import quarantine
from farebox.admin.fields import PLAIN
from farebox.admin.models import MAX_PAGE, Asked, Given, Nothing
from farebox.admin.problems import ProblemError
from farebox.admin.routing import Answer, Ask, Get
from farebox.intake import tell_again
from farebox.news import Kind

SHOWN_DIGITS = 4  # of a user's phone number: enough to recognise one, too few to dial it
_MAX_ID = 2**63 - 1


class QuarantineQuery(Asked):
    """Which pieces."""

    about: Annotated[str, Field(max_length=512), PLAIN] | None = Field(
        None, description="Of this phone number id, business account or template list only."
    )
    kind: Literal["inbound", "status", "unmatched", "foreign", "template", "terms"] | None = Field(
        None, description="Of this kind only."
    )
    resolved: bool = Field(
        default=False, description="Those that were told again with success, in place of the open ones."
    )
    limit: int = Field(50, ge=1, le=MAX_PAGE)
    before: int | None = Field(None, ge=1, le=_MAX_ID, description="The `next` of the page before.")


class Held(Given):
    """A piece of a webhook that the books could not take."""

    quarantine_id: int
    about: str
    kind: Kind
    reason: str
    content: dict[str, Any] = Field(description="What the webhook said; users by their last digits.")
    tries: int
    created_at: datetime
    resolved_at: datetime | None


class Quarantine(Given):
    """Pieces in quarantine, the newest first."""

    quarantine: list[Held]
    next: int | None = Field(description="Give this as `before` for the next page; null: there is none.")


class Told(Given):
    """What came of telling a piece again."""

    resolved: bool
    reason: str | None = Field(description="Why it stays in quarantine.")


async def index(ask: Ask[Nothing, QuarantineQuery]) -> Answer:
    """List what is in quarantine, a page at a time."""
    query = ask.query
    rows = await ask.gate.ledger.fetch(
        "quarantine",
        query.about,
        query.kind,
        query.resolved,
        _MAX_ID if query.before is None else query.before,
        query.limit + 1,
    )
    shown = [
        Held(
            quarantine_id=row["quarantine_id"],
            about=row["about"],
            kind=Kind(row["kind"]),
            reason=row["reason"],
            content=_shown(json.loads(row["payload"])),
            tries=row["tries"],
            created_at=row["created_at"],
            resolved_at=row["resolved_at"],
        )
        for row in rows[: query.limit]
    ]
    return Answer(Quarantine(quarantine=shown, next=shown[-1].quarantine_id if len(rows) > query.limit else None))


async def replay(ask: Get) -> Answer:
    """Tell a piece again, as if its webhook came now."""
    quarantine_id = int(ask.path["quarantine_id"])
    row = await quarantine.find(ask.gate.ledger, quarantine_id) if quarantine_id <= _MAX_ID else None
    if row is None:
        raise ProblemError(
            404, f"Nothing is open in quarantine under {quarantine_id}; GET /v1/quarantine lists what is."
        )
    reason = await tell_again(ask.gate, row)
    outcome = {"resolved": reason is None, "reason": reason}
    await ask.gate.ledger.note("replayed", "quarantine", str(quarantine_id), before=None, after=outcome)
    return Answer(Told(resolved=reason is None, reason=reason))


def _shown(content: dict[str, Any]) -> dict[str, Any]:
    """Return what a piece says without whole phone numbers, nor what the client wrote into its reference."""
    content = {name: value for name, value in content.items() if name != "reference"}
    if "users" in content:
        content["users"] = ["…" + user[-SHOWN_DIGITS:] for user in content["users"]]
    return content
