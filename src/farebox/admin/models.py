"""What the models of requests and answers have in common.

A PUT replaces: a field that is not given takes its default, and a secret that is not given is forgotten. A PATCH
changes the fields that are given, and null clears those that may be null.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

MAX_PAGE = 200  # rows of one answer: some 100 KB, and at most so many looks into the wallets


class Taken(BaseModel):
    """What a client sends: nothing is converted, nothing unknown is passed over."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Given(BaseModel):
    """What a client gets."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True, validate_by_name=True)


class Nothing(Taken):
    """No body, no query."""


class Asked(BaseModel):
    """A query: its values are texts that must be converted."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def without_defaults(schema: dict[str, Any]) -> None:
    """Describe a PATCH: what is not given stays, so it has no defaults."""
    for field in schema["properties"].values():
        field.pop("default", None)
