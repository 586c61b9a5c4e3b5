"""Strings to pull over HTTP: everything under `/simulator`, in JSON, for people with curl and for other processes."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from .behaviour import Behaviour
from .config import Number
from .errors import GraphError
from .inbound import Inbound
from .templates import new_template

if TYPE_CHECKING:
    from .whatsapp import SimulatedWhatsApp

HELP = """\
A simulated WhatsApp. Its API is Meta's; these are its strings:

  POST /simulator/inbound     {"from": "16505551234", "text": "hi", "referral": false}   a user writes in
                              (curl -d from=16505551234 -d text=hi works too;
                               more: to, type, content, reply_to, name, group_id)
  GET  /simulator/sent        every accepted message;  DELETE forgets them
  GET  /simulator/requests    every request that came in
  PUT  /simulator/behaviour   {"times": 1, "http_status": 503, "code": 2} or a list of such steps; {} is as usual
                              (answer_delay_s, hang, reset, accept, raw_body, headers, message_status,
                               statuses, status_error, status_delay_s, duplicate, reverse, pricing)
  POST /simulator/status      {"wamid": "wamid...", "status": "delivered", "pricing": {...}, "error_code": 131026}
  POST /simulator/event       {"field": "account_update", "value": {...}}   any other webhook
  PUT  /simulator/webhook     {"url": "http://...", "app_secret": "...", "verify_token": "..."}
  PUT  /simulator/settings    {"free_pool": 3, "enforce_window": false, "statuses": ["sent", "delivered"]}
                              (more: delay_s, fep_hours, regime, webhook_version)
  PUT  /simulator/clock       {"offset_s": 86400}, {"advance_s": 3600} or {"now": "2026-12-01T00:00:00Z"}
  POST /simulator/templates   {"name": "sale", "category": "MARKETING", "language": "en_US", "status": "APPROVED"}
  POST /simulator/numbers     {"phone_number_id": "1", "waba_id": "2", "display_number": "3"}
  POST /simulator/groups      {"members": ["16505551234", "4915112345678"]}   answers the group's id
  GET  /simulator/settled     answers when every webhook is posted
