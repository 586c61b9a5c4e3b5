"""A user writes in: what the webhook of it looks like.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from .config import Number
from .media import PNG, MediaStore

DEFAULT_USER = "16505551234"
TYPES = ("text", "image", "button", "reaction")


class Inbound(BaseModel):
    """What a user sends, as `POST /simulator/inbound` takes it."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    sender: str = Field(default=DEFAULT_USER, alias="from")
    """A phone number, or a business-scoped user id (`US.123...`) for a user whose number stays hidden."""
    text: str = "hi"
    to: str | None = None
    """Phone number id that is written to; the first one if unset."""
    type: str = "text"
    """text, image, button or reaction; any other type with its `content`."""
    content: dict[str, Any] | None = None
    """The object of the type, if not the usual one."""
    referral: bool = False
    """The user came from a click-to-WhatsApp ad: an answer within 24 hours opens a free entry point."""
    reply_to: str | None = None
    """The wamid of the message the user answers or reacts to."""
    name: str = ""
    group_id: str = ""
    """The group that is written in; its window opens for the whole group."""


def inbound_content(message: Inbound, number: Number, store: MediaStore) -> dict[str, Any]:
    """Return `type`, the object of that type and the context of an inbound message."""
    entry: dict[str, Any] = {"type": message.type}
    if message.content is not None:
        entry[message.type] = message.content
    elif message.type == "image":
        media = store.add_bytes(PNG, "image/png", number)
        picture = {"mime_type": media.mime_type, "sha256": media.sha256, "id": media.id}
        entry["image"] = picture | ({"caption": message.text} if message.text else {})
    elif message.type == "button":
        entry["button"] = {"payload": message.text, "text": message.text}
    elif message.type == "reaction":
        emoji = message.text if message.text != "hi" else "\N{THUMBS UP SIGN}"
        entry["reaction"] = {"message_id": message.reply_to or "wamid.unknown", "emoji": emoji}
    elif message.type == "text":
        entry["text"] = {"body": message.text}
    else:
        raise ValueError(f"type {message.type!r} needs its content; without it only {', '.join(TYPES)} are known")
    if message.reply_to and message.type != "reaction":
        entry["context"] = {"from": number.display_number, "id": message.reply_to}
    return entry
