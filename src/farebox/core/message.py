"""A message that a client asks to send: what it is, to whom, and what the gateway needs to price it.

Only what the decision needs is validated, so that a field Meta adds tomorrow passes. The body is forwarded as it came.
Source of the fields: Meta, "Messages API" (developers.facebook.com, business-messaging/whatsapp).
"""

import json
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

from farebox.core.money import read_decimal
from farebox.core.recipient import UNKNOWN, RecipientError, Recipients

BLANKS = " \t\n\r"  # JSON's white space
PLAIN = json.JSONDecoder()
CORRELATION = "biz_opaque_callback_data"  # a field of the send that its status webhooks bring back
MAX_NAME = 512  # Meta's limit on a template's name; languages are shorter still
ONCE = Decimal(1)
MAX_MULTIPLIER = 1_000  # of a maximum price; Meta names no limit, beyond this it is a slip of the keyboard
ANYWHERE = Recipients(UNKNOWN)  # of a business number whose country is not known: every number is international


class Kind(StrEnum):
    """What a message is to the tariff, before its template's category is known."""

    TEMPLATE = "template"
    SERVICE = "service"
    REACTION = "reaction"
    DIRECT = "direct"  # an ordinary message that names a category: business-initiated, without a template
    CALL = "call"  # a call that the business starts
    NOT_A_MESSAGE = "not_a_message"  # mark-as-read, typing: no recipient, no fare, no status


class BadMessageError(ValueError):
    """The body can not be understood as a message. The text is one sentence for the developer who sent it."""


class Message(NamedTuple):
    """The facts of one send."""

    kind: Kind
    user: str = ""  # digits of a phone number, or a business-scoped user id
    group_id: str = ""  # in place of a user: every member is a recipient
    category: str = ""  # of a direct send
    template_name: str = ""
    template_language: str = ""
    client_reference: str = ""
    bid_multiplier: Decimal = ONCE  # of a marketing template with a maximum price: this send's share of it
    has_correlation: bool = False  # the client uses the correlation field itself: its value is left alone


def parse_message(body: bytes, recipients: Recipients = ANYWHERE) -> Message:
    """Read a send of a business number, which says how recipients without a plus are read; raises BadMessageError.

    A duplicated key is refused: two parsers may disagree on which one counts, and one of the two decides the price.
    """
    fields = _fields(body)
    if "status" in fields and "type" not in fields:
        if any(name in fields for name in ("to", "recipient", "template")):
            raise BadMessageError("a body with status can not also carry a message")
        return Message(Kind.NOT_A_MESSAGE)
    recipient_type = fields.get("recipient_type") or "individual"
    if recipient_type not in ("individual", "group"):
        raise BadMessageError("recipient_type must be individual or group")
    type_ = fields.get("type") or "text"
    if not isinstance(type_, str):
        raise BadMessageError("type must be a string")
    user, group_id = ("", _group(fields)) if recipient_type == "group" else (_user(fields, recipients), "")
    kind, category, template_name, template_language, bid_multiplier = Kind.SERVICE, "", "", "", ONCE
    if type_ in ("template", "hsm"):
        kind, template = Kind.TEMPLATE, fields.get("template") if type_ == "template" else _from_hsm(fields.get("hsm"))
        template_name, template_language = _template(template)
        bid_multiplier = _bid_multiplier(fields.get("bid_spec"))
    elif "template" in fields or "hsm" in fields:
        raise BadMessageError("a message with a template must have the type template")
    elif (asked := fields.get("category")) in ("utility", "authentication"):
        kind, category = Kind.DIRECT, asked
    elif asked not in (None, "service"):
        raise BadMessageError("category must be utility, authentication or service")
    elif type_ == "reaction":
        kind = Kind.REACTION
    reference = fields.get(CORRELATION)
    return Message(
        kind,
        user,
        group_id,
        category,
        template_name,
        template_language,
        client_reference=storable(reference) if isinstance(reference, str) else "",
        bid_multiplier=bid_multiplier,
        has_correlation=CORRELATION in fields,
    )


def parse_call(body: bytes, recipients: Recipients = ANYWHERE) -> Message:
    """Read a call of the Calling API; raises BadMessageError. Only one that connects starts something that is paid."""
    fields = _fields(body)
    if fields.get("action") != "connect":
        return Message(Kind.NOT_A_MESSAGE)  # accepting, rejecting or ending a call
    # Its body goes on as it is: the correlation field of calls is left to the client.
    return Message(Kind.CALL, user=_user(fields, recipients), has_correlation=True)


