"""What the corpus and the state machine are played on: one gate, real stores, and a small upstream in this process."""

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import asyncpg
from aiohttp import web
from aiohttp.test_utils import RawTestServer
from multidict import CIMultiDict

from farebox import intake, news
from farebox.access import Request, admit
from farebox.config import Settings
from farebox.core.path import read_path
from farebox.core.reply import Reply
from farebox.core.webhook import TemplateChange, load_webhook, parts_of
from farebox.directory import Number
from farebox.embedded import EmbeddedStores
from farebox.gate import Gate, open_gate
from farebox.outbound import send
from farebox.reconcile import Comparison, compare

WABA = "waba"
TEMPLATES = ("marketing", "utility", "authentication")  # of that account; each is named like its category


@dataclass
class Upstream:
    """WhatsApp as far as a send sees it: takes a message, rejects it, or never answers."""

    mood: str = "takes"  # how it meets the next message; then it takes again
    sent: list[dict[str, Any]] = field(default_factory=list)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET":
            return web.json_response({"data": []})  # no template that the registry does not know
        self.sent.append(json.loads(await request.read()))
        mood, self.mood = self.mood, "takes"
        if mood == "vanishes":
            assert request.transport is not None
            request.transport.close()
        if mood == "rejects":
            return web.json_response({"error": {"message": "no", "code": 131009}}, status=400)
        return web.json_response({"messages": [{"id": f"wamid.{uuid4().hex}"}]})


@dataclass
class Stage:
    """The gate and what a play does with it."""

    gate: Gate
    upstream: Upstream

    async def set_clock(self, now_ms: int) -> None:
        """Move the clock as the sandbox does."""
        row = await self.gate.ledger.fetch_one("now")
        assert row is not None
        await self.gate.ledger.fetch("set_clock", row["offset_ms"] + now_ms - row["now_ms"])
        await self.gate.clock.sync(self.gate.ledger)

    async def add_number(self, number_id: str, columns: dict[str, Any], markup: tuple[int, int, int]) -> Number:
        """Set up a number with an account of its own."""
        store, currency = self.gate.ledger._pool, columns["currency"]
        await store.execute(
            "INSERT INTO account (account_id, name, currency, created_at, markup_ppm, markup_fixed_micros, tax_ppm) "
            "VALUES ($1, 'A', $2, now(), $3, $4, $5)",
            number_id, currency, *markup,
        )  # fmt: skip
        names = ", ".join(columns)
        places = ", ".join(f"${place + 2}" for place in range(len(columns)))
        await store.execute(
            f"INSERT INTO number (number_id, account_id, waba_id, created_at, {names}) "
            f"VALUES ($1, $1, '{WABA}', now(), {places})",
            number_id, *columns.values(),
        )  # fmt: skip
        await store.execute("INSERT INTO balance VALUES ($1)", number_id)
        await self.gate.directory.load_numbers(self.gate.ledger)
        return self.gate.directory.numbers[number_id]

    async def send(self, number: Number, body: dict[str, Any], mood: str = "takes") -> Reply:
        """Send a message as a client does; the upstream meets it in this mood."""
        self.upstream.mood = mood
        path = f"/v23.0/{number.number_id}/messages"
        headers = CIMultiDict({"Authorization": "Bearer client", "Content-Type": "application/json"})
        request = Request("POST", path, "", headers, json.dumps(body).encode())
        call = admit(self.gate.directory, read_path("POST", path, ""), request)
        reply = await send(self.gate, call)
        await self.gate.ledger.noted()
        return reply

    async def webhook(self, number: Number, value: dict[str, Any], field_: str = "messages") -> None:
        """Keep the books of a webhook as it comes over the wire."""
        if field_ == "messages":
            value = {"metadata": {"phone_number_id": number.number_id}, **value}
        change = {"field": field_, "value": value}
        body = json.dumps({"object": "whatsapp_business_account", "entry": [{"id": WABA, "changes": [change]}]})
        for part in parts_of(load_webhook(body.encode())):
            pieces = intake.of_number(self.gate, number, part) if part.number_id is not None else []
            for piece in [*pieces, *map(news.of_template, part.templates)]:
                await intake.tell_one(self.gate, piece)

    async def compared(self, number: Number) -> Comparison:
        """What reconcile sees of one number."""
        (row,) = [row async for row in compare(self.gate.ledger, self.gate.wallet, only=[number.number_id])]
        return row

    async def units(self, number: Number, pool: str) -> int:
        """Units used of a pool, as the wallet counts them."""
        used = await self.gate.wallet._redis.hget(f"farebox:{{{number.number_id}}}:wallet", f"pool:{pool}")
        return int(used or 0)

    async def hold(self, hold_id: str) -> asyncpg.Record:
        row = await self.gate.ledger._pool.fetchrow("SELECT * FROM hold WHERE hold_id = $1", hold_id)
        assert row is not None
        return row


