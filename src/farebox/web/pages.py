"""The page's addresses, and what happens before and after a screen: who may, forms that are ours, errors in words."""

import hmac
import logging
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler

from farebox.acting import Actor, acting
from farebox.admin.problems import ProblemError
from farebox.admin.routing import Admin
from farebox.gate import UNAVAILABLE, Gate
from farebox.web import render, sessions
from farebox.web.screens import (
    alerts,
    balance,
    billing,
    cards,
    charges,
    funds,
    limits,
    messages,
    movements,
    operators,
    renewal,
    settings,
    sign,
    usage,
)
from farebox.web.tongue import choose
from farebox.web.users import Role
from farebox.web.visit import ACCOUNT_COOKIE, Visit, go

log = logging.getLogger(__name__)

LANGUAGE_COOKIE = "farebox_language"
CHOICE_S = 365 * 86_400  # how long a choice of language or account is remembered

Screen = Callable[[Visit], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Page:
    """One address: what it shows, and who may. `role` None: whoever reaches the port."""

    method: str
    path: str
    screen: Screen
    role: Role | None = Role.VIEWER


PAGES = (
    Page("GET", "/", balance.show),
    Page("GET", "/live", balance.live),
    Page("GET", "/usage", usage.show),
    Page("GET", "/funds", funds.show, role=Role.FINANCE),
    Page("POST", "/funds/review", funds.review, role=Role.FINANCE),
    Page("POST", "/funds/confirm", funds.confirm, role=Role.FINANCE),
    Page("GET", "/funds/{phone_number_id}/{topup_id}", funds.topup),
    Page("POST", "/funds/{phone_number_id}/{topup_id}", funds.act, role=Role.FINANCE),
    Page("GET", "/settings", settings.show),
    Page("POST", "/settings/{phone_number_id}", settings.change, role=Role.OPERATOR),
    Page("POST", "/settings/{phone_number_id}/auto-renewal", renewal.change, role=Role.FINANCE),
    Page("GET", "/settings/{phone_number_id}/limits", limits.show),
    Page("POST", "/settings/{phone_number_id}/limits", limits.change, role=Role.FINANCE),
    Page("GET", "/alerts", alerts.show),
    Page("POST", "/alerts/channels", alerts.add, role=Role.FINANCE),
    Page("POST", "/alerts/channels/{channel_id}/remove", alerts.drop, role=Role.FINANCE),
    Page("POST", "/alerts/{alert_id}/tell", alerts.tell_again, role=Role.OPERATOR),
    Page("GET", "/billing", billing.show),
    Page("POST", "/billing", billing.change, role=Role.FINANCE),
    Page("POST", "/billing/cards/{method}", cards.save, role=Role.FINANCE),
    Page("POST", "/billing/cards/{method}/link", cards.link, role=Role.FINANCE),
    Page("POST", "/billing/cards/{method}/remove", cards.drop, role=Role.FINANCE),
    Page("GET", "/charges", charges.show),
    Page("GET", "/movements", movements.show),
    Page("GET", "/movements/day", movements.day),
    Page("GET", "/statements/{phone_number_id}/{month}", movements.statement),
    Page("GET", "/messages", messages.show),
    Page("GET", "/messages/{message_id}", messages.explain),
    Page("GET", "/drift", operators.drift),
    Page("GET", "/quarantine", operators.held),
    Page("POST", "/quarantine/{quarantine_id}", operators.replay, role=Role.OPERATOR),
    Page("GET", "/audit", operators.deeds),
    Page("GET", "/sign-in", sign.show, role=None),
    Page("POST", "/sign-in", sign.sign_in, role=None),
    Page("POST", "/sign-out", sign.sign_out),
)


def add_pages(app: web.Application, gate: Gate, *, sandbox: bool) -> None:
    """Add the page to the admin port's application. In a sandbox the admin token signs in as well."""
    admin = Admin(gate, None, b"")
    app.router.add_route("GET", "/assets/{name}", render.serve_asset)
    for page in PAGES:
        app.router.add_route(page.method, page.path, _serve(admin, page, sandbox=sandbox))


def _serve(admin: Admin, page: Page, *, sandbox: bool) -> Handler:
    async def serve(request: web.Request) -> web.StreamResponse:
        chosen = request.query.get("language") or request.cookies.get(LANGUAGE_COOKIE)
        tongue = choose(request.headers.get("Accept-Language", ""), chosen)
        visit = Visit(request, admin, tongue, None, sandbox=sandbox)
        try:
            return await _answer(visit, page)
        except ProblemError as error:
            return visit.page("error.html", status=error.status, sentence=error.detail)
        except UNAVAILABLE as error:
            log.warning("%s %s: %s", request.method, request.path, error)
            sentence = tongue.say("A store does not answer at the moment. Nothing was changed; try again.")
            return visit.page("error.html", status=503, sentence=sentence)
        except web.HTTPException:
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            sentence = tongue.say("This should not have happened; the log of farebox says what did.")
            return visit.page("error.html", status=500, sentence=sentence)

    return serve


async def _answer(visit: Visit, page: Page) -> web.StreamResponse:
    request = visit.request
    cookie = request.cookies.get(sessions.COOKIE, "")
    if cookie:
        visit.person = await sessions.find_session(visit.gate.ledger, cookie)
        visit.csrf = sessions.csrf_of(cookie)
    if page.role is not None and visit.person is None:
        return _to_sign_in(request)
    if request.method == "POST":
        form = await request.post()
        visit.form = {name: value for name, value in form.items() if isinstance(value, str)}
        _check_origin(visit, page)
    if page.role is not None:
        await visit.load_accounts()
        if not visit.may(page.role):
            raise ProblemError(403, visit.tongue.say("Your role may not do this; ask an operator."))
    who = Actor(f"user {visit.person.name}") if visit.person is not None and request.method == "POST" else None
    with acting(who) if who is not None else nullcontext():
        response = await page.screen(visit)
    _remember(visit, response)
    return response


def _to_sign_in(request: web.Request) -> web.Response:
    if request.path == "/live":
        raise ProblemError(401, "Sign in first.")
    back = request.path_qs if request.method == "GET" else "/"
    return go("/sign-in" if back == "/" else f"/sign-in?next={quote(back)}")


def _check_origin(visit: Visit, page: Page) -> None:
    """Raise ProblemError where a form is not one of ours: another site's, or of a session that is over."""
    headers = visit.request.headers
    site, origin = headers.get("Sec-Fetch-Site", "same-origin"), headers.get("Origin")
    # Behind a proxy the scheme differs, so hosts are compared; "null" is what a browser says that hides where it was.
    foreign = origin is not None and origin.partition("://")[2] != visit.request.host
    right = page.role is None or hmac.compare_digest(visit.form.get("csrf", "").encode(), visit.csrf.encode())
    if site not in ("same-origin", "none") or foreign or not right:
        raise ProblemError(403, visit.tongue.say("This form is out of date; go back, reload the page and try again."))


def _remember(visit: Visit, response: web.StreamResponse) -> None:
    """Keep what was chosen in the address: the account, the language."""
    chosen = {ACCOUNT_COOKIE: visit.query.get("account"), LANGUAGE_COOKIE: visit.query.get("language")}
    secure = sessions.over_tls(visit.request)
    for name, value in chosen.items():
        if value and len(value) <= 64:
            response.set_cookie(
                name, quote(value, safe=""), path="/", max_age=CHOICE_S, httponly=True, samesite="Lax", secure=secure
            )
