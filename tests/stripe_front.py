"""A Stripe beside the tests: `localstripe` as a process, and what it lacks in front: idempotency keys,
answers that get lost, Checkout, links to banks.

A card is named by its number, https://docs.stripe.com/testing. To try a gateway against it by hand:

    python tests/stripe_front.py 12111
    FAREBOX_STRIPE_API_KEY=sk_test_12345 FAREBOX_STRIPE_URL=http://127.0.0.1:12111 farebox sandbox

A payer's deeds at its links: `curl -d card=4242424242424242` of a page for cards, `curl -d success=true` of a bank.
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
from urllib.parse import parse_qsl, urlencode

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from stripe import WebhookSignature

SECRET_KEY = "sk_test_12345"
WEBHOOK_SECRET = "whsec_of_the_tests"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
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
    unasked: set[str] = field(default_factory=set)  # payments charged off-session whose bank wants its customer asked
    pages: dict[str, dict[str, Any]] = field(default_factory=dict)  # Checkout sessions in setup mode
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def handle(self, request: web.Request) -> web.Response:
        body, key = await request.read(), request.headers.get("Idempotency-Key")
        if request.path == "/v1/disputes":
            state = self.disputes[request.query["payment_intent"]]
            return web.json_response({"object": "list", "data": [{"reason": "fraudulent", "status": state}]})
        if request.path.startswith("/pay/"):
            await self.enter_card(request.path.rpartition("/")[2], dict(parse_qsl(body.decode()))["card"])
            return web.Response(text="The card is saved.\n")
        if request.path.startswith("/bank/"):
            success = dict(parse_qsl(body.decode()))["success"] == "true"
            await self.authenticate(f"{self.url}{request.path}", success=success)
            return web.Response(text="The bank has heard it.\n")
        if request.path.startswith("/v1/checkout/sessions"):
            return web.json_response(await self.page(request.match_info["path"].rpartition("/")[2], body))
        write = request.method == "POST" and request.path in ("/v1/payment_intents", "/v1/refunds")
        fault = self.faults.popleft() if write and self.faults else ""
        if fault == "away":
            return web.json_response({"error": {"type": "api_error"}}, status=500)
        async with self.one_at_a_time:
            if key in self.kept:
                status, answer = self.kept[key]
            else:
                status, answer = await self.as_stripe(request, body)
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

    async def as_stripe(self, request: web.Request, body: bytes) -> tuple[int, bytes]:
        """Ask localstripe, and add what it lacks: ways back, what a decline is of, banks that ask off-session."""
        form = dict(parse_qsl(body.decode()))
        intent, _, deed = request.path.removeprefix("/v1/payment_intents").strip("/").partition("/")
        if not request.path.startswith("/v1/payment_intents"):
            return await self.ask(request.method, request.path_qs, body, request.headers)
        back = form.pop("return_url", None)
        if deed == "confirm":
            assert form.pop("payment_method").startswith("pm_")
            assert back is not None, "without it the bank's page leads nowhere"
            self.unasked.remove(intent)
            return _sent_to_the_bank(await self.ask("GET", f"/v1/payment_intents/{intent}"), self.url)
        status, answer = await self.ask(request.method, request.path_qs, urlencode(form).encode(), request.headers)
        if deed == "cancel":
            self.unasked.discard(intent)
        if status == 402:
            error = json.loads(answer)["error"]
            _, charge = await self.ask("GET", f"/v1/charges/{error['charge']}")
            _, failed = await self.ask("GET", f"/v1/payment_intents/{json.loads(charge)['payment_intent']}")
            return 402, json.dumps({"error": {**error, "payment_intent": json.loads(failed)}}).encode()
        said = json.loads(answer)
        if form.get("off_session") and said.get("status") == "requires_action":
            self.unasked.add(said["id"])
        if said.get("id") in self.unasked:
            said.update(status="requires_payment_method", next_action=None, payment_method=None)
            error = {"code": "authentication_required", "message": "Your card was declined.", "type": "card_error"}
            said["last_payment_error"] = error
            if request.method == "POST":
                return 402, json.dumps({"error": {**error, "payment_intent": said}}).encode()
            return status, json.dumps(said).encode()
        return _sent_to_the_bank((status, answer), self.url)

    async def page(self, name: str, body: bytes) -> dict[str, Any]:
        """Checkout in setup mode, of which localstripe has the SetupIntent alone."""
        if name == "sessions":
            form = dict(parse_qsl(body.decode()))
            assert (form["mode"], form["payment_method_types[0]"]) == ("setup", "card")
            setup = f"customer={form['customer']}&usage=off_session".encode()
            _, made = await self.ask("POST", "/v1/setup_intents", setup, FORM)
            name = f"cs_test_{json.loads(made)['id']}"
            self.pages[name] = {
                "id": name, "object": "checkout.session", "mode": "setup", "status": "open",
                "customer": form["customer"],
                "url": f"{self.url}/pay/{name}", "expires_at": int(time.time()) + 86_400, "setup_intent": None,
            }  # fmt: skip
        return self.pages[name]

    async def enter_card(self, name: str, number: str) -> None:
        """What a payer does at the page."""
        page, setup = self.pages[name], name.removeprefix("cs_test_")
        card = await self.card(number)
        await self.ask("POST", f"/v1/payment_methods/{card}/attach", f"customer={page['customer']}".encode(), FORM)
        status, _ = await self.ask(
            "POST", f"/v1/setup_intents/{setup}/confirm", f"payment_method={card}".encode(), FORM
        )
        assert status == 200
        _, method = await self.ask("GET", f"/v1/payment_methods/{card}")
        page.update(status="complete", setup_intent={"id": setup, "payment_method": json.loads(method)})

    async def card(self, number: str) -> str:
        """What Stripe.js makes of a card: a payment method."""
        form = f"type=card&card[number]={number}&card[exp_month]=2&card[exp_year]=2032&card[cvc]=123".encode()
        status, answer = await self.ask("POST", "/v1/payment_methods", form, FORM)
        assert status == 200, answer
        name: str = json.loads(answer)["id"]
        return name

    async def authenticate(self, link: str | None, *, success: bool) -> None:
        """What a payer does at the link to the bank."""
        assert link is not None
        assert link.startswith(f"{self.url}/bank/")
        intent = link.rpartition("/")[2]
        _, said = await self.ask("GET", f"/v1/payment_intents/{intent}")
        form = f"client_secret={json.loads(said)['client_secret']}&success={str(success).lower()}".encode()
        await self.ask("POST", f"/v1/payment_intents/{intent}/_authenticate", form, FORM)

    def _disputed(self, request: web.Request, answer: bytes) -> bytes:
        intent = request.path.rpartition("/")[2]
        if intent not in self.disputes:
            return answer
        said = json.loads(answer)
        said["latest_charge"]["disputed"] = True
        return json.dumps(said).encode()


def _sent_to_the_bank(answered: tuple[int, bytes], url: str) -> tuple[int, bytes]:
    """A payment that was confirmed with an address to return to has a link, where Stripe.js would be told otherwise."""
    status, answer = answered
    said = json.loads(answer)
    if said.get("status") != "requires_action":
        return answered
    said["next_action"] = {"type": "redirect_to_url", "redirect_to_url": {"url": f"{url}/bank/{said['id']}"}}
    return status, json.dumps(said).encode()


@asynccontextmanager
async def stripe_in_front(front_port: int | None = None) -> AsyncIterator[Front]:
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
            async with TestServer(application, port=front_port) as server:
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


async def _serve(port: int) -> None:
    async with stripe_in_front(port) as front:
        print(f"Stripe, as far as it goes, at {front.url}", flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
