"""Makes /openapi.json (OpenAPI 3.1) from the table of routes and the models."""

import json
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from farebox.access import IDEMPOTENCY_KEY
from farebox.admin.models import Nothing
from farebox.admin.problems import MEDIA_TYPE, Problem
from farebox.admin.routing import JSON, PATH_PARAMETERS, TEXT, Route
from farebox.idempotency import MAX_KEY

_REF = "#/components/schemas/{model}"
_SEGMENT = re.compile(r"\{(\w+)\}")
_KEY: Mapping[str, Any] = MappingProxyType(
    {
        "name": IDEMPOTENCY_KEY,
        "in": "header",
        "required": False,
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
        "description": "Makes the write happen once: the same key and body get the first answer again for 24 hours, "
        "with the header Idempotency-Replayed; another body, or a first request still in progress, is a 409.",
    }
)
_Schemas = Mapping[Any, dict[str, Any]]  # by (model, mode)


def document(routes: Iterable[Route]) -> bytes:
    """Return the description of all routes."""
    routes = list(routes)
    schemas, definitions = models_json_schema(sorted(_models(routes), key=str), ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    content = {
        "openapi": "3.1.0",
        "info": {
            "title": "farebox admin",
            "version": version("farebox"),
            "description": "Accounts, numbers, money and keys of a farebox gateway. Money is a decimal string with its "
            "currency beside it; errors are problem details (RFC 9457) with one sentence that says what to do.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {
                "admin_token": {"type": "http", "scheme": "bearer", "description": "The value of FAREBOX_ADMIN_TOKEN."}
            },
        },
    }
    return json.dumps(content, ensure_ascii=False).encode()


def _models(routes: list[Route]) -> set[tuple[type[BaseModel], JsonSchemaMode]]:
    taken: set[tuple[type[BaseModel], JsonSchemaMode]] = {
        (route.body, "validation") for route in routes if route.takes_body
    }
    given: set[type[BaseModel]] = {
        answer for route in routes for answer in route.answers.values() if answer is not None
    }
    return taken | {(model, "serialization") for model in given | {Problem}}


def _operation(route: Route, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.handler.__module__.rpartition('.')[2]}_{route.handler.__name__}",
        "summary": route.summary,
        "security": [{"admin_token": []}] if route.needs_token else [],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *([dict(_KEY)] if route.writes else [])],
        "responses": {
            **{str(status): _answer(route, status, schemas) for status in route.answers},
            **{str(status): _problem(status, schemas) for status in problem_statuses(route)},
        },
    }
    if route.takes_body:
        operation["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": schemas[route.body, "validation"]}},
        }
    return operation


def problem_statuses(route: Route) -> list[int]:
    """Return the statuses of a route's problems: its own, and those that come with what it takes."""
    statuses = set(route.problems)
    if route.needs_token:
        statuses |= {401, 500, 503}
    if route.takes_body:
        statuses |= {400, 413, 415, 422}
    if route.writes:
        statuses |= {400, 409}
    if _SEGMENT.search(route.path) or route.query is not Nothing:
        statuses.add(422)
    return sorted(statuses - set(route.answers))


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": f"^(?:{PATH_PARAMETERS[name].pattern})$"},
        }
        for name in _SEGMENT.findall(route.path)
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    """Describe a query's fields one by one. Its models are flat, so that no schema refers to another."""
    fields: dict[str, dict[str, Any]] = route.query.model_json_schema().get("properties", {})
    parameters = []
    for name, schema in fields.items():
        schema.pop("title", None)
        parameter = {"name": name, "in": "query", "required": False, "schema": schema}
        if "description" in schema:
            parameter["description"] = schema.pop("description")
        parameters.append(parameter)
    return parameters


def _answer(route: Route, status: int, schemas: _Schemas) -> dict[str, Any]:
    description = HTTPStatus(status).phrase
    if status == HTTPStatus.NO_CONTENT:
        return {"description": description}
    model = route.answers[status]
    if model is None:
        schema: dict[str, Any] = {"type": "string"} if route.media_type == TEXT else {"type": "object"}
    else:
        schema = schemas[model, "serialization"]
    return {"description": description, "content": {route.media_type: {"schema": schema}}}


def _problem(status: int, schemas: _Schemas) -> dict[str, Any]:
    schema = schemas[Problem, "serialization"]
    return {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
