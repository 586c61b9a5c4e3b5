"""What WhatsApp's answer to a send says."""

from typing import Any

from farebox.core.message import read_json, storable


def ids_of(body: bytes) -> tuple[str | None, str | None]:
    """Return the message id of the upstream's answer, and the recipient as WhatsApp names it."""
    try:
        answer = read_json(body)
    except (ValueError, RecursionError):
        return None, None
    return _text(answer, "messages", "id") or _text(answer, "calls", "id"), _text(answer, "contacts", "wa_id")


def _text(answer: Any, of: str, name: str) -> str | None:
    """Return a text of the first element of a list, whatever else an answer may look like."""
    try:
        value = answer[of][0][name]
    except (LookupError, TypeError):
        return None
    return storable(value) if isinstance(value, str) and value else None
