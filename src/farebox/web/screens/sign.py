"""Signing in and out."""

import hmac

from aiohttp import web

from farebox.web import sessions
from farebox.web.users import check_password
from farebox.web.visit import Visit, go


async def show(visit: Visit) -> web.Response:
    """Ask for name and password."""
    return visit.page("sign_in.html", next=_back(visit.query.get("next")), name="")


async def sign_in(visit: Visit) -> web.Response:
    """Sign in, or say that it was not right: not which of the two."""
    name, password = visit.form.get("name", "").strip().lower(), visit.form.get("password", "")
    ledger = visit.gate.ledger
    if _is_token(visit, password):
        cookie = await sessions.open_session(ledger, None)
    elif await check_password(ledger, name, password):
        cookie = await sessions.open_session(ledger, name)
    else:
        sentence = visit.tongue.say(
            "Name or password is not right. After ten wrong tries a name waits for a quarter of an hour."
        )
        back = _back(visit.form.get("next"))
        return visit.page("sign_in.html", status=422, error=sentence, next=back, name=name)
    response = go(_back(visit.form.get("next")))
    sessions.set_cookie(visit.request, response, cookie)
    return response


async def sign_out(visit: Visit) -> web.Response:
    """End the session, here and in the ledger."""
    await sessions.close_session(visit.gate.ledger, visit.request.cookies.get(sessions.COOKIE, ""))
    response = go("/sign-in")
    response.del_cookie(sessions.COOKIE, path="/")
    return response


def _is_token(visit: Visit, password: str) -> bool:
    """Tell whether a sandbox's admin token was given in place of a password."""
    token = visit.gate.settings.admin_token
    return (
        visit.sandbox
        and token is not None
        and hmac.compare_digest(password.encode(), token.get_secret_value().encode())
    )


def _back(path: str | None) -> str:
    """Return where to go on: a path of ours, never another site ("//other")."""
    return path if path and path.startswith("/") and not path.startswith(("//", "/\\")) else "/"
