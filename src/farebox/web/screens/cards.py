"""The saved cards of an account, on its billing information. Their numbers never come here."""

from aiohttp import web

from farebox.admin import cards
from farebox.admin.problems import ProblemError
from farebox.web.screens import billing
from farebox.web.visit import Visit, go


async def save(visit: Visit) -> web.Response:
    """Save the card that a token names, in place of the one before."""
    try:
        body = visit.filled(cards.CardPut, {"token": visit.form.get("token", "").strip()})
        await cards.put(visit.ask(path=_path(visit), body=body))
    except ProblemError as error:
        return await billing.show(visit, error=error.detail)
    return go("/billing?said=saved#cards")


async def link(visit: Visit) -> web.Response:
    """Show the way to the provider's page for cards: a link, because no form of ours may lead to another site."""
    try:
        answer = await cards.link(visit.ask(path=_path(visit)))
    except ProblemError as error:
        return await billing.show(visit, error=error.detail)
    assert isinstance(answer.content, cards.CardLink), "a link is answered with itself"
    return await billing.show(visit, link=answer.content)


async def drop(visit: Visit) -> web.Response:
    """Forget a card."""
    await cards.drop(visit.ask(path=_path(visit)))
    return go("/billing?said=removed#cards")


def _path(visit: Visit) -> dict[str, str]:
    if visit.account is None:
        raise ProblemError(404, visit.tongue.say("There is no account yet"))
    return {"account_id": visit.account.account_id, "method": visit.request.match_info["method"]}
