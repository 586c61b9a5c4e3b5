"""The description of the API is whole: every route is in it, and everything it refers to is there."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from farebox.admin.openapi import document
from farebox.admin.routes import CLOCK_ROUTES, ROUTES
from farebox.admin.routing import under_v1

ALL = ROUTES + CLOCK_ROUTES


@pytest.fixture(scope="module")
def described() -> Any:
    return json.loads(document(ALL))


def every(node: Any, name: str) -> Iterator[Any]:
    """Yield every value under this name, at any depth."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == name:
                yield value
            yield from every(value, name)
    elif isinstance(node, list):
        for item in node:
            yield from every(item, name)


def test_every_route_is_described_and_nothing_else(described: Any) -> None:
    routes = {(route.method.lower(), route.path) for route in ALL}
    assert {(method, path) for path, operations in described["paths"].items() for method in operations} == routes
    assert len(routes) == len(ALL)


def test_it_has_what_openapi_demands(described: Any) -> None:
    assert described["openapi"].startswith("3.1.")
    assert described["info"]["title"]
    assert described["info"]["version"]
    assert described["components"]["securitySchemes"]["admin_token"]["scheme"] == "bearer"
    ids = list(every(described["paths"], "operationId"))
    assert len(set(ids)) == len(ids) == len(ALL)


def test_every_reference_resolves(described: Any) -> None:
    references = [reference for reference in every(described, "$ref") if isinstance(reference, str)]
    assert references
    for reference in references:
        node = described
        assert reference.startswith("#/")
        for step in reference[2:].split("/"):
            node = node[step]


def test_no_schema_is_left_over(described: Any) -> None:
    used = {reference.rpartition("/")[2] for reference in every(described, "$ref")}
    assert used == set(described["components"]["schemas"])


@pytest.mark.parametrize("route", ALL, ids=lambda route: f"{route.method} {route.path}")
def test_an_operation_is_complete(described: Any, route: Any) -> None:
    operation = described["paths"][route.path][route.method.lower()]
    assert operation["summary"]
    in_path = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
    assert in_path == {piece[1:-1] for piece in route.path.split("/") if piece.startswith("{")}
    assert all(parameter["required"] for parameter in operation["parameters"] if parameter["in"] == "path")
    assert all(parameter["schema"] for parameter in operation["parameters"])
    assert ("requestBody" in operation) == route.takes_body
    assert bool(operation["security"]) == under_v1(route.path)
    statuses = {int(status) for status in operation["responses"]}
    assert statuses >= set(route.answers) | set(route.problems)
    assert any(status < 300 for status in statuses)
    assert (401 in statuses) == under_v1(route.path)
    for status, response in operation["responses"].items():
        assert response["description"]
        assert ("content" in response) == (status != "204")


def test_money_is_a_string_everywhere(described: Any) -> None:
    money = {
        "amount",
        "available",
        "held",
        "pending",
        "fare",
        "billed",
        "rate",
        "markup",
        "tax",
        "spend",
        "markup_fixed",
        "block_at",
        "low_balance_at",
    }
    seen = set()
    for schema in described["components"]["schemas"].values():
        for name, field in schema.get("properties", {}).items():
            if name in money:
                seen.add(name)
                kinds = {option["type"] for option in field.get("anyOf", [field])}
                assert kinds <= {"string", "null"}
                assert "string" in kinds
                assert isinstance(field.get("default", ""), str | None)
    assert seen == money


def test_secrets_are_in_no_answer(described: Any) -> None:
    schemas = described["components"]["schemas"]
    assert "upstream_token" in schemas["NumberPut"]["properties"]
    assert not {"upstream_token", "app_secret"} & set(schemas["Number"]["properties"])
