"""News: what a webhook says, piece by piece, as values that can wait on a disk or in a table and be told again.

A piece is the smallest thing that can fail alone. It carries ids, statuses, prices and times, and never a message's
text. Telling a piece twice, or late, or before another one, ends the same.
"""

from collections.abc import Iterable
from dataclasses import asdict
from enum import StrEnum
from typing import Any, NamedTuple

from farebox.core.account import Faster, Notice, Reached, Start
from farebox.core.webhook import Inbound, Pricing, Status, TemplateChange


class Kind(StrEnum):
    """What a piece of news is about."""

    INBOUND = "inbound"  # a user wrote: windows open
    STATUS = "status"  # a step in the life of a message
    UNMATCHED = "unmatched"  # a status whose message was not known for longer than a send may take
    FOREIGN = "foreign"  # a status of a number that is not one of ours
    TEMPLATE = "template"
    TERMS = "terms"  # the rates of a business account
    SEND = "send"  # a message that left while a store was away
    TAKEN = "taken"  # WhatsApp took such a message
    NOT_TAKEN = "not_taken"  # WhatsApp did not take such a message


class Piece(NamedTuple):
    """One piece of news. `about` is a number id, or the id of a business account or template list.

    What it `says` is what JSON can carry, or a status as it was read: most are told at once, and never written down.
    """

    kind: Kind
    about: str
    says: dict[str, Any] | Status

    @property
    def content(self) -> dict[str, Any]:
        """Return what it says as JSON can carry it."""
        return self.says.record() if isinstance(self.says, Status) else self.says

    def record(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        return {"kind": self.kind.value, "about": self.about, "content": self.content}

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> "Piece":
        """Read a record. Raises ValueError, KeyError or TypeError where it is none."""
        return cls(Kind(record["kind"]), record["about"], dict(record["content"]))


def of_inbound(number_id: str, messages: Iterable[Inbound], now_ms: int) -> list[Piece]:
    """Return pieces for what users wrote. One without a time is dated now: told again later it must not last longer."""
    return [
        Piece(Kind.INBOUND, number_id, asdict(message) | {"at_ms": message.at_ms or now_ms}) for message in messages
    ]


def of_statuses(kind: Kind, number_id: str, statuses: Iterable[Status], now_ms: int) -> list[Piece]:
    """Return pieces for statuses; one without a time is dated now."""
    return [Piece(kind, number_id, status if status.at_ms else status._replace(at_ms=now_ms)) for status in statuses]


def of_template(change: TemplateChange) -> Piece:
    """Return a piece for a change of a template."""
    return Piece(Kind.TEMPLATE, change.waba_id, asdict(change))


def of_notice(waba_id: str, notice: Notice) -> Piece:
    """Return a piece for what is said about a business account."""
    return Piece(Kind.TERMS, waba_id, {"what": type(notice).__name__, **asdict(notice)})


def inbound(content: dict[str, Any]) -> Inbound:
    """Read what a user wrote."""
    return Inbound(**{**content, "users": tuple(content["users"])})


def status(content: dict[str, Any] | Status) -> Status:
    """Read a status."""
    if isinstance(content, Status):
        return content
    pricing = content["pricing"]
    return Status(**{**content, "users": tuple(content["users"]), "pricing": Pricing(**pricing) if pricing else None})


def notice(content: dict[str, Any]) -> Notice:
    """Read what is said about a business account."""
    fields = {name: value for name, value in content.items() if name != "what"}
    kinds: tuple[type[Notice], ...] = (Start, Reached, Faster)
    return {kind.__name__: kind for kind in kinds}[content["what"]](**fields)