def with_correlation(body: bytes, hold_id: str) -> bytes:
    """Return the body with the hold id in the correlation field, every other byte as it came.

    The field is written in front of the closing brace, so numbers, escapes and the order of fields stay the client's.
    """
    end = body.rstrip()
    inside = end[:-1].rstrip()
    comma = b"" if inside.endswith(b"{") else b","
    return inside + comma + b'"' + CORRELATION.encode() + b'":"' + hold_id.encode() + b'"}'


def storable(text: str) -> str:
    """Return a text that PostgreSQL can store: no NUL, no half surrogate (JSON can carry both), and not without end.

    One such text would fail the insert of every send that shares its batch.
    """
    if text.isascii() and "\0" not in text and len(text) <= MAX_NAME:
        return text
    return text[:MAX_NAME].replace("\0", "").encode("utf-8", "replace").decode()


def read_json(body: bytes, decoder: json.JSONDecoder = PLAIN) -> Any:
    """Read JSON as json.loads does, in whatever it is written; raises ValueError, or RecursionError where it is deep.

    A body that begins as nearly all do, with a brace and no NUL behind it, needs no closer look at its encoding.
    """
    encoding = "utf-8" if body[:1] == b"{" and body[1:2] != b"\0" else json.detect_encoding(body)
    text = body.decode(encoding, "surrogatepass").strip(BLANKS)
    value, end = decoder.raw_decode(text)
    if end < len(text):
        raise ValueError("something stands behind the value")
    return value


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = read_json(body, _STRICT)
    except BadMessageError:
        raise
    except (ValueError, RecursionError):
        raise BadMessageError("the body is not valid JSON") from None
    if not isinstance(fields, dict):
        raise BadMessageError("the body must be a JSON object")
    return fields


def _user(fields: dict[str, Any], recipients: Recipients) -> str:
    """Return the recipient as WhatsApp names it. Meta takes `to` where both are given."""
    for name in ("to", "recipient"):
        value = fields.get(name)
        if value is None:
            continue
        # Some clients send the number as a JSON number, and Meta takes it.
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            raise BadMessageError(f"{name} must be a phone number or a user id")
        try:
            return recipients.resolve(str(value)).user
        except RecipientError as error:
            raise BadMessageError(f"{name}: {error}") from None
    raise BadMessageError("to is missing: the phone number of the recipient")


def _group(fields: dict[str, Any]) -> str:
    group_id = fields.get("to")
    if not isinstance(group_id, str) or not 0 < len(group_id) <= MAX_NAME:
        raise BadMessageError("to must be the id of a group")
    return storable(group_id)


def _template(template: object) -> tuple[str, str]:
    if not isinstance(template, dict):
        raise BadMessageError("template is missing: an object with name and language")
    name, language = template.get("name"), template.get("language")
    code = language.get("code") if isinstance(language, dict) else None
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise BadMessageError("template.name must be the name of an approved template")
    if not isinstance(code, str) or not 0 < len(code) <= MAX_NAME:
        raise BadMessageError("template.language.code must be the template's language, like en_US")
    return storable(name), storable(code).replace("-", "_")


def _from_hsm(hsm: object) -> object:
    """Return a template from the form that the on-premise API had for it before: paid all the same."""
    return {**hsm, "name": hsm.get("element_name")} if isinstance(hsm, dict) else hsm


def _bid_multiplier(spec: object) -> Decimal:
    """Return what a send multiplies its template's maximum price with; it decides how much is set aside."""
    value = spec.get("per_message_bid_multiplier") if isinstance(spec, dict) else None
    if value is None:
        return ONCE
    multiplier = read_decimal(str(value)) if isinstance(value, int | str | Decimal) else None
    if multiplier is None or isinstance(value, bool) or not 0 < multiplier <= MAX_MULTIPLIER:
        raise BadMessageError(
            f"bid_spec.per_message_bid_multiplier must be a number above 0 and up to {MAX_MULTIPLIER}, like 1.5"
        )
    return multiplier


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadMessageError(f"the field {twice[:40]} is given twice")
    return fields


def _number(text: str) -> Decimal:
    """Read a number with decimals exactly; one without end is 0, which is nothing that a send could mean."""
    return read_decimal(text) or Decimal()


def _no_constant(name: str) -> None:
    raise BadMessageError(f"the body is not valid JSON: {name} is no JSON number")


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_number)
