"""Billing information: whom receipts name, the Tax ID, and the cards that are saved."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from aiohttp import web

from farebox.admin import accounts, cards
from farebox.admin.problems import ProblemError
from farebox.web.screens.funds import MANUAL, WAYS
from farebox.web.visit import Visit, go

FIELDS = ("legal_name", "country", "tax_id", "billing_email")


@dataclass(frozen=True, slots=True)
class Slot:
    """A payment method that charges cards, and the one it has saved."""

    method: str
    name: str
    card: cards.Card | None
    by_token: bool  # where nothing real is charged: a token is typed in place of a provider's page


async def _slots(visit: Visit) -> list[Slot]:
    """Return what the billing information shows of cards."""
    if visit.account is None:
        return []
    found = await cards.index(visit.ask(path={"account_id": visit.account.account_id}))
    assert isinstance(found.content, cards.Cards), "cards are answered with themselves"
    saved = {card.method: card for card in found.content.cards}
    methods = [name for name in sorted(visit.gate.payments) if name != MANUAL]
    return [Slot(name, WAYS[name][0], saved.get(name), name == "sandbox") for name in methods]


async def show(visit: Visit, *, error: str | None = None, link: cards.CardLink | None = None) -> web.Response:
    """Show what is known; `link`: where a card can be entered."""
    if visit.account is None:
        return visit.page("billing.html", account=None, values={}, slots=[], link=None, error=None)
    answer = await accounts.show(visit.ask(path={"account_id": visit.account.account_id}))
    account = answer.content
    assert isinstance(account, accounts.Account), "an account is answered with itself"
    values = {name: getattr(account, name) or "" for name in FIELDS}
    values["address"] = "\n".join(account.address or [])
    return visit.page(
        "billing.html",
        status=422 if error else 200,
        account=account,
        link=link,
        zone=ZoneInfo("UTC"),
        slots=await _slots(visit),
        values=values | (dict(visit.form) if error else {}),
        error=error,
    )


async def change(visit: Visit) -> web.Response:
    """Change it by the API's own function, which checks a Tax ID by the country's rules."""
    if visit.account is None:
        return go("/billing")
    fields: dict[str, object] = {name: visit.form.get(name, "").strip() or None for name in FIELDS}
    fields["country"] = str(fields["country"]).upper() if fields["country"] else None
    fields["address"] = [line.strip() for line in visit.form.get("address", "").splitlines() if line.strip()] or None
    try:
        body = visit.filled(accounts.AccountPatch, fields)
        await accounts.patch(visit.ask(path={"account_id": visit.account.account_id}, body=body))
    except ProblemError as error:
        return await show(visit, error=error.detail)
    return go("/billing?said=saved")
