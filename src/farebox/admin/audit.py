"""The audit log, read: who changed what, from what into what, and why."""

import json
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from farebox.admin.fields import PLAIN, Label
from farebox.admin.models import MAX_PAGE, Asked, Given, Nothing
from farebox.admin.routing import Answer, Ask

_MAX_ID = 2**63 - 1


class AuditQuery(Asked):
    """Which rows."""

    kind: Label | None = Field(None, description="Of this kind of subject only: number, account, topup, key ...")
    subject: Annotated[str, Field(max_length=256), PLAIN] | None = Field(
        None, description="Of the subject with this id only."
    )
    who: Annotated[str, Field(max_length=200), PLAIN] | None = Field(None, description="Of this actor only.")
    limit: int = Field(50, ge=1, le=MAX_PAGE)
    before: int | None = Field(None, ge=1, le=_MAX_ID, description="The `next` of the page before.")


class Deed(Given):
    """A change. Secrets are shown as `set` or `set anew`, amounts of money as integer micro-units."""

    audit_id: int
    at: datetime
    who: str
    what: str = Field(description="created, changed, deleted, or a word for what else was done.")
    kind: str
    subject: str
    before: dict[str, Any] | None = Field(description="What was there before, of that which changed.")
    after: dict[str, Any] | None = Field(description="What is there since.")
    why: str | None = Field(description="What the header X-Farebox-Reason of the request said.")
    request_id: str | None


class Audit(Given):
    """Changes, the newest first."""

    audit: list[Deed]
    next: int | None = Field(description="Give this as `before` for the next page; null: there is none.")


async def index(ask: Ask[Nothing, AuditQuery]) -> Answer:
    """List changes, a page at a time."""
    query = ask.query
    before = _MAX_ID if query.before is None else query.before
    rows = await ask.gate.ledger.fetch("audit", query.kind, query.subject, query.who, before, query.limit + 1)
    shown = [
        Deed(**{**row, "before": _read(row["before"]), "after": _read(row["after"])}) for row in rows[: query.limit]
    ]
    return Answer(Audit(audit=shown, next=shown[-1].audit_id if len(rows) > query.limit else None))


def _read(document: str | None) -> dict[str, Any] | None:
    content: dict[str, Any] | None = None if document is None else json.loads(document)
    return content
