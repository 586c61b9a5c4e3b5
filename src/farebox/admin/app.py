"""Builds the admin port's application from the table of routes: who may ask, what is checked, what goes wrong."""

import hmac
import logging
from contextlib import nullcontext
from functools import partial
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ValidationError

from farebox.access import IDEMPOTENCY_KEY
from farebox.acting import MAX_WHO, MAX_WHY, Actor, acting
from farebox.admin.models import Nothing
from farebox.admin.once import key_of, once
from farebox.admin.openapi import document
from farebox.admin.problems import RETRY_AFTER_S, ProblemError, invalid, problem_reply, problem_response
from farebox.admin.routes import CLOCK_ROUTES, ROUTES
from farebox.admin.routing import (
    PATH_PARAMETERS,
    SIGNED,
    TEXT,
    Admin,
    Answer,
    Ask,
    Route,
    Signed,
    TestClock,
    under_v1,
)
from farebox.batch import OverloadedError
from farebox.config import Settings
from farebox.core.reply import Reply
from farebox.gate import Gate
from farebox.ledger import LedgerUnavailableError
from farebox.logs import REQUEST_ID, request_id, start_request
from farebox.passthrough import to_response
from farebox.wallet import WalletUnavailableError

log = logging.getLogger(__name__)

REASON_HEADER = "X-Farebox-Reason"  # of a write: what the audit log says about why
WHO = "farebox.who"  # where a request remembers who was let in by other means than the admin token

SIGNATURE_HEADER = "Stripe-Signature"
MAX_BODY_BYTES = 65_536  # the largest body is a key for a thousand numbers: some 20 KB


def admin_app(gate: Gate, *, test_clock: TestClock | None = None) -> web.Application:
    """Make the admin port's application.

    `test_clock` is for a sandbox: with it the clock can be moved, and it is awaited after each move to do what is then
    due.
    """
    routes = ROUTES if test_clock is None else ROUTES + CLOCK_ROUTES
    admin = Admin(gate, test_clock, document(routes))
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_problems, _token_check(gate.settings)])
    for route in routes:
        app.router.add_route(route.method, route.path, _serve(admin, route))
    return app


def _serve(admin: Admin, route: Route) -> Handler:
    """Return the handler of a row: it checks what the row says, asks, and answers."""

    async def serve(request: web.Request) -> web.Response:
        path = _path(request)
        query = _checked(route.query, dict(request.query)) if route.query is not Nothing else Nothing()
        body = await _body(request, route.body) if route.takes_body else Nothing()
        key = key_of(request.headers.getall(IDEMPOTENCY_KEY, [])) if route.writes else None
        signature = request.headers.get(SIGNATURE_HEADER, "")
        signed = Signed(await request.read(), signature) if request.path.startswith(SIGNED) else None
        ask = Ask(admin, path, query, body, key, signed)
        who = _actor(request) if route.writes else None
        if key is None:
            answer, _ = await _answered(route, ask, who)
        else:
            write = partial(_answered, route, ask, who)
            answer = await once(admin.gate, f"{route.method} {request.path_qs}", key, await request.read(), write)
        return to_response(answer)

    return serve


async def _answered(route: Route, ask: Ask[Any, Any], who: Actor | None) -> tuple[Reply, Reply]:
    """Return a handler's answer, and what of it is kept for a repetition. What it changes is changed in who's name."""
    with acting(who) if who is not None else nullcontext():
        answer = await route.handler(ask)
    assert answer.status in route.answers, f"{route.method} {route.path} does not say that it answers {answer.status}"
    reply = _reply(route, answer)
    return reply, reply if answer.once is None else problem_reply(409, answer.once)


def _actor(request: web.Request) -> Actor:
    """Return who asks, and why: for the audit log."""
    why = request.headers.get(REASON_HEADER, "").encode(errors="surrogateescape").decode(errors="replace")
    if len(why) > MAX_WHY:
        raise ProblemError(400, f"The header {REASON_HEADER} has more than {MAX_WHY} characters; say it shorter.")
    return Actor(
        request.get(WHO, "payment provider" if request.path.startswith(SIGNED) else "admin token")[:MAX_WHO],
        why.strip(),
        request_id(),
    )


