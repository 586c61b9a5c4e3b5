"""A Stripe beside the tests: `localstripe` as a process, and what it lacks in front: idempotency keys, lost answers.

A card is named by its number, https://docs.stripe.com/testing.
"""

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from stripe import WebhookSignature

SECRET_KEY = "sk_test_12345"
WEBHOOK_SECRET = "whsec_of_the_tests"
GOOD, DECLINED, ASKS = "4242424242424242", "4000000000000341", "4000002500003155"


@dataclass
class Front:
    """Passes on to localstripe; `faults` are taken by turns by charges and refunds: what is to go wrong with each."""

    session: aiohttp.ClientSession
    behind: str
    url: str = ""
    faults: deque[str] = field(default_factory=deque)
    disputes: dict[str, str] = field(default_factory=dict)  # payment -> the state of its dispute
    kept: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    charges: int = 0
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def handle(self, request: web.Request) -> web.Response:
        body, key = await request.read(), request.headers.get("Idempotency-Key")
        if request.path == "/v1/disputes":
            state = self.disputes[request.query["payment_intent"]]
            return web.json_response({"object": "list", "data": [{"reason": "fraudulent", "status": state}]})
        write = request.method == "POST" and request.path in ("/v1/payment_intents", "/v1/refunds")
        fault = self.faults.popleft() if write and self.faults else ""
        if fault == "away":
            return web.json_response({"error": {"type": "api_error"}}, status=500)
        async with self.one_at_a_time:
            if key in self.kept:
                status, answer = self.kept[key]
            else:
                status, answer = await self.ask(request.method, request.path_qs, body, request.headers)
                self.charges += write and request.path == "/v1/payment_intents"
                if key is not None:
                    self.kept[key] = (status, answer)
        if fault == "lost":
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=status, body=self._disputed(request, answer), content_type="application/json")

    async def ask(self, method: str, path: str, body: bytes | None = None, headers: Any = None) -> tuple[int, bytes]:
        passed = {name: value for name, value in (headers or {}).items() if name in ("Authorization", "Content-Type")}
        passed.setdefault("Authorization", f"Bearer {SECRET_KEY}")
        async with self.session.request(method, self.behind + path, data=body, headers=passed) as answer:
            return answer.status, await answer.read()

    async def card(self, number: str) -> str:
        """What Stripe.js makes of a card: a payment method."""
        form = f"type=card&card[number]={number}&card[exp_month]=2&card[exp_year]=2032&card[cvc]=123".encode()
        status, answer = await self.ask(
            "POST", "/v1/payment_methods", form, {"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert status == 200, answer
        name: str = json.loads(answer)["id"]
        return name

    async def authenticate(self, intent: str, secret: str, *, success: bool) -> None:
        """What a payer does at the link."""
        form = f"client_secret={secret}&success={str(success).lower()}".encode()
        await self.ask(
            "POST", f"/v1/payment_intents/{intent}/_authenticate", form,
            {"Content-Type": "application/x-www-form-urlencoded"},
        )  # fmt: skip

    def _disputed(self, request: web.Request, answer: bytes) -> bytes:
        intent = request.path.rpartition("/")[2]
        if intent not in self.disputes:
            return answer
        said = json.loads(answer)
        said["latest_charge"]["disputed"] = True
        return json.dumps(said).encode()


@asynccontextmanager
async def stripe_in_front() -> AsyncIterator[Front]:
    port = unused_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "localstripe", "--port", str(port), "--from-scratch",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as session:
            front = Front(session, f"http://localhost:{port}")
            await _listening(front)
            application = web.Application()
            application.router.add_route("*", "/{path:.*}", front.handle)
            async with TestServer(application) as server:
                front.url = str(server.make_url("")).rstrip("/")
                yield front
    finally:
        process.terminate()
        await process.wait()


async def _listening(front: Front) -> None:
    for _ in range(600):
        try:
            await front.ask("GET", "/v1/customers")
        except aiohttp.ClientError:
            await asyncio.sleep(0.1)
        else:
            return
    raise TimeoutError("localstripe does not listen")


def signed(about: Any, *, secret: str = WEBHOOK_SECRET, age_s: int = 0) -> tuple[bytes, str]:
    """An event and its signature, as Stripe sends them."""
    body = json.dumps({"object": "event", "data": {"object": about}})
    at = int(time.time()) - age_s
    return body.encode(), f"t={at},v1={WebhookSignature._compute_signature(f'{at}.{body}', secret)}"
