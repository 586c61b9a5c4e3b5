"""`farebox sandbox`: the whole product on one machine, with a simulated WhatsApp and something to play with.

The demonstration account is set up through the admin API, like anybody's.
"""

import json
import logging
import secrets
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from pydantic import SecretStr

from farebox import ports
from farebox.config import Settings
from farebox.embedded.folders import erase
from farebox.ledger import Ledger
from farebox.simulator import SimulatedWhatsApp, SimulatorConfig
from farebox.simulator.config import DEFAULT_DISPLAY_NUMBER, DEFAULT_PHONE_NUMBER_ID, DEFAULT_WABA_ID
from farebox.spool import FOLDER
from farebox.supervisor import Stop, reserve_ports, run_gateway, stores
from farebox.web.users import Role, put_user

log = logging.getLogger(__name__)

ACCOUNT_ID = "demo"
USER = "demo"  # of Insights & Billing
START_BALANCE = "1.00"  # USD: seven marketing messages to Germany, so that the refusal is a minute away
STATUS_DELAY_S = 0.2  # between a simulated message's sent, delivered and read, so that a person can watch
META_UPSTREAM = "https://graph.facebook.com"


class DemoApp:
    """The application behind the demonstration number: it prints what reaches it."""

    def __init__(self) -> None:
        self.app = web.Application()
        self.app.router.add_post("/", self._receive)

    async def _receive(self, request: web.Request) -> web.Response:
        for entry in (await request.json()).get("entry", []):
            for change in entry.get("changes", []):
                for message in change.get("value", {}).get("messages", []):
                    _say(f"inbound   {message.get('type')} from a user ending in {message.get('from', '')[-4:]}")
                for status in change.get("value", {}).get("statuses", []):
                    _say(f"status    {status.get('status')} for {status.get('id')}")
        return web.Response()


def _say(line: str) -> None:
    print(f"  {line}", flush=True)  # noqa: T201  also to a file, as it happens


async def run_sandbox(settings: Settings, *, simulator_port: int, fresh: bool, quiet: bool) -> None:
    """Run everything until Ctrl-C."""
    stop = Stop()
    async with AsyncExitStack() as stack:
        settings = reserve_ports(stack, settings)
        app_url = await _serve(stack, DemoApp().app, settings.host, 0, "demonstration app")
        settings = await stack.enter_async_context(stores(settings, stop, fresh=fresh))
        if fresh:  # it is news of the stores that are gone
            erase(settings.data_dir / FOLDER)
        memory = _remembered(settings.data_dir, fresh=fresh)
        settings = settings.model_copy(
            update={
                "sandbox_payments": True,
                "admin_token": settings.admin_token or SecretStr(memory["admin_token"]),
                "app_secret": settings.app_secret or SecretStr(memory["app_secret"]),
                "verify_token": settings.verify_token or SecretStr(memory["verify_token"]),
            }
        )
        gateway_url = f"http://{settings.host}:{settings.gateway_port}"
        simulator_url = None
        if settings.upstream_url == META_UPSTREAM:
            simulator_url = await _simulate(stack, settings, memory, simulator_port, f"{gateway_url}/webhooks/meta")
            settings = settings.model_copy(update={"upstream_url": simulator_url})
        await run_gateway(stack, settings, sandbox=True)
        await _set_up(settings, memory, app_url if not quiet else None)
        await _set_up_user(settings, memory)
        _remember(settings.data_dir, memory)
        print(_welcome(settings, memory, gateway_url, simulator_url), flush=True)  # noqa: T201
        await stop.wait()


async def _simulate(
    stack: AsyncExitStack, settings: Settings, memory: dict[str, str], port: int, webhook_url: str
) -> str:
    """Serve the simulated WhatsApp in this process, where nothing else happens."""
    assert settings.app_secret is not None, "the sandbox makes one"
    simulator = SimulatedWhatsApp(
        SimulatorConfig(
            token=memory["upstream_token"],
            app_secret=settings.app_secret.get_secret_value(),
            webhook_url=webhook_url,
            delay_s=STATUS_DELAY_S,
            webhook_attempts=5,
        )
    )
    return await _serve(stack, simulator.app, settings.host, port, "simulated WhatsApp")


async def _serve(stack: AsyncExitStack, app: web.Application, host: str, port: int, what: str) -> str:
    bound = stack.enter_context(ports.reserve(host, port, what))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host, ports.number_of(bound), reuse_port=True).start()
    return f"http://{host}:{ports.number_of(bound)}"


