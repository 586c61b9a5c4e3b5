"""A provider of payments that are play money: it declines, delays and forgets on demand. For a sandbox only.

What becomes of a payment hangs on the cents of its amount and fee together (`total`), so that a `curl` can ask for it:

    .00 and any other   succeeds at once
    .01                 declined: insufficient funds
    .02                 succeeds when it is looked at for the first time: its event is lost
    .03                 needs the payer's confirmation, at the link; succeeds once `confirm` was called
    .04                 the provider does not answer, and has charged; looking finds it
    .05                 stays pending

and on what a test sets in `next`, by turns, for the payments after it.
"""

import re
from calendar import monthrange
from collections import deque
from dataclasses import dataclass, replace
from datetime import date
from uuid import UUID

from farebox.core.charge import Terms, unit_micros
from farebox.core.money import MICROS_PER_UNIT
from farebox.payments.method import (
    Card,
    CardError,
    CardLink,
    Fate,
    MethodUnavailableError,
    Payment,
    RefundError,
    Standing,
)

CENT = MICROS_PER_UNIT // 100
DECLINED, LATE, CONFIRM, SILENT, STUCK = "declined", "late", "confirm", "silent", "stuck"
BY_CENTS = {1: DECLINED, 2: LATE, 3: CONFIRM, 4: SILENT, 5: STUCK}
_CARD = re.compile(r"([0-9]{4})-(20[0-9]{2})-(0[1-9]|1[0-2])")
MAX_KEPT = 100_000  # payments remembered; a play store of a long run forgets the oldest


@dataclass
class Kept:
    """A payment as this provider has it."""

    standing: Standing
    total_micros: int
    conduct: str
    refunds: dict[UUID, int]


class Sandbox:
    """Play money, kept in this process."""

    name = "sandbox"
    needs_card = False

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self.next: deque[str] = deque()
        self.payments: dict[UUID, Kept] = {}
        self.charges = 0  # calls that made a payment: a repeated one makes none

    def terms(self, currency: str) -> Terms:
        """Return the terms of a card."""
        return replace(self._terms, step_micros=unit_micros(currency))

    async def save_card(self, account_id: str, email: str | None, token: str, customer: str | None) -> Card:  # noqa: ARG002
        """Keep a card that is named by its last four digits and its last month, like 4242-2030-12."""
        match = _CARD.fullmatch(token)
        if match is None:
            raise CardError("the sandbox takes a card like 4242-2030-12: its last digits, year and month")
        year, month = int(match[2]), int(match[3])
        expires = date(year, month, monthrange(year, month)[1])
        return Card(customer or f"customer_{account_id}", f"card_{match[1]}", "play money", match[1], expires)

    async def card_link(self, account_id: str, email: str | None, customer: str | None) -> CardLink:  # noqa: ARG002
        """Refuse: there is no page."""
        raise CardError(
            "the sandbox has no page for cards; PUT a token like 4242-2030-12: its last digits, year and month"
        )

    async def linked_card(self, link_id: str) -> Card | Fate:  # noqa: ARG002
        """Tell that there is none."""
        return Fate.CANCELLED

    async def forget_card(self, card: str) -> None:
        """Keep no card: its name says all."""

    async def charge(self, payment: Payment) -> Standing:
        """Make a payment, or tell how the one that was made stands."""
        kept = self.payments.get(payment.topup_id)
        if kept is None:
            kept = self._make(payment)
            if kept.conduct == SILENT:
                raise MethodUnavailableError("the sandbox's provider did not answer")
        return kept.standing

    async def look(self, payment: Payment) -> Standing:
        """Tell how a payment stands; one whose event was lost has succeeded meanwhile."""
        kept = self.payments.get(payment.topup_id) or self._make(payment)  # of another process: the cents say it all
        if kept.conduct == LATE and kept.standing.fate is Fate.PENDING:
            kept.standing = replace(kept.standing, fate=Fate.SUCCEEDED)
        return kept.standing

    async def cancel(self, payment: Payment) -> Standing:
        """Give a payment up that is still pending."""
        kept = self.payments.get(payment.topup_id)
        if kept is None:
            return Standing(Fate.CANCELLED, closed=True)
        if kept.standing.fate is Fate.PENDING:
            kept.standing = replace(kept.standing, fate=Fate.CANCELLED, action_url=None, closed=True)
        return kept.standing

    async def refund(self, payment: Payment, refund_id: UUID, micros: int) -> None:
        """Give part of a payment back, once."""
        kept = self.payments.get(payment.topup_id)
        if kept is None or kept.standing.fate is not Fate.SUCCEEDED:
            raise RefundError("the sandbox has no such payment to give back")
        if refund_id in kept.refunds:
            return
        if kept.standing.refunded_micros + micros > kept.total_micros:
            raise RefundError("more would be given back than was paid")
        kept.refunds[refund_id] = micros
        kept.standing = replace(kept.standing, refunded_micros=kept.standing.refunded_micros + micros)

    def confirm(self, topup_id: UUID) -> None:
        """Do what the payer does at the link."""
        kept = self.payments[topup_id]
        kept.standing = replace(kept.standing, fate=Fate.SUCCEEDED, action_url=None)

    def dispute(self, topup_id: UUID, reason: str | None) -> None:
        """Let the payer's bank take a payment back; None: the dispute is won."""
        kept = self.payments[topup_id]
        kept.standing = replace(kept.standing, disputed=reason)

    def read_event(self, body: bytes, signature: str) -> tuple[str | None, str | None]:  # noqa: ARG002
        """Take the payment's name for an event: it only makes us look."""
        return body.decode(errors="replace").strip(), None

    async def aclose(self) -> None:
        """Nothing is open."""

    def _make(self, payment: Payment) -> Kept:
        cents = payment.total_micros % MICROS_PER_UNIT // CENT
        conduct = self.next.popleft() if self.next else BY_CENTS.get(cents, "")
        name = f"sandbox_{payment.topup_id.hex}"
        if conduct == DECLINED:
            standing = Standing(Fate.FAILED, name, "The card was declined: insufficient funds.", closed=True)
        elif conduct == CONFIRM:
            standing = Standing(Fate.PENDING, name, action_url=f"https://pay.example/confirm/{name}")
        elif conduct in (LATE, STUCK):
            standing = Standing(Fate.PENDING, name)
        else:
            standing = Standing(Fate.SUCCEEDED, name)
        while len(self.payments) >= MAX_KEPT:
            del self.payments[next(iter(self.payments))]
        self.charges += 1
        kept = self.payments[payment.topup_id] = Kept(standing, payment.total_micros, conduct, {})
        return kept
