"""What a route is: method, path, models and handler in one row, which serves requests and describes itself."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from farebox.admin.fields import ACCOUNT_ID, META_ID, Shape
from farebox.admin.models import Nothing
from farebox.gate import Gate

BodyT = TypeVar("BodyT", bound=BaseModel)
QueryT = TypeVar("QueryT", bound=BaseModel)

TestClock = Callable[[], Awaitable[object]]  # runs what is due at the new time

ACCOUNT = "/v1/accounts/{account_id}"
NUMBER = "/v1/numbers/{phone_number_id}"
JSON = "application/json"
TEXT = "text/plain"

# The segments in braces. aiohttp hands them over decoded.
PATH_PARAMETERS: Mapping[str, Shape] = MappingProxyType(
    {
        "account_id": ACCOUNT_ID,
        "phone_number_id": META_ID,
        "message_id": Shape(r"[^\x00-\x1f\x7f]{1,256}", "must be a wamid or a hold id, percent-encoded"),
        "quarantine_id": Shape(r"[0-9]{1,19}", "must be a number as GET /v1/quarantine shows it"),
        "channel_id": Shape(r"[0-9a-fA-F-]{1,64}", "must be a channel id as it was shown"),
        "alert_id": Shape(r"[0-9]{1,18}", "must be a number as GET /v1/alerts shows it"),
        "topup_id": Shape(r"[0-9a-fA-F-]{1,64}", "must be a top-up id as GET /v1/numbers/{id}/topups shows it"),
        "method": Shape(r"[a-z]{1,32}", "must be a payment method that keeps cards: stripe, sandbox"),
        "key_id": Shape(r"[0-9a-fA-F-]{1,64}", "must be a key id as GET /v1/keys shows it"),
    }
)


@dataclass(frozen=True)
class Admin:
    """What the handlers share."""

    gate: Gate
    test_clock: TestClock | None
    document: bytes  # /openapi.json
    clock_moves: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class Signed:
    """A body as it came, and what its sender signed it with."""

    body: bytes
    signature: str


@dataclass(frozen=True, slots=True)
class Ask(Generic[BodyT, QueryT]):
    """A request whose parts have been checked."""

    admin: Admin
    path: Mapping[str, str]
    query: QueryT
    body: BodyT
    key: str | None = None  # the Idempotency-Key of a write
    signed: Signed | None = None  # of a path that is signed

    @property
    def gate(self) -> Gate:
        """Return the worker's parts."""
        return self.admin.gate


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: a model, or bytes of the route's media type.

    `once`: the answer holds a secret that is shown this once, so under its Idempotency-Key this sentence is kept in its
    place, as a conflict.
    """

    content: BaseModel | bytes | None
    status: int = 200
    once: str | None = None


Get = Ask[Nothing, Nothing]
Answers = Mapping[int, type[BaseModel] | None]  # by status; None: no model describes it


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table. `problems` are the statuses of its own, beside those that every route can answer."""

    method: str
    path: str
    summary: str
    handler: Callable[[Any], Awaitable[Answer]]
    body: type[BaseModel]
    query: type[BaseModel]
    answers: Answers
    problems: tuple[int, ...]
    media_type: str = JSON

    @property
    def takes_body(self) -> bool:
        """Tell whether a body is read."""
        return self.body is not Nothing

    @property
    def writes(self) -> bool:
        """Tell whether something may change: then an Idempotency-Key is honoured."""
        return self.method != "GET"

    @property
    def needs_token(self) -> bool:
        """Tell whether the admin token must be shown."""
        return under_v1(self.path)


SIGNED = "/v1/payments/"  # events of payment providers: each carries a signature in place of the token


def under_v1(path: str) -> bool:
    """Tell whether a path belongs to the API proper, which needs the admin token."""
    return path == "/v1" or (path.startswith("/v1/") and not path.startswith(SIGNED))


# The two makers below tie a handler's types to the models of its row, so that mypy sees where they come apart.


def get(
    path: str,
    summary: str,
    handler: Callable[[Ask[Nothing, QueryT]], Awaitable[Answer]],
    *,
    answers: Answers,
    query: type[QueryT],
    problems: tuple[int, ...] = (),
    media_type: str = JSON,
) -> Route:
    """Make a row that reads."""
    return Route("GET", path, summary, handler, Nothing, query, answers, problems, media_type)


def write(
    method: str,
    path: str,
    summary: str,
    handler: Callable[[Ask[BodyT, Nothing]], Awaitable[Answer]],
    *,
    body: type[BodyT],
    answers: Answers,
    problems: tuple[int, ...] = (),
) -> Route:
    """Make a row that changes something."""
    return Route(method, path, summary, handler, body, Nothing, answers, problems)


def asked_write(
    method: str,
    path: str,
    summary: str,
    handler: Callable[[Ask[BodyT, QueryT]], Awaitable[Answer]],
    *,
    body: type[BodyT],
    query: type[QueryT],
    answers: Answers,
    problems: tuple[int, ...] = (),
) -> Route:
    """Make a row that changes something and takes a query."""
    return Route(method, path, summary, handler, body, query, answers, problems)
