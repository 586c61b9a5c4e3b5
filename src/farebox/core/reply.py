"""What a client reads when the gateway itself answers: one sentence, in the error shape of the client's own dialect.

Client libraries call `.json()` on every answer and look for a numeric `code` and an object under `error`; some show
only `message`, others only `error_data.details`, so the sentence stands in both.
"""

import json
import secrets
from enum import StrEnum
from typing import NamedTuple

OUT_OF_FUNDS = (
    "The message could not be sent. You do not have enough funds on your conversation prepaid balance to engage in any "
    "paid conversation. Please proceed to -> “Insights & Billing” in order to top up your balance and optionally "
    "enable auto-renewal, which will prevent you from running out of funds in the future."
)

# Codes of Meta's "Error codes" page, so that clients classify our answers as they classify Meta's.
CODE_PAYMENT = 131042
CODE_TOKEN = 190
CODE_PERMISSION = 10
CODE_RATE = 130429
CODE_PARAMETER = 100
CODE_UNAVAILABLE = 131016


class Dialect(StrEnum):
    """The API that a client speaks."""

    CLOUD = "cloud"
    D360 = "360dialog"
    ON_PREMISE = "on_premise"


class Reply(NamedTuple):
    """An answer to a client: what goes on the wire."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    def with_headers(self, *headers: tuple[str, str]) -> "Reply":
        """Return the same answer with further headers."""
        return Reply(self.status, self.body, (*self.headers, *headers))


def accepted_reply(dialect: Dialect, wamid: str, *, to: str, wa_id: str, call: bool) -> Reply:
    """Return WhatsApp's answer to a message or call that it took, for when its own was lost on the way."""
    content: dict[str, object]
    if call:
        content = {"messaging_product": "whatsapp", "calls": [{"id": wamid}]}
    elif dialect is Dialect.ON_PREMISE:
        content = {"messages": [{"id": wamid}]}
    else:
        contact = {"input": to, "wa_id": wa_id}
        content = {"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": wamid}]}
    body = json.dumps(content, ensure_ascii=False).encode()
    return Reply(200, body, (("Content-Type", "application/json; charset=utf-8"),))


def error_reply(dialect: Dialect, *, status: int, code: int, sentence: str) -> Reply:
    """Return an error in the dialect's shape. The sentence is written as it is: no character is HTML-escaped."""
    trace = secrets.token_urlsafe(16)
    content: dict[str, object]
    match dialect:
        case Dialect.CLOUD:
            content = {
                "error": {
                    "message": sentence,
                    "type": "OAuthException",
                    "code": code,
                    "error_data": {"messaging_product": "whatsapp", "details": sentence},
                    "fbtrace_id": trace,
                }
            }
        case Dialect.D360:
            content = {
                "meta": {
                    "success": False,
                    "http_code": status,
                    "developer_message": sentence,
                    "360dialog_trace_id": trace,
                }
            }
        case Dialect.ON_PREMISE:
            content = {
                "meta": {"success": False, "http_code": status, "developer_message": sentence},
                "errors": [{"code": code, "title": "Message could not be sent", "details": sentence}],
            }
    body = json.dumps(content, ensure_ascii=False).encode()
    return Reply(status, body, (("Content-Type", "application/json; charset=utf-8"),))
