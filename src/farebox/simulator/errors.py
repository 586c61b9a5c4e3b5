"""Errors as each of the three dialects words them.

Codes, titles and HTTP statuses:
https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
"""

from typing import Any

from .wire import new_trace

HREF = "https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes"

# code: (HTTP status, title, usual details)
CODES: dict[int, tuple[int, str, str]] = {
    1: (400, "API Unknown", "Invalid request or possible server error."),
    2: (503, "API Service", "Temporary due to downtime or due to being overloaded."),
    3: (500, "API Method", "Capability or permissions issue."),
    4: (400, "API Too Many Calls", "The app has reached its API call rate limit."),
    10: (403, "Permission Denied", "Permission is either not granted or has been removed."),
    33: (400, "Parameter value is not valid", "The business phone number has been deleted."),
    100: (400, "Invalid parameter", "The request included one or more unsupported or misspelled parameters."),
    190: (401, "Access token has expired", "Your access token has expired."),
    368: (403, "Temporarily blocked for policies violations", "The account has been restricted or disabled."),
    2500: (404, "Unknown path components", "There is nothing at this address."),
    80007: (400, "Rate limit issues", "The WhatsApp Business Account has reached its rate limit."),
    130429: (400, "Rate limit hit", "Cloud API message throughput has been reached."),
    130472: (400, "User's number is part of an experiment", "Message was not sent as part of an experiment."),
    130497: (403, "Business account is restricted from messaging users in this country.", "Country restricted."),
    131000: (500, "Something went wrong", "Message failed to send due to an unknown error."),
    131005: (403, "Access denied", "Permission is either not granted or has been removed."),
    131008: (400, "Required parameter is missing", "The request is missing a required parameter."),
    131009: (400, "Parameter value is not valid", "One or more parameter values are invalid."),
    131016: (500, "Service unavailable", "A service is temporarily unavailable."),
    131021: (400, "Recipient cannot be sender", "Sender and recipient phone number is the same."),
    131026: (400, "Message undeliverable", "Message Undeliverable."),
    131031: (403, "Account has been locked", "The account has been restricted or disabled."),
    131042: (400, "Business eligibility payment issue", "There was an error related to your payment method."),
    131047: (
        400,
        "Re-engagement message",
        "Message failed to send because more than 24 hours have passed since the customer last replied to this number.",
    ),
    131048: (400, "Spam rate limit hit", "There are restrictions on how many messages can be sent from this number."),
    131049: (
        400,
        "This message was not delivered to maintain healthy ecosystem engagement.",
        "In order to maintain a healthy ecosystem engagement, the message failed to be delivered.",
    ),
    131050: (400, "User has stopped receipt of marketing messages.", "Unable to deliver the message."),
    131051: (400, "Unsupported message type", "Unsupported message type."),
    131052: (400, "Media download error", "Unable to download the media sent by the user."),
    131053: (400, "Media upload error", "Unable to upload the media used in the message."),
    131056: (400, "(Business Account, Consumer Account) pair rate limit hit", "Too many messages to one recipient."),
    131057: (500, "Account in maintenance mode", "Business Account is in maintenance mode."),
    131062: (
        400,
        "Business-scoped user IDs are not supported for this message",
        "You can only send authentication messages to recipients' phone numbers, not their business-scoped user IDs.",
    ),
    131063: (400, "Marketing messages are disabled on Cloud API", "Send them to /marketing_messages."),
    132000: (400, "Number of parameters does not match the expected number of params", "Parameter count mismatch."),
    132001: (404, "Template name does not exist in the translation", "The template does not exist in this language."),
    132015: (400, "Template is paused", "Template is paused due to low quality."),
    132016: (400, "Template is disabled", "Template has been paused too many times and is now permanently disabled."),
    133004: (503, "Server Temporarily Unavailable", "Server is temporarily unavailable."),
    133010: (400, "Phone number not registered", "Phone number not registered on the WhatsApp Business Platform."),
}


class GraphError(Exception):
    """A call that the simulated WhatsApp refuses."""

    def __init__(
        self,
        code: int,
        details: str | None = None,
        *,
        message: str | None = None,
        http_status: int | None = None,
        kind: str = "OAuthException",
        subcode: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        known_status, title, known_details = CODES.get(code, (400, "Unknown error", ""))
        self.code = code
        self.title = title
        self.details = known_details if details is None else details
        self.message = f"(#{code}) {title}" if message is None else message
        self.http_status = known_status if http_status is None else http_status
        self.kind = kind
        self.subcode = subcode
        self.headers = headers or {}
        super().__init__(f"{self.message}: {self.details}")

    def graph(self) -> dict[str, Any]:
        """Word the error as Graph does."""
        error: dict[str, Any] = {"message": self.message, "type": self.kind, "code": self.code}
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        if self.code >= 130000:
            error["error_data"] = {"messaging_product": "whatsapp", "details": self.details}
        error["fbtrace_id"] = new_trace()
        return {"error": error}

    def onpremise(self) -> dict[str, Any]:
        """Word the error as the on-premise API did (`errors[]` beside `meta`)."""
        error = {"code": self.code, "title": self.title, "details": self.details, "href": HREF}
        return {"meta": {"api_status": "stable", "version": "2.53.3"}, "errors": [error]}

    def d360(self) -> dict[str, Any]:
        """Word the error as 360dialog's own gateway does (`meta.developer_message`)."""
        meta = {
            "success": False,
            "http_code": self.http_status,
            "developer_message": self.message,
            "360dialog_trace_id": new_trace(),
        }
        return {"meta": meta}


def parameter_required(name: str) -> GraphError:
    """Refuse a call that leaves out what Graph itself wants."""
    return GraphError(100, message=f"(#100) The parameter {name} is required.")


def unknown_object(object_id: str, method: str) -> GraphError:
    """Refuse a call to an id that is not here, in Graph's words."""
    return GraphError(
        100,
        message=(
            f"Unsupported {method.lower()} request. Object with ID '{object_id}' does not exist, cannot be loaded "
            "due to missing permissions, or does not support this operation. Please read the Graph API "
            "documentation at https://developers.facebook.com/docs/graph-api"
        ),
        kind="GraphMethodException",
        subcode=33,
    )


def failure(code: int) -> dict[str, Any]:
    """Make the entry of `errors[]` in a `failed` status webhook.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/status
    """
    _, title, details = CODES.get(code, (400, "Unknown error", "Unknown error"))
    return {"code": code, "title": title, "message": title, "error_data": {"details": details}, "href": HREF}
