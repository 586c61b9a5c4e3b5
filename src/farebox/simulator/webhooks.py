"""The bodies of webhooks, as Meta builds them. Pure: facts in, JSON out.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/status
https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from .config import Number
from .errors import HREF, failure
from .state import Accepted
from .users import User


@dataclass(frozen=True, slots=True)
class Event:
    """One update about one number: the `field` and `value` of a change.

    `bare`: on-premise style, posted without the `object/entry/changes` wrapper.
    """

    number: Number
    value: dict[str, Any]
    field: str = "messages"
    bare: bool = False


def _contact(user: User) -> dict[str, Any]:
    return {"profile": {"name": user.name}, "wa_id": user.wa_id, "user_id": user.user_id}


def _value(number: Number, contacts: list[dict[str, Any]], **updates: Any) -> dict[str, Any]:
    metadata = {"display_phone_number": number.display_number, "phone_number_id": number.phone_number_id}
    value: dict[str, Any] = {"messaging_product": "whatsapp", "metadata": metadata}
    if contacts:
        value["contacts"] = contacts
    return value | updates


def status_entry(
    message: Accepted,
    status: str,
    *,
    now: float,
    pricing: dict[str, Any] | None = None,
    conversation: dict[str, Any] | None = None,
    error_code: int | None = None,
    participant: User | None = None,
) -> dict[str, Any]:
    """Say what became of a message, for one recipient."""
    entry: dict[str, Any] = {"id": message.wamid, "status": status, "timestamp": str(int(now))}
    if message.group_id:
        entry |= {"recipient_id": message.group_id, "recipient_type": "group"}
        if participant is not None:
            entry["recipient_participant_id"] = participant.wa_id
    else:
        entry["recipient_id"] = "" if message.by_user_id else message.user.wa_id
        if message.by_user_id:
            entry["recipient_user_id"] = message.user.user_id
    if message.direct_send and message.template_id:
        entry["template_id"] = message.template_id
    if message.echo is not None:
        entry["biz_opaque_callback_data"] = message.echo
    if conversation is not None:
        entry["conversation"] = conversation
    if pricing is not None:
        entry["pricing"] = pricing
    if error_code is not None:
        entry["errors"] = [failure(error_code)]
    return entry


def status_event(message: Accepted, status: str, entries: list[dict[str, Any]], people: list[User]) -> Event:
    """Put statuses into a webhook. `contacts` is left out of `failed`, as Meta does."""
    if message.dialect == "on-premise":
        return Event(message.number, {"statuses": [_onpremise_status(entry) for entry in entries]}, bare=True)
    shown = [] if status == "failed" else people
    if message.by_user_id:
        shown = [replace(person, wa_id="") for person in shown]
    return Event(message.number, _value(message.number, [_contact(user) for user in shown], statuses=entries))


def _onpremise_status(entry: dict[str, Any]) -> dict[str, Any]:
    errors = [{"code": error["code"], "title": error["title"], "href": HREF} for error in entry.get("errors", [])]
    return entry | {"type": "message"} | ({"errors": errors} if errors else {})


def inbound_event(number: Number, user: User, message: dict[str, Any]) -> Event:
    """Say that a user wrote in. `message` brings `id`, `timestamp`, `type` and the object of its type."""
    entry = {"from": user.wa_id, "from_user_id": user.user_id} | message
    return Event(number, _value(number, [_contact(user)], messages=[entry]))


def referral() -> dict[str, Any]:
    """Make the `referral` of a user who came from a click-to-WhatsApp ad."""
    return {
        "source_url": "https://fb.me/3cr4Wqqkv",
        "source_id": "120226305854810726",
        "source_type": "ad",
        "headline": "Chat with us",
        "body": "Summer succulents are here!",
        "media_type": "image",
        "image_url": "https://scontent.xx.fbcdn.net/v/t45.1.jpg",
        "ctwa_clid": "Aff-n8ZTODiE79d22KtAwQKj9e_mIEOOj27vDVwFjN80dp4_0NiNhEgpGo0AHemvuSoifXaytfTzcchptiErTKCqTrJ5",
        "welcome_message": {"text": "Hi there! Let us know how we can help!"},
    }


def envelope(events: Iterable[Event]) -> dict[str, Any]:
    """Wrap updates into one webhook body: an entry for each account, a change for each update."""
    entries: dict[str, dict[str, Any]] = {}
    for event in events:
        entry = entries.setdefault(event.number.waba_id, {"id": event.number.waba_id, "changes": []})
        entry["changes"].append({"value": event.value, "field": event.field})
    return {"object": "whatsapp_business_account", "entry": list(entries.values())}
