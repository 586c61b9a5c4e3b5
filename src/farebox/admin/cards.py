"""The cards that payment providers keep for accounts. Card numbers never come here: a provider's page makes tokens."""

from datetime import date
from typing import Annotated

import asyncpg
from pydantic import Field

from farebox.admin.fields import Secret
from farebox.admin.models import Given, Nothing, Taken
from farebox.admin.problems import RETRY_AFTER_S, ProblemError
from farebox.admin.routing import Answer, Ask, Get
from farebox.gate import Gate
from farebox.payments import CardError, MethodUnavailableError


class CardPut(Taken):
    """A card, as its provider's page names it."""

    token: Annotated[Secret, Field(description="Of Stripe a payment method, pm_..., that Stripe.js made.")]


class Card(Given):
    """What may be shown of a card."""

    method: str
    brand: str
    last4: str
    expires: date = Field(description="The last day that it is good.")


class Cards(Given):
    """An account's cards, one a method."""

    cards: list[Card]


async def index(ask: Get) -> Answer:
    """List an account's cards."""
    account = await _account(ask.gate, ask.path["account_id"])
    rows = await ask.gate.ledger.fetch("cards", account["account_id"])
    return Answer(Cards(cards=[_shown(row) for row in rows]))


async def put(ask: Ask[CardPut, Nothing]) -> Answer:
    """Save a card in place of the one before."""
    gate, method = ask.gate, ask.path["method"]
    account = await _account(gate, ask.path["account_id"])
    account_id = account["account_id"]
    way = gate.payments.get(method)
    if way is None:
        raise ProblemError(422, f"method: {method} is not switched on; there is {', '.join(sorted(gate.payments))}.")
    known = await gate.ledger.fetch_one("card", account_id, method)
    try:
        customer = None if known is None else known["customer"]
        card = await way.save_card(account_id, account["billing_email"], ask.body.token, customer)
    except CardError as error:
        raise ProblemError(422, f"token: {error}.") from None
    except MethodUnavailableError as error:
        raise ProblemError(503, f"{error}; try again.", headers={"Retry-After": RETRY_AFTER_S}) from error
    await gate.ledger.fetch(
        "put_card",
        account_id,
        method,
        card.customer,
        card.card,
        card.brand,
        card.last4,
        card.expires,
        gate.clock.now_ms(),
    )
    return Answer(Card(method=method, brand=card.brand, last4=card.last4, expires=card.expires))


async def drop(ask: Ask[Nothing, Nothing]) -> Answer:
    """Forget a card: nothing can be charged to it from here any more."""
    account_id, method = ask.path["account_id"], ask.path["method"]
    if not await ask.gate.ledger.fetch("drop_card", account_id, method):
        raise ProblemError(404, f"Account {account_id} has no saved card of {method}.")
    return Answer(None, 204)


async def _account(gate: Gate, account_id: str) -> asyncpg.Record:
    row = await gate.ledger.fetch_one("account", account_id)
    if row is None:
        raise ProblemError(404, f"There is no account {account_id}; create it with PUT /v1/accounts/{account_id}.")
    return row


def _shown(row: asyncpg.Record) -> Card:
    return Card(method=row["method"], brand=row["brand"], last4=row["last4"], expires=row["expires"])
