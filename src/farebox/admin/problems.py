"""Errors as problem details (RFC 9457): a status, and one sentence that says what to do."""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from farebox.core.reply import Reply
from farebox.passthrough import to_response

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = "1"  # a store that was away for a moment is back by then
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})

# What pydantic would say in its own words, said about a JSON document.
_SENTENCES = {
    "missing": "is missing",
    "string_type": "must be a string",
    "list_type": "must be a list",
    "model_type": "must be a JSON object",
    "none_required": "must be null",
    "string_unicode": "must be valid Unicode",
    "uuid_parsing": "must be a UUID",
    "string_too_short": "must not be empty",  # every least length is 1
    "too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_long": "must have at most {max_length} items",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "int_parsing": "must be a whole number",
}
_NEAR = 0.75  # how alike a wrong and a right name must be to be thought a slip


class ProblemError(Exception):
    """A request that is answered with a problem."""

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


class Problem(BaseModel):
    """RFC 9457, with no types of our own: the status and the sentence say it all."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


def problem_reply(status: int, detail: str, *, headers: Mapping[str, str] = _NO_HEADERS) -> Reply:
    """Return a problem as an answer."""
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    headers = {**headers, "Content-Type": MEDIA_TYPE, "Cache-Control": "no-store"}
    return Reply(status, problem.model_dump_json().encode(), tuple(headers.items()))


def problem_response(status: int, detail: str, *, headers: Mapping[str, str] = _NO_HEADERS) -> web.Response:
    """Return a problem as the server sends it."""
    return to_response(problem_reply(status, detail, headers=headers))


def invalid(error: ValidationError, model: type[BaseModel]) -> ProblemError:
    """Return the problem for a body or query that is not what it should be: its first mistake in one sentence.

    The input itself is never repeated, for it may be a secret.
    """
    mistakes = error.errors(include_url=False, include_input=False)
    first = mistakes[0]
    if first["type"] == "json_invalid":
        return ProblemError(400, f"The body is not valid JSON ({_reason(first)}); send a JSON object.")
    more = len(mistakes) - 1
    suffix = "" if not more else f" ({more} more {'mistake' if more == 1 else 'mistakes'} after this one)"
    return ProblemError(422, f"{_sentence(first, model)}{suffix}.")


def _sentence(mistake: ErrorDetails, model: type[BaseModel]) -> str:
    place = ".".join(str(step) for step in mistake["loc"])
    kind = mistake["type"]
    if kind == "extra_forbidden":
        return _unknown_field(place, model)
    wanted = _SENTENCES.get(kind, "").format_map(mistake.get("ctx", {}))
    if not wanted:
        wanted = mistake["msg"].replace("Input should", "must")
    return f"{place}: {wanted}" if place else f"The body {wanted}"


def _unknown_field(name: str, model: type[BaseModel]) -> str:
    known = [field.alias or name for name, field in model.model_fields.items()]
    near = get_close_matches(name, known, n=1, cutoff=_NEAR)
    hint = f"perhaps you mean {near[0]}" if near else f"the fields are {', '.join(known)}"
    return f"{json.dumps(name)[1:-1][:64]}: there is no such field; {hint}"


def _reason(mistake: ErrorDetails) -> str:
    context: dict[str, Any] = mistake.get("ctx", {})
    return str(context.get("error", "it can not be read"))