"""

Work = Callable[[web.Request], Awaitable[Any]]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Status(_Strict):
    wamid: str
    status: str
    pricing: dict[str, Any] | None = None
    error_code: int | None = None


class _Event(_Strict):
    field: str
    value: dict[str, Any]
    to: str | None = None


class _Webhook(_Strict):
    url: str
    app_secret: str | None = None
    verify_token: str | None = None


class _Group(_Strict):
    members: list[str]
    subject: str = ""
    group_id: str = ""


class _Settings(_Strict):
    """The settings that may change while it runs; unset ones stay."""

    webhook_version: str | None = None
    statuses: tuple[str, ...] | None = None
    delay_s: float | None = None
    regime: str | None = None
    free_pool: int | None = None
    fep_hours: int | None = None
    enforce_window: bool | None = None


class _Clock(_Strict):
    offset_s: float | None = None
    advance_s: float | None = None
    now: datetime | None = None


_STEPS = TypeAdapter(list[Behaviour])
_NUMBER = TypeAdapter(Number)


class Control:
    """The handlers under `/simulator`."""

    def __init__(self, simulator: "SimulatedWhatsApp") -> None:
        self._sim = simulator

    def add_routes(self, app: web.Application) -> None:
        """Add them to the application."""
        router = app.router
        router.add_get("/simulator", self.help)
        router.add_post("/simulator/inbound", _handler(self.inbound))
        router.add_get("/simulator/sent", _handler(self.sent))
        router.add_delete("/simulator/sent", _handler(self.forget))
        router.add_get("/simulator/requests", _handler(self.requests))
        for path, read, write in (
            ("/simulator/behaviour", self.behaviour, self.behave),
            ("/simulator/webhook", self.webhook, self.set_webhook),
            ("/simulator/clock", self.clock, self.set_clock),
            ("/simulator/settings", self.settings, self.set_settings),
        ):
            router.add_get(path, _handler(read))
            router.add_put(path, _handler(write))
        router.add_post("/simulator/status", _handler(self.status))
        router.add_post("/simulator/event", _handler(self.event))
        router.add_get("/simulator/templates", _handler(self.templates))
        router.add_post("/simulator/templates", _handler(self.add_template))
        router.add_post("/simulator/numbers", _handler(self.add_number))
        router.add_post("/simulator/groups", _handler(self.add_group))
        router.add_get("/simulator/settled", _handler(self.settled))

    async def help(self, _request: web.Request) -> web.Response:
        """Say what there is."""
        return web.Response(text=HELP)

    async def inbound(self, request: web.Request) -> Any:
        """Let a user write in."""
        return {"wamid": await self._sim.receive(Inbound.model_validate(await _body(request)))}

    async def sent(self, _request: web.Request) -> Any:
        """List the accepted messages."""
        return {"data": [message.as_json() for message in self._sim.memory]}

    async def forget(self, _request: web.Request) -> Any:
        """Forget the accepted messages and the requests."""
        self._sim.memory.clear()
        return {"success": True}

    async def requests(self, _request: web.Request) -> Any:
        """List the requests that came in."""
        shown = ("method", "path", "query", "headers", "http_status")
        return {"data": [{name: getattr(seen, name) for name in shown} for seen in self._sim.memory.requests]}

    async def behaviour(self, _request: web.Request) -> Any:
        """Show what is still to come."""
        return {"data": [step.model_dump(mode="json", exclude_defaults=True) for step in self._sim.script.steps]}

    async def behave(self, request: web.Request) -> Any:
        """Replace the script: one step, a list of steps, or nothing."""
        body = await _body(request)
        steps = body if isinstance(body, list) else [body] if body else []
        self._sim.behave(*_STEPS.validate_python(steps))
        return await self.behaviour(request)

    async def status(self, request: web.Request) -> Any:
        """Post one more status of a message."""
        asked = _Status.model_validate(await _body(request))
        await self._sim.post_status(asked.wamid, asked.status, pricing=asked.pricing, error_code=asked.error_code)
        return {"success": True}

    async def event(self, request: web.Request) -> Any:
        """Post any webhook."""
        asked = _Event.model_validate(await _body(request))
        await self._sim.post_event(asked.field, asked.value, to=asked.to)
        return {"success": True}

    async def webhook(self, _request: web.Request) -> Any:
        """Show where webhooks go and how that went."""
        poster = self._sim.poster
        return {
            "url": self._sim.config.webhook_url,
            "signed": bool(self._sim.config.app_secret),
            "pending": poster.pending,
            "given_up": poster.given_up,
        }

    async def set_webhook(self, request: web.Request) -> Any:
        """Post webhooks elsewhere."""
        asked = _Webhook.model_validate(await _body(request))
        self._sim.set_webhook(asked.url, asked.app_secret)
        if asked.verify_token is not None and not await self._sim.poster.verify(asked.verify_token):
            raise ValueError(f"{asked.url} did not answer the verification request with its challenge")
        return await self.webhook(request)

    async def clock(self, _request: web.Request) -> Any:
        """Tell the time."""
        return {"offset_s": self._sim.clock.offset_s, "now": self._sim.clock.now()}

    async def set_clock(self, request: web.Request) -> Any:
        """Set the time: an offset, a step, or a moment."""
        asked = _Clock.model_validate(await _body(request))
        clock = self._sim.clock
        if asked.now is not None:
            clock.set(asked.now.timestamp())
        if asked.offset_s is not None:
            clock.offset_s = asked.offset_s
        clock.offset_s += asked.advance_s or 0.0
        return await self.clock(request)

    async def templates(self, _request: web.Request) -> Any:
        """List every account's templates."""
        accounts = sorted({number.waba_id for number in self._sim.numbers.values()})
        return {waba: [t.as_json() for t in self._sim.templates.all(waba)] for waba in accounts}

    async def add_template(self, request: web.Request) -> Any:
        """Add a template, or change one."""
        body = await _body(request)
        waba_id = body.pop("waba_id", None) or next(iter(self._sim.numbers.values())).waba_id
        return self._sim.templates.add(str(waba_id), new_template(body)).as_json()

    async def add_number(self, request: web.Request) -> Any:
        """Add a business phone number."""
        number = _NUMBER.validate_python(await _body(request))
        self._sim.add_number(number)
        return {"success": True}

    async def add_group(self, request: web.Request) -> Any:
        """Make a group."""
        asked = _Group.model_validate(await _body(request))
        return {"id": self._sim.add_group(asked.members, subject=asked.subject, group_id=asked.group_id)}

    async def settings(self, _request: web.Request) -> Any:
        """Show the settings that may change."""
        return {name: getattr(self._sim.config, name) for name in _Settings.model_fields}

    async def set_settings(self, request: web.Request) -> Any:
        """Change settings; all of them or, at a mistake, none."""
        asked = _Settings.model_validate(await _body(request)).model_dump(exclude_none=True)
        replace(self._sim.config, **asked)
        for name, value in asked.items():
            setattr(self._sim.config, name, value)
        return await self.settings(request)

    async def settled(self, _request: web.Request) -> Any:
        """Answer when nothing is left to post."""
        await self._sim.settled()
        return {"settled": True}


async def _body(request: web.Request) -> Any:
    if request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        raw = (await request.read()).strip()
        # curl sends JSON under this content type when nobody tells it otherwise; here that is forgiven.
        if not raw.startswith((b"{", b"[")):
            return {key: value for key, value in (await request.post()).items() if isinstance(value, str)}
    text = await request.text()
    return json.loads(text) if text.strip() else {}


def _handler(work: Work) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Turn a result into JSON and a mistake into one sentence with 400."""

    async def handle(request: web.Request) -> web.Response:
        try:
            return web.json_response(await work(request))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(step) for step in first["loc"])
            return web.json_response({"error": f"{place}: {first['msg']}"}, status=400)
        except GraphError as error:
            return web.json_response({"error": str(error)}, status=400)
        except (ValueError, LookupError) as error:
            return web.json_response({"error": str(error)}, status=400)

    return handle
