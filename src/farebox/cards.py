"""The cards that payment providers keep for accounts: saved, at best at a page of the provider's own, and forgotten.

A page is followed until its card is saved or it has expired: the provider's event makes us look, and where that is lost
a pass does. A card that another takes the place of is forgotten by its provider: nothing can be charged to it any more.
"""

import logging

import asyncpg

from farebox.gate import Gate
from farebox.payments import Card, CardError, CardLink, Fate, MethodUnavailableError

log = logging.getLogger(__name__)

MAX_LINKS = 50  # pages asked about in one pass; the others come first in the next
LINK_LOOK_MS = 5_000  # a page is younger than that while nobody can have typed a card
COMES_BACK_MS = 1_000  # between two looks at the pages of an account whose cards are asked for


async def save(gate: Gate, account: asyncpg.Record, method: str, token: str) -> Card:
    """Save a card that a token names in place of the one before. Raises CardError, MethodUnavailableError."""
    account_id = account["account_id"]
    customer = await _customer(gate, account_id, method)
    card = await gate.payments[method].save_card(account_id, account["billing_email"], token, customer)
    await _keep(gate, account_id, method, card)
    return card


async def make_link(gate: Gate, account: asyncpg.Record, method: str) -> CardLink:
    """Make a page where a card is entered for an account. Raises CardError, MethodUnavailableError."""
    account_id = account["account_id"]
    customer = await _customer(gate, account_id, method)
    link = await gate.payments[method].card_link(account_id, account["billing_email"], customer)
    await gate.ledger.fetch("add_card_link", method, link.link_id, account_id, link.customer, gate.clock.now_ms())
    return link


async def hear(gate: Gate, method: str, link_id: str | None) -> bool:
    """Look at the page that a provider's event is about; False where it is none of ours, or has ended.

    Raises MethodUnavailableError: then the provider should tell again.
    """
    row = await gate.ledger.fetch_one("card_link", method, link_id)
    if row is None:
        return False
    await _look(gate, row)
    return True


async def look_at_links(gate: Gate, account_id: str | None = None) -> None:
    """Ask about the pages whose end nobody has told of; of an account alone, where its payer may have come back."""
    before_ms = gate.clock.now_ms() - (LINK_LOOK_MS if account_id is None else COMES_BACK_MS)
    for row in await gate.ledger.fetch("card_links_open", before_ms, MAX_LINKS, account_id):
        if row["method"] not in gate.payments:
            continue
        try:
            await _look(gate, row)
        except MethodUnavailableError as error:
            log.warning("the card page %s is looked at later: %s", row["link_id"], error)


async def forget(gate: Gate, account_id: str, method: str) -> bool:
    """Let the provider and us forget an account's card, and save none from a page that was made before; False: no card.

    Raises MethodUnavailableError: then it is still saved.
    """
    await look_at_links(gate, account_id)  # a card that was entered just now is forgotten, too
    card = await gate.ledger.fetch_one("card", account_id, method)
    if card is not None:
        if method in gate.payments:
            await gate.payments[method].forget_card(card["card"])
        await gate.ledger.fetch("drop_card", account_id, method, card["card"])
    await gate.ledger.fetch("end_card_links", account_id, method, gate.clock.now_ms())
    return card is not None


async def _look(gate: Gate, row: asyncpg.Record) -> None:
    method, link_id = row["method"], row["link_id"]
    try:
        found = await gate.payments[method].linked_card(link_id)
    except CardError as error:
        log.warning("no card is saved by the page %s: %s", link_id, error)
        found = Fate.CANCELLED
    if isinstance(found, Card):
        await _keep(gate, row["account_id"], method, found)
    await gate.ledger.fetch("note_card_link", method, link_id, gate.clock.now_ms(), found is not Fate.PENDING)


async def _customer(gate: Gate, account_id: str, method: str) -> str | None:
    row = await gate.ledger.fetch_one("card_customer", account_id, method)
    return None if row is None else row["customer"]


async def _keep(gate: Gate, account_id: str, method: str, card: Card) -> None:
    """Take a card over, and let the provider forget the one before."""
    before = await gate.ledger.fetch_one("card", account_id, method)
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
    if before is not None and before["card"] != card.card:
        try:
            await gate.payments[method].forget_card(before["card"])
        except MethodUnavailableError as error:
            log.warning("the card before is still known to %s, and not charged any more: %s", method, error)