async def _set_up(settings: Settings, memory: dict[str, str], app_url: str | None) -> None:
    """Create the demonstration account, number, balance and key, each only where it is not there yet."""
    assert settings.admin_token is not None, "the sandbox makes one"
    headers = {"Authorization": f"Bearer {settings.admin_token.get_secret_value()}"}
    base = f"http://{settings.host}:{settings.admin_port}/v1"
    async with aiohttp.ClientSession(headers=headers) as session:

        async def call(method: str, path: str, body: dict[str, Any]) -> Any:
            async with session.request(method, base + path, json=body) as answer:
                content = await answer.json()
                if answer.status >= 400:
                    raise RuntimeError(f"the sandbox could not be set up: {content.get('detail')}")
                return content

        await call("PUT", f"/accounts/{ACCOUNT_ID}", {"name": "Demonstration Ltd", "currency": "USD", "country": "US"})
        number = f"/numbers/{DEFAULT_PHONE_NUMBER_ID}"
        await call(
            "PUT",
            number,
            {
                "account_id": ACCOUNT_ID,
                "display_phone_number": f"+{DEFAULT_DISPLAY_NUMBER}",
                "waba_id": DEFAULT_WABA_ID,
                "currency": "USD",
                "upstream_token": memory["upstream_token"],
                "app_url": app_url,
            },
        )
        topup = {"amount": START_BALANCE, "reference": "sandbox-start", "method": "manual"}
        await call("POST", f"{number}/topups", topup)
        if "key" not in memory:
            made = await call("POST", "/keys", {"name": "demonstration", "numbers": [DEFAULT_PHONE_NUMBER_ID]})
            memory["key"] = made["key"]


async def _set_up_user(settings: Settings, memory: dict[str, str]) -> None:
    """Make the user of the page, once: a password that somebody gave it since then stays."""
    if "password" in memory:
        return
    assert settings.database_url is not None, "the stores are named by now"
    ledger = await Ledger.connect(settings.database_url, timeout_s=settings.ledger_timeout_s)
    try:
        password = secrets.token_urlsafe(12)
        await put_user(ledger, USER, password, Role.OPERATOR)
        memory["password"] = password
    finally:
        await ledger.aclose()


def _remembered(data_dir: Path, *, fresh: bool) -> dict[str, str]:
    """Return the sandbox's secrets: the ones it made before, or new ones."""
    file = data_dir / "sandbox.json"
    if file.exists() and not fresh:
        memory: dict[str, str] = json.loads(file.read_text())
        return memory
    return {name: secrets.token_urlsafe(24) for name in ("admin_token", "app_secret", "verify_token", "upstream_token")}


def _remember(data_dir: Path, memory: dict[str, str]) -> None:
    file = data_dir / "sandbox.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps(memory, indent=1))


def _welcome(settings: Settings, memory: dict[str, str], gateway_url: str, simulator_url: str | None) -> str:
    assert settings.admin_token is not None, "the sandbox makes one"
    admin_url = f"http://{settings.host}:{settings.admin_port}"
    message = (
        '{"messaging_product":"whatsapp","to":"4915112345678","type":"template",'
        '"template":{"name":"summer_sale","language":{"code":"en_US"}}}'
    )
    lines = [
        "",
        f"farebox runs.  gateway {gateway_url}   admin {admin_url}   simulated WhatsApp {simulator_url or '-'}",
        "",
        f"Insights & Billing: {admin_url}/   name {USER}   password {memory['password']}",
        "",
        "Send a paid message (marketing to Germany, 0.1365 USD). Repeat it: the ninth is refused, the money is gone.",
        f"  curl -i {gateway_url}/v23.0/{DEFAULT_PHONE_NUMBER_ID}/messages \\",
        f"    -H 'Authorization: Bearer {memory['key']}' -H 'Content-Type: application/json' \\",
        f"    -d '{message}'",
        "",
        "Read the balance:",
        f"  curl {admin_url}/v1/numbers/{DEFAULT_PHONE_NUMBER_ID} \\",
        f"    -H 'Authorization: Bearer {settings.admin_token.get_secret_value()}'",
        "",
        "Add money:",
        f"  curl {admin_url}/v1/numbers/{DEFAULT_PHONE_NUMBER_ID}/topups \\",
        f"    -H 'Authorization: Bearer {settings.admin_token.get_secret_value()}' \\",
        '    -H \'Content-Type: application/json\' -d \'{"amount":"1.00","method":"manual"}\'',
    ]
    if simulator_url:
        lines += [
            "",
            "A user writes in (it arrives whatever the balance is, and is printed below):",
            f"  curl {simulator_url}/simulator/inbound -d from=4915112345678 -d text=hello",
        ]
    return "\n".join([*lines, "", "Ctrl-C ends everything; the balance is still there next time.", ""])
