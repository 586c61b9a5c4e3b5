"""A webhook from WhatsApp: what it says about windows, holds and templates, and to which numbers it belongs.

All three levels are lists (`entry`, `changes`, `statuses` or `messages`), and every element is read. Meta adds fields,
types and values without notice, so what is not understood is skipped, never an error: the bytes are relayed anyway.
The on-premise API posts the innermost object alone, `{"contacts","messages"}` or `{"statuses"}`, which names no number:
whoever receives it must know whose it is.
Sources: Meta, "Webhooks: messages, statuses, message_template_status_update, template_category_update".
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from farebox.core.account import Notice, notices, upgrades
from farebox.core.message import CORRELATION, storable
from farebox.core.recipient import USER_ID

# "" is conversation-based pricing, which has no type.
KNOWN_TYPES = frozenset({"", "regular", "free_customer_service", "free_entry_point", "free_group_customer_service"})
# The last two are conversation-based pricing before 2023-06.
KNOWN_CATEGORIES = frozenset(
    (
        "authentication",
        "authentication_international",
        "marketing",
        "marketing_lite",
        "service",
        "utility",
        "referral_conversion",
        "group_marketing",
        "group_service",
        "group_utility",
        "user_initiated",
        "business_initiated",
    )
)


class BadWebhookError(ValueError):
    """The body is no webhook of WhatsApp."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """A user wrote (or called): windows open."""

    users: tuple[str, ...]  # phone number and business-scoped user id, whichever are known
    at_ms: int
    from_ad: bool  # came through a click on an ad: an answer may open the free entry point window


class Pricing(NamedTuple):
    """What WhatsApp says a delivery costs: a type and a category, never an amount (but for max-price bids)."""

    type: str
    category: str
    billable: bool
    cost_amount: str = ""  # as it was written; only bids bring one
    cost_currency: str = ""

    @property
    def free(self) -> bool:
        """Tell whether the delivery is free: by its type, and by `billable` (announced as deprecated) without one."""
        return self.type.startswith("free_") if self.type else not self.billable

    @property
    def free_entry_point(self) -> bool:
        """Tell whether the message travels in a free entry point window: the first such status is what proves one."""
        return self.type == "free_entry_point" or self.category == "referral_conversion"

    @property
    def known(self) -> bool:
        """Tell whether type and category are ones that this code knows. Meta adds values without notice."""
        return self.type in KNOWN_TYPES and self.category in KNOWN_CATEGORIES


class Status(NamedTuple):
    """One step in the life of a message that went out."""

    wamid: str
    status: str
    users: tuple[str, ...]
    at_ms: int
    reference: str  # the correlation field, where the send carried one
    pricing: Pricing | None
    conversation_until_ms: int | None  # None: the webhook names no end
    error_code: int | None
    conversation_id: str = ""  # of conversation-based pricing: shared by all messages of one conversation

    @property
    def delivered(self) -> bool:
        """Tell whether the message arrived: read and played imply delivered, which may be skipped."""
        return self.status in ("delivered", "read", "played")

    def record(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        return self._asdict() | {"pricing": None if self.pricing is None else self.pricing._asdict()}

    def evidence(self) -> dict[str, Any]:
        """Return what the explanation of a charge keeps of this webhook."""
        pricing = None if self.pricing is None else {"type": self.pricing.type, "category": self.pricing.category}
        if self.pricing is not None and pricing is not None and self.pricing.cost_amount:
            pricing["cost"] = f"{self.pricing.cost_amount} {self.pricing.cost_currency}"
        return {"status": self.status, "at_ms": self.at_ms, "pricing": pricing, "error_code": self.error_code}


@dataclass(frozen=True, slots=True)
class TemplateChange:
    """What a webhook or a list says about a template; None: it does not say.

    Impending changes of category: a webhook announces them a day before, and a list shows the category that it holds
    for correct (https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-categorization).
    """

    waba_id: str
    name: str
    language: str
    category: str | None
    status: str | None
    coming: str | None = None  # the category it is about to have; its own: nothing is coming
    coming_ms: int | None = None
    previous: str | None = None  # the category it had
    bid_known: bool = False  # whether this source tells bids; where it does, None is "without"
    bid_amount: int | None = None
    said_ms: int | None = None  # when WhatsApp said so; None: a list, which is true when it is read


@dataclass(frozen=True, slots=True)
class Part:
    """The changes of one payload that belong to one number (or, without one, to a whole business account)."""

    waba_id: str
    number_id: str | None
    inbound: tuple[Inbound, ...]
    statuses: tuple[Status, ...]
    templates: tuple[TemplateChange, ...]
    account: tuple[Notice, ...] = ()


class _Written(float):
    """A number with decimals that remembers its text: an amount is read from that, never from the float.

    For the rest it is the float that the json module makes and writes, so that a payload can be cut and relayed.
    """

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number.text = text
        return number


def _written(value: object) -> str:
    if isinstance(value, _Written):
        return storable(value.text)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def load_webhook(body: bytes) -> dict[str, Any]:
    """Read the JSON of a webhook; raises BadWebhookError."""
    try:
        payload = json.loads(body, parse_float=_Written)
    except (ValueError, RecursionError):
        raise BadWebhookError("the body is not valid JSON") from None
    if not isinstance(payload, dict):
        raise BadWebhookError("the body must be a JSON object")
    return payload


def _nothing(_: dict[str, Any]) -> Iterator[Notice]:
    return iter(())


_NOTICES = {"account_update": notices, "phone_number_quality_update": upgrades}


def parts_of(payload: dict[str, Any]) -> list[Part]:
    """Return what the payload says, change by change."""
    return [
        Part(
            waba_id=waba_id,
            number_id=number_id,
            inbound=tuple(_inbound(value)),
            statuses=tuple(_statuses(value)),
            templates=tuple(_templates(waba_id, said_ms, _text(change.get("field")), value)),
            account=tuple(_NOTICES.get(_text(change.get("field")), _nothing)(value)),
        )
        for waba_id, number_id, said_ms, change, value in _changes(payload)
    ]


def cut_for(payload: dict[str, Any], number_ids: set[str], waba_ids: set[str]) -> bytes:
    """Return the payload with only the changes of these numbers (and, where a change names none, of these accounts).

    Non-ASCII is escaped as Meta escapes it: receivers compute the signature over those bytes.
    """
    entries = []
    for entry in _dicts(payload.get("entry")):
        changes = [
            change
            for change in _dicts(entry.get("changes"))
            if (number := _number_id(_dict(change.get("value")))) in number_ids
            or (number is None and _text(entry.get("id")) in waba_ids)
        ]
        if changes:
            entries.append({**entry, "changes": changes})
    return json.dumps({**payload, "entry": entries}, separators=(",", ":")).encode()


def _changes(payload: dict[str, Any]) -> Iterator[tuple[str, str | None, int | None, dict[str, Any], dict[str, Any]]]:
    if "entry" not in payload and ("messages" in payload or "statuses" in payload):
        # Unwrapped. A number that it may name is not believed: it is the receiver's secret that says whose it is.
        yield "", None, None, {}, payload
    for entry in _dicts(payload.get("entry")):
        for change in _dicts(entry.get("changes")):
            value = _dict(change.get("value"))
            yield _text(entry.get("id")), _number_id(value), _seconds(entry.get("time")), change, value


def _number_id(value: dict[str, Any]) -> str | None:
    return _text(_dict(value.get("metadata")).get("phone_number_id")) or None


def _inbound(value: dict[str, Any]) -> Iterator[Inbound]:
    for message in _dicts(value.get("messages")):
        group_id = _text(message.get("group_id"))  # a group has one window, which any member opens
        users = (group_id,) if group_id else _users(message, "from", "from_user_id")
        if users:
            yield Inbound(users, _seconds(message.get("timestamp")) or 0, bool(_dict(message.get("referral"))))
    for call in _dicts(value.get("calls")):
        users = _users(call, "from", "from_user_id")
        # A user's call opens the window too, answered or not; a call of the business has the user in `to`.
        if users and call.get("direction") != "BUSINESS_INITIATED":
            yield Inbound(users, _seconds(call.get("timestamp")) or 0, from_ad=False)


def _statuses(value: dict[str, Any]) -> Iterator[Status]:
    for status in _dicts(value.get("statuses")):
        pricing, conversation = _dict(status.get("pricing")), _dict(status.get("conversation"))
        price = None
        if pricing:
            cost = _dict(pricing.get("cost"))
            price = Pricing(
                type=_text(pricing.get("type")),
                category=_text(pricing.get("category")).replace("-", "_"),
                billable=pricing.get("billable") is not False,
                cost_amount=_written(cost.get("amount")),
                cost_currency=_text(cost.get("currency")),
            )
        errors = _dicts(status.get("errors"))
        code = errors[0].get("code") if errors else None
        yield Status(
            wamid=_text(status.get("id")),
            status=_text(status.get("status")),
            users=_recipients(status),
            at_ms=_seconds(status.get("timestamp")) or 0,
            reference=_text(status.get(CORRELATION)),
            pricing=price,
            conversation_until_ms=_seconds(conversation.get("expiration_timestamp")),
            error_code=code if isinstance(code, int) else None,
            conversation_id=_text(conversation.get("id")) if pricing.get("pricing_model") == "CBP" else "",
        )


def _templates(waba_id: str, said_ms: int | None, field: str, value: dict[str, Any]) -> Iterator[TemplateChange]:
    name = _text(value.get("message_template_name"))
    language = _text(value.get("message_template_language")).replace("-", "_")
    if not name or field not in ("template_category_update", "message_template_status_update"):
        return
    said = TemplateChange(waba_id, name, language, None, None, said_ms=said_ms)
    if field == "message_template_status_update":
        status = _text(value.get("event")).upper() or None
        yield replace(said, category=_category(value, "message_template_category"), status=status)
        return
    # The trap: while the change is only announced, new_category names the current category and correct_category the
    # one to come. Once it is done, previous_category names the old one.
    current, previous = _category(value, "new_category"), _category(value, "previous_category")
    if previous is not None:
        yield replace(said, category=current, previous=previous)
    else:
        due_ms = _seconds(value.get("category_update_timestamp"))
        yield replace(said, category=current, coming=_category(value, "correct_category"), coming_ms=due_ms)


def _category(value: dict[str, Any], name: str) -> str | None:
    return _text(value.get(name)).lower() or None


def _recipients(status: dict[str, Any]) -> tuple[str, ...]:
    """Return whom a status speaks of. Of a group that is one member, or nobody in particular: then all of them."""
    if status.get("recipient_type") == "group":
        return _users(status, "recipient_participant_id", "recipient_participant_user_id")
    return _users(status, "recipient_id", "recipient_user_id")


def _users(fields: dict[str, Any], *names: str) -> tuple[str, ...]:
    """Return who is meant: WhatsApp writes digits, or a business-scoped user id, and both are names here."""
    texts = (_text(fields.get(name)) for name in names)
    return tuple(text for text in texts if (text.isascii() and text.isdigit()) or USER_ID.fullmatch(text))


def _seconds(value: object) -> int | None:
    """Read a Unix time in seconds, which Meta writes as a string, as milliseconds."""
    text = str(value) if isinstance(value, str | int) else ""
    return int(text) * 1000 if text.isascii() and text.isdigit() and len(text) <= 12 else None


def _text(value: object) -> str:
    return storable(value) if isinstance(value, str) else ""


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