@asynccontextmanager
async def open_stage(
    stores: EmbeddedStores, folder: Path, *, tariffs: Path | None = None, wallet_timeout_s: float = 2
) -> AsyncIterator[Stage]:
    """Open a gate on a database of its own, with the registry that the plays know.

    Its wallets have longer to answer than in production: a busy machine is no dead store.
    """
    name = f"stage_{uuid4().hex}"
    admin = await asyncpg.connect(stores.database_url.replace("/farebox?", "/postgres?"))
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE farebox STRATEGY file_copy")
    upstream = Upstream()
    async with RawTestServer(upstream.handle) as server:
        settings = Settings(
            database_url=stores.database_url.replace("/farebox?", f"/{name}?"),
            redis_url=stores.redis_url,
            data_dir=folder,
            wallet_timeout_s=wallet_timeout_s,
            ledger_timeout_s=10,
            tariffs_dir=tariffs,
            upstream_url=str(server.make_url("")).rstrip("/"),
        )
        async with open_gate(settings) as gate:
            await _fill_registry(gate)
            yield Stage(gate, upstream)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


async def _fill_registry(gate: Gate) -> None:
    said = [TemplateChange(WABA, name, "en", category=name, status="APPROVED") for name in TEMPLATES]
    await gate.templates.registry.take_over(said, source="sync")


def message(words: Sequence[str], user: str) -> dict[str, Any]:
    """Write the body of a message: "text", "template marketing", "direct utility", "reaction", "read", ..."""
    to = {"to": user} if user[:1] in "+0123456789" else {"recipient": user}
    body: dict[str, Any] = {"messaging_product": "whatsapp", **to}
    match words:
        case ["template", name]:
            return {**body, "type": "template", "template": {"name": name, "language": {"code": "en"}}}
        case ["direct", category]:
            return {**body, "type": "text", "text": {"body": "hello"}, "category": category}
        case ["reaction"]:
            return {**body, "type": "reaction", "reaction": {"message_id": "wamid.X", "emoji": "x"}}
        case ["read"]:
            return {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.X"}
        case ["typing"]:
            return {
                "messaging_product": "whatsapp",
                "status": "read",
                "message_id": "wamid.X",
                "typing_indicator": {"type": "text"},
            }
        case ["image"]:
            return {**body, "type": "image", "image": {"id": "1"}}
        case _:
            assert list(words) == ["text"], f"no such message: {words}"
            return {**body, "type": "text", "text": {"body": "hello"}}


def bare(user: str) -> str:
    """Return a recipient as WhatsApp names it: the digits of a phone number, a user id as it is."""
    return user if user[:2].isalpha() else re.sub(r"\D", "", user)


def local_ms(text: str, zone: ZoneInfo) -> int:
    """Read a time of a zone as milliseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


def parse_duration_ms(text: str) -> int:
    """Read "90s", "30m", "2h", "3d"."""
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    return int(float(text[:-1]) * seconds[text[-1]] * 1000)
