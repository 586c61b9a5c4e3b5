"""What every payment method can do: charge, look, cancel, give back.

A method never moves money between our books: it says how a payment stands, and `topups.py` books it. A payment has the
id of its top-up, and every call may be repeated under it: the provider makes one charge, one refund, of it. What an
event of a provider says is only a hint that something changed; the truth is what `look` finds, so events may be
repeated, late, lost or in any order.
"""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from farebox.core.charge import Terms


class MethodUnavailableError(Exception):
    """The provider did not answer, or not in a way that says what became of the payment: nothing may be assumed."""


class Fate(StrEnum):
    """How a payment stands at its provider."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Payment:
    """What is to be paid, and by whom. `total_micros` = amount + fee."""

    topup_id: UUID
    account_id: str
    number_id: str
    currency: str
    total_micros: int
    provider_id: str | None = None
    off_session: bool = False  # the payer is not there to confirm anything: auto-renewal
    customer: str | None = None  # the account's name at the provider
    card: str | None = None  # the saved card to charge, as the provider names it


@dataclass(frozen=True, slots=True)
class Standing:
    """How a payment stands, by its provider's word."""

    fate: Fate
    provider_id: str | None = None
    reason: str | None = None  # why it failed, for people
    action_url: str | None = None  # where the payer has to confirm it
    refunded_micros: int = 0  # of the total
    disputed: str | None = None  # the reason of a dispute that is open or lost; None: there is none
    closed: bool = False  # of one that failed or was cancelled: no money can come of it any more


@dataclass(frozen=True, slots=True)
class Card:
    """A card that a provider keeps for an account."""

    customer: str
    card: str
    brand: str
    last4: str
    expires: date  # the last day that it is good


@dataclass(frozen=True, slots=True)
class CardLink:
    """A page of the provider where a payer enters a card."""

    link_id: str  # as the provider names it
    customer: str
    url: str
    expires_at: datetime


class CardError(Exception):
    """The provider does not keep this card; says why."""


class EventError(Exception):
    """The event is not the provider's; says why."""


class Method(Protocol):
    """One way to pay."""

    name: str
    needs_card: bool  # whether a card must be saved before anything can be charged

    async def save_card(self, account_id: str, email: str | None, token: str, customer: str | None) -> Card:
        """Let the provider keep a card, named by the token that its own page made of it, for an account.

        `customer` is the account's name there, None where it has none yet. Raises CardError, MethodUnavailableError.
        """

    async def card_link(self, account_id: str, email: str | None, customer: str | None) -> CardLink:
        """Make a page where a card is entered for an account. Raises CardError, MethodUnavailableError."""

    async def linked_card(self, link_id: str) -> Card | Fate:
        """Return the card that was entered at a page; PENDING: none yet; CANCELLED: none any more.

        Raises CardError, MethodUnavailableError.
        """

    async def forget_card(self, card: str) -> None:
        """Let the provider forget a card; one that it does not know is forgotten. Raises MethodUnavailableError."""

    def terms(self, currency: str) -> Terms:
        """Return fee, limits and the smallest step."""

    async def charge(self, payment: Payment) -> Standing:
        """Begin a payment, or find the one that was begun. Raises MethodUnavailableError."""

    async def look(self, payment: Payment) -> Standing:
        """Tell how a payment stands. Raises MethodUnavailableError."""

    async def cancel(self, payment: Payment) -> Standing:
        """Give a payment up if that is still possible, and tell how it stands. Raises MethodUnavailableError."""

    async def refund(self, payment: Payment, refund_id: UUID, micros: int) -> None:
        """Give part of a payment back to its payer, once per refund id. Raises MethodUnavailableError, RefundError."""

    def read_event(self, body: bytes, signature: str) -> tuple[str | None, str | None]:
        """Return what an event is about: a payment or a card's page by its provider's name, and the top-up it names.

        Raises EventError where the signature is wrong.
        """

    async def aclose(self) -> None:
        """Close what is open."""


class RefundError(Exception):
    """The provider does not give this money back; says why."""
