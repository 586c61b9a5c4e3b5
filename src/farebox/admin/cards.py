"""The cards that payment providers keep for accounts. No card number comes here: a provider's page takes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Annotated

import asyncpg
from pydantic import Field

from farebox import cards
from farebox.admin.fields import Secret
from farebox.admin.models import Given, Nothing, Taken
from farebox.admin.problems import RETRY_AFTER_S, ProblemError
from farebox.admin.routing import Answer, Ask, Get
from farebox.gate import Gate
from farebox.payments import CardError, MethodUnavailableError
from farebox.topups import not_switched_on


class CardPut(Taken):
    """A card, as its provider's page names it."""

    token: Annotated[
        Secret, Field(description="Of Stripe a payment method, pm_..., as Stripe.js or your own page made it.")
    ]


class Card(Given):
    """What may be shown of a card."""

    method: str
    brand: str
    last4: str
    expires: date = Field(description="The last day that it is good.")


class CardLink(Given):
    """A page of the provider's, where the payer enters a card. The card is saved once that is done."""

    method: str
    url: str = Field(description="Where to send the payer.")
    expires_at: datetime


class Cards(Given):
    """An account's cards, one a method."""

    cards: list[Card]


async def index(ask: Get) -> Answer:
    """List an account's cards, also one that was just entered at its provider's page."""
    account = await _account(ask.gate, ask.path["account_id"])
    await cards.look_at_links(ask.gate, account["account_id"])
    rows = await ask.gate.ledger.fetch("cards", account["account_id"])
    return Answer(Cards(cards=[_shown(row) for row in rows]))


async def put(ask: Ask[CardPut, Nothing]) -> Answer:
    """Save a card in place of the one before."""
    gate, method = ask.gate, ask.path["method"]
    account = await _account(gate, ask.path["account_id"])
    with _refusals(gate, method, "token"):
        card = await cards.save(gate, account, method, ask.body.token)
    return Answer(Card(method=method, brand=card.brand, last4=card.last4, expires=card.expires))


async def link(ask: Ask[Nothing, Nothing]) -> Answer:
    """Make a page of the provider's where the payer enters a card; it takes the place of the one before."""
    gate, method = ask.gate, ask.path["method"]
    account = await _account(gate, ask.path["account_id"])
    with _refusals(gate, method, "method"):
        made = await cards.make_link(gate, account, method)
    return Answer(CardLink(method=method, url=made.url, expires_at=made.expires_at), 201)


async def drop(ask: Ask[Nothing, Nothing]) -> Answer:
    """Let provider and farebox forget a card: nothing can be charged to it from here any more."""
    account_id, method = ask.path["account_id"], ask.path["method"]
    try:
        known = await cards.forget(ask.gate, account_id, method)
    except MethodUnavailableError as error:
        sentence = f"The card is still saved ({error}); try again."
        raise ProblemError(503, sentence, headers={"Retry-After": RETRY_AFTER_S}) from error
    if not known:
        raise ProblemError(
            404, f"Account {account_id} has no saved card of {method}; GET /v1/accounts/{account_id}/cards lists them."
        )
    return Answer(None, 204)


@contextmanager
def _refusals(gate: Gate, method: str, field: str) -> Iterator[None]:
    """Say what a provider does not take, and where the method is not switched on."""
    if method not in gate.payments:
        raise ProblemError(422, not_switched_on(gate, method))
    try:
        yield
    except CardError as error:
        raise ProblemError(422, f"{field}: {error}.") from None
    except MethodUnavailableError as error:
        raise ProblemError(503, f"{error}; try again.", headers={"Retry-After": RETRY_AFTER_S}) from error


async def _account(gate: Gate, account_id: str) -> asyncpg.Record:
    row = await gate.ledger.fetch_one("account", account_id)
    if row is None:
        raise ProblemError(404, f"There is no account {account_id}; create it with PUT /v1/accounts/{account_id}.")
    return row


def _shown(row: asyncpg.Record) -> Card:
    return Card(method=row["method"], brand=row["brand"], last4=row["last4"], expires=row["expires"])
