"""Conversation-based pricing, in force until 2025-06-30: what is charged is a conversation of 24 hours.

https://developers.facebook.com/documentation/business-messaging/whatsapp/pricing/conversation-based-pricing
"""

import secrets
from dataclasses import dataclass
from datetime import date

from .pricing import Kind, Pricing

CONVERSATION_S = 24 * 3600
# Until this day 1,000 service conversations a month and account were free; from it on all of them are.
SERVICE_FREE_FROM = date(2024, 11, 1)


@dataclass(slots=True)
class Conversation:
    """A conversation: asked for by the first message, opened and priced when that is delivered."""

    id: str
    category: str
    asked_at: float
    end: float | None = None
    billable: bool = True

    def is_open(self, now: float) -> bool:
        """Whether a message sent now belongs to it."""
        return now < (self.asked_at + CONVERSATION_S if self.end is None else self.end)

    def pricing(self) -> Pricing:
        """Return the `pricing` that every message of the conversation carries."""
        return Pricing(self.category, None, billable=self.billable, model="CBP")


def join(held: dict[str, Conversation], kind: Kind, now: float) -> Conversation:
    """Return the conversation a message belongs to; `held`, by category, gets a new one where it opens one.

    A template opens one of its category unless that is open. Any other message rides on whatever is open,
    and opens a service conversation only if nothing is.
    """
    for category in [name for name, conversation in held.items() if not conversation.is_open(now)]:
        del held[category]
    category = "service" if kind is Kind.REACTION else kind.value
    if category in held:
        return held[category]
    if category == "service" and held:
        return max(held.values(), key=lambda conversation: conversation.asked_at)
    held[category] = Conversation(secrets.token_hex(16), category, now)
    return held[category]


def is_free(conversation: Conversation, day: date, pool_left: int) -> bool:
    """Whether a conversation that opens on this day costs nothing."""
    return conversation.category == "service" and (day >= SERVICE_FREE_FROM or pool_left > 0)