def _path(request: web.Request) -> dict[str, str]:
    for name, value in request.match_info.items():
        shape = PATH_PARAMETERS[name]
        try:
            shape.check(value)
        except ValueError:
            raise ProblemError(422, f"{name}: {shape.sentence}.") from None
    return dict(request.match_info)


def _checked(model: type[BaseModel], query: dict[str, str]) -> BaseModel:
    try:
        return model.model_validate(query)
    except ValidationError as error:
        raise invalid(error, model) from None


async def _body(request: web.Request, model: type[BaseModel]) -> BaseModel:
    kind = request.content_type if "Content-Type" in request.headers else "application/json"
    if kind != "application/json" and not kind.endswith("+json"):
        raise ProblemError(415, f"The body is {kind}; send JSON with the header Content-Type: application/json.")
    raw = await request.read()
    if not raw.strip():
        raise ProblemError(400, "The body is empty; send a JSON object.")
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise invalid(error, model) from None


def _reply(route: Route, answer: Answer) -> Reply:
    no_store = ("Cache-Control", "no-store")  # balances, and once a key
    if answer.content is None:
        return Reply(answer.status, b"", (no_store,))
    content = answer.content if isinstance(answer.content, bytes) else answer.content.model_dump_json().encode()
    media_type = CONTENT_TYPE_LATEST if route.media_type == TEXT else route.media_type
    return Reply(answer.status, content, (no_store, ("Content-Type", media_type)))


def _token_check(settings: Settings) -> Middleware:
    token = settings.admin_token.get_secret_value().encode() if settings.admin_token else None

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if under_v1(request.path):
            scheme, _, given = request.headers.get("Authorization", "").partition(" ")
            right = scheme.lower() == "bearer" and token and hmac.compare_digest(_bytes(given.strip()), token)
            if not right:
                what = "is missing" if not given else "is wrong"
                raise ProblemError(
                    401,
                    f"The admin token {what}; send it as Authorization: Bearer followed by the value of "
                    "FAREBOX_ADMIN_TOKEN.",
                    headers={"WWW-Authenticate": 'Bearer realm="farebox admin"'},
                )
        return await handler(request)

    return check


def _bytes(header: str) -> bytes:
    """Return a header's bytes: aiohttp reads those that are no UTF-8 as half surrogates."""
    return header.encode("utf-8", "surrogateescape")


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Make a problem of everything that goes wrong. What nobody expected is logged, and says nothing to the client."""
    given = start_request(request.headers)
    response = await _answer(request, handler)
    if not response.prepared:
        response.headers.setdefault(REQUEST_ID, given)
    return response


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ProblemError as error:
        return problem_response(error.status, error.detail, headers=error.headers)
    except web.HTTPException as error:
        return _http_problem(request, error)
    except (LedgerUnavailableError, WalletUnavailableError, OverloadedError) as error:
        sentence = f"{str(error) or 'Too many requests wait for a store'}; try again."
        return problem_response(503, sentence[:1].upper() + sentence[1:], headers={"Retry-After": RETRY_AFTER_S})
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return problem_response(500, "This should not have happened; the log of farebox says what did.")


def _http_problem(request: web.Request, error: web.HTTPException) -> web.Response:
    """Say in our own words what aiohttp found wrong."""
    match error:
        case web.HTTPNotFound():
            return problem_response(404, f"There is nothing at {request.path}; GET /openapi.json lists what there is.")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            detail = f"{request.method} is not possible at {request.path}; use {allowed}."
            return problem_response(405, detail, headers={"Allow": allowed})
        case web.HTTPRequestEntityTooLarge():
            return problem_response(413, f"The body is too large; send at most {MAX_BODY_BYTES} bytes.")
        case _:
            return problem_response(error.status, f"{error.reason or HTTPStatus(error.status).phrase}.")
