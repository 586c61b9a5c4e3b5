"""Money that a person has seen arrive: a bank transfer, cash. An admin confirms it; nobody else can."""

from uuid import UUID

from farebox.core.charge import Terms
from farebox.payments.method import Card, CardError, CardLink, EventError, Fate, Payment, Standing


class Manual:
    """Stays pending until an admin confirms or cancels it."""

    name = "manual"
    needs_card = False

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def terms(self, currency: str) -> Terms:  # noqa: ARG002  the same in every currency
        """Return the terms: none, unless the settings name a fee."""
        return self._terms

    async def save_card(self, account_id: str, email: str | None, token: str, customer: str | None) -> Card:  # noqa: ARG002
        """Refuse: nothing is charged here."""
        raise CardError("a bank transfer needs no card; top up without one")

    async def card_link(self, account_id: str, email: str | None, customer: str | None) -> CardLink:  # noqa: ARG002
        """Refuse: nothing is charged here."""
        raise CardError("a bank transfer needs no card; top up without one")

    async def linked_card(self, link_id: str) -> Card | Fate:  # noqa: ARG002
        """Tell that there is none."""
        return Fate.CANCELLED

    async def forget_card(self, card: str) -> None:
        """Know no card."""

    async def charge(self, payment: Payment) -> Standing:
        """Wait for the admin."""
        return Standing(Fate.PENDING, payment.provider_id)

    async def look(self, payment: Payment) -> Standing:
        """Wait for the admin."""
        return Standing(Fate.PENDING, payment.provider_id)

    async def cancel(self, payment: Payment) -> Standing:
        """Give it up: no provider has to be asked."""
        return Standing(Fate.CANCELLED, payment.provider_id, closed=True)

    async def refund(self, payment: Payment, refund_id: UUID, micros: int) -> None:
        """Leave the transfer to whoever asked for it: the books are what farebox keeps."""

    def read_event(self, body: bytes, signature: str) -> tuple[str | None, str | None]:  # noqa: ARG002
        """Refuse: nobody tells of a bank transfer."""
        raise EventError("a bank transfer has no events")

    async def aclose(self) -> None:
        """Nothing is open."""
