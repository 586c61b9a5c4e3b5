"""A client of the admin port that checks what must hold for every answer: it is documented, and it shows no secret."""

import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient

from farebox.gate import Gate
from harness import ADMIN_TOKEN

UPSTREAM_TOKEN = "EAAG-upstream-token-of-this-number"
NUMBER_SECRET = "app-secret-of-this-number"
SECRETS = (ADMIN_TOKEN, UPSTREAM_TOKEN, NUMBER_SECRET)
PROBLEM = "application/problem+json"


@dataclass
class Answered:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        """The sentence of a problem, after checking that it is a whole one."""
        assert self.headers["Content-Type"] == PROBLEM
        problem = self.json
        assert set(problem) == {"type", "title", "status", "detail"}
        assert (problem["type"], problem["status"]) == ("about:blank", self.status)
        assert problem["detail"].endswith(".")
        detail: str = problem["detail"]
        return detail


@dataclass
class Api:
    client: TestClient[web.Request, web.Application]
    gate: Gate
    moves: list[int] = field(default_factory=list)
    """When the test clock's passes ran."""
    document: Any = None

    async def ask(self, method: str, path: str, body: Any = None, *, token: str = ADMIN_TOKEN, **more: Any) -> Answered:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= more.pop("headers", {})
        if body is not None:
            more["json"] = body
        async with self.client.request(method, path, headers=headers, **more) as response:
            answered = Answered(response.status, response.headers.copy(), await response.read())
        for secret in SECRETS:
            assert secret.encode() not in answered.body
        self._documented(method, path.partition("?")[0], answered)
        return answered

    async def ok(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        answered = await self.ask(method, path, body)
        assert answered.status == status, answered.body
        return answered.json if answered.body else None

    async def refused(self, method: str, path: str, body: Any = None, *, status: int = 422, **more: Any) -> str:
        answered = await self.ask(method, path, body, **more)
        assert answered.status == status, answered.body
        return answered.detail

    async def add_number(self, number_id: str = "1", **fields: Any) -> Any:
        if (await self.ask("GET", "/v1/accounts/acme")).status == 404:
            await self.ok("PUT", "/v1/accounts/acme", {"name": "Acme", "currency": "USD"}, status=201)
        return await self.ok("PUT", f"/v1/numbers/{number_id}", {"account_id": "acme", **fields}, status=201)

    def _documented(self, method: str, path: str, answered: Answered) -> None:
        """Check that the description of the API knows this status of this path, in this media type."""
        if self.document is None:
            return
        steps = path.strip("/").split("/")
        for known, operations in self.document["paths"].items():
            parts = known.strip("/").split("/")
            same = len(parts) == len(steps) and all(
                part.startswith("{") or part == step for part, step in zip(parts, steps, strict=True)
            )
            if same and method.lower() in operations:
                response = operations[method.lower()]["responses"][str(answered.status)]
                if answered.body:
                    assert answered.headers["Content-Type"].partition(";")[0] in response["content"]
                return
