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

JSON = "application/json"
TEXT = "text/plain"

# The segments in braces. aiohttp hands them over decoded.
PATH_PARAMETERS: Mapping[str, Shape] = MappingProxyType(
    {
        "account_id": ACCOUNT_ID,
        "phone_number_id": META_ID,
        "message_id": Shape(r"[^\x00-\x1f\x7f]{1,256}", "must be a wamid or a hold id, percent-encoded"),
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
    shown_balances: set[tuple[str, str]] = field(default_factory=set)  # the metric's labels so far


@dataclass(frozen=True, slots=True)
class Ask(Generic[BodyT, QueryT]):
    """A request whose parts have been checked."""

    admin: Admin
    path: Mapping[str, str]
    query: QueryT
    body: BodyT

    @property
    def gate(self) -> Gate:
        """Return the worker's parts."""
        return self.admin.gate


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: a model, or bytes of the route's media type."""

    content: BaseModel | bytes | None
    status: int = 200


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
    def needs_token(self) -> bool:
        """Tell whether the admin token must be shown."""
        return under_v1(self.path)


def under_v1(path: str) -> bool:
    """Tell whether a path belongs to the API proper, which needs the admin token."""
    return path == "/v1" or path.startswith("/v1/")


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
