"""Checks a message as Meta does and says what it is. Pure: body in, draft or `GraphError` out.

https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .config import Number
from .errors import GraphError, parameter_required
from .pricing import Kind
from .templates import Template, Templates

MEDIA_TYPES = frozenset({"audio", "document", "image", "sticker", "video"})
# What each type must carry inside its own object.
REQUIRED: dict[str, tuple[str, ...]] = {
    "contacts": (),
    "interactive": ("type",),
    "location": ("latitude", "longitude"),
    "reaction": ("message_id", "emoji"),
    "template": ("name", "language"),
    "text": ("body",),
} | dict.fromkeys(MEDIA_TYPES, ())

# Meta's limits: text 4,096 characters; callback data 512.
TEXT_MAX = 4096
ECHO_MAX = 512
DIRECT_SEND = {"utility": Kind.UTILITY, "authentication": Kind.AUTHENTICATION, "service": Kind.SERVICE}

_USER_ID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,250}")
_PHONE_DRESS = re.compile(r"[\s()+.-]")


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that Meta would accept."""

    type: str
    kind: Kind
    input: str
    """The recipient as the client wrote it."""
    wa_id: str = ""
    user_id: str = ""
    group_id: str = ""
    template: Template | None = None
    echo: str | None = None
    direct_send: bool = False

    @property
    def opens_conversation(self) -> bool:
        """Whether it may go out without the user having written in the last 24 hours."""
        return self.template is not None or (self.direct_send and self.kind is not Kind.SERVICE)


def check_message(
    body: Mapping[str, Any], number: Number, templates: Templates, *, marketing: bool = False, onpremise: bool = False
) -> Draft:
    """Check a send. `marketing`: it came to `/marketing_messages`; `onpremise`: to `/v1/messages`."""
    if not onpremise:
        product = body.get("messaging_product")
        if not product:
            raise parameter_required("messaging_product")
        if not isinstance(product, str) or product.lower() != "whatsapp":
            raise GraphError(100, message='(#100) Param messaging_product must be one of {"WHATSAPP"}')
    input_, wa_id, user_id, group_id = _recipient(body, number)
    type_ = _type(body)
    content = _content(body, type_)
    echo = body.get("biz_opaque_callback_data")
    if echo is not None and (not isinstance(echo, str) or len(echo) > ECHO_MAX):
        raise GraphError(100, message=f"(#100) Param biz_opaque_callback_data must be a string up to {ECHO_MAX} long")
    context = body.get("context")
    if context is not None and not isinstance(context, dict):
        raise GraphError(100, message="(#100) Param context must be an object")
    template = _template(content, number, templates) if type_ == "template" else None
    kind = _kind(body, type_, template, marketing=marketing)
    if user_id and kind is Kind.AUTHENTICATION:
        raise GraphError(131062)
    return Draft(
        type=type_,
        kind=kind,
        input=input_,
        wa_id=wa_id,
        user_id=user_id,
        group_id=group_id,
        template=template,
        echo=echo,
        direct_send=template is None and body.get("category") is not None,
    )


def _recipient(body: Mapping[str, Any], number: Number) -> tuple[str, str, str, str]:
    """Return the recipient as written, and as phone number, business-scoped user id or group id."""
    written = body.get("to") or body.get("recipient")
    if isinstance(written, int) and not isinstance(written, bool):
        written = str(written)  # Graph casts numbers to strings
    if not written or not isinstance(written, str):
        raise parameter_required("to")
    if body.get("recipient_type") == "group":
        return written, "", "", written
    if _USER_ID.fullmatch(written):
        return written, "", written, ""
    digits = _PHONE_DRESS.sub("", written)
    if not digits.isascii() or not digits.isdigit() or not 5 <= len(digits) <= 16:
        raise GraphError(131009, f"The phone number '{written[:40]}' is not a valid WhatsApp phone number")
    if digits == number.display_number:
        raise GraphError(131021)
    return written, digits, "", ""


def _type(body: Mapping[str, Any]) -> str:
    type_ = body.get("type") or "text"
    if not isinstance(type_, str) or type_.lower() not in REQUIRED:
        known = ", ".join(sorted(REQUIRED)).upper()
        raise GraphError(100, message=f"(#100) Param type must be one of {{{known}}} - got {str(type_)[:40]!r}.")
    return type_.lower()


def _content(body: Mapping[str, Any], type_: str) -> Any:
    content = body.get(type_)
    if content is None:
        raise GraphError(131008, f"Parameter '{type_}' is mandatory for type '{type_}'")
    if type_ == "contacts":
        if not isinstance(content, list) or not content:
            raise GraphError(131009, "Parameter 'contacts' must be a list of contacts")
        return content
    if not isinstance(content, dict):
        raise GraphError(131009, f"Parameter '{type_}' must be an object")
    missing = [name for name in REQUIRED[type_] if content.get(name) is None]
    if missing:
        raise GraphError(131008, f"Parameter '{type_}.{missing[0]}' is mandatory for type '{type_}'")
    if type_ == "text":
        text = content["body"]
        if not isinstance(text, str) or not text.strip():
            raise parameter_required("text['body']")
        if len(text) > TEXT_MAX:
            raise GraphError(100, message=f"(#100) Param text['body'] must be at most {TEXT_MAX} characters long.")
    if type_ in MEDIA_TYPES and not (content.get("id") or content.get("link")):
        raise GraphError(131008, f"Parameter '{type_}.id' or '{type_}.link' is mandatory for type '{type_}'")
    return content


def _template(content: Mapping[str, Any], number: Number, templates: Templates) -> Template:
    language = content["language"]
    code = language.get("code") if isinstance(language, dict) else language
    if not isinstance(code, str) or not code:
        raise GraphError(131008, "Parameter 'template.language.code' is mandatory for type 'template'")
    template = templates.usable(number.waba_id, str(content["name"]), code)
    template.check_parameters(content.get("components"))
    return template


def _kind(body: Mapping[str, Any], type_: str, template: Template | None, *, marketing: bool) -> Kind:
    if marketing:
        # https://developers.facebook.com/documentation/business-messaging/whatsapp/marketing-messages/overview
        if template is None or template.category != "MARKETING":
            raise GraphError(131009, "This endpoint sends approved marketing templates only")
        return Kind.MARKETING_LITE
    if template is not None:
        return Kind(template.category.lower())
    if body.get("category") is not None:
        # Direct Send: an ordinary message that names its category is business-initiated without a template.
        try:
            return DIRECT_SEND[str(body["category"]).lower()]
        except KeyError:
            known = ", ".join(DIRECT_SEND).upper()
            raise GraphError(100, message=f"(#100) Param category must be one of {{{known}}}") from None
    return Kind.REACTION if type_ == "reaction" else Kind.SERVICE
