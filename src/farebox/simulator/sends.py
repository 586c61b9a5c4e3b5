"""`POST /messages` in its three dialects: check, misbehave if told to, accept, answer."""

import asyncio
import contextlib
import socket
import struct
from typing import Any

from aiohttp import web

from .behaviour import Behaviour, Script
from .billing import Billing
from .config import Number, SimulatorConfig
from .delivery import Deliveries
from .errors import GraphError, parameter_required, unknown_object
from .graph import answer, channel, parse_parameters, read_body
from .messages import Draft, check_message
from .poster import Poster
from .state import Accepted, Clock, Memory, without_secrets
from .templates import Templates
from .users import User, Users
from .wire import new_onpremise_id, new_wamid

# How often a hanging request looks whether its client has left; aiohttp does not cancel a handler for that.
GONE_CHECK_S = 0.05


class Sends:
    """The endpoints that accept messages."""

    def __init__(
        self,
        config: SimulatorConfig,
        *,
        clock: Clock,
        numbers: dict[str, Number],
        memory: Memory,
        users: Users,
        templates: Templates,
        script: Script,
        billing: Billing,
        deliveries: Deliveries,
        poster: Poster,
    ) -> None:
        self.closing = asyncio.Event()
        """Set when the simulator ends, so that hanging requests do not hold it."""
        self._config = config
        self._clock = clock
        self._numbers = numbers
        self._memory = memory
        self._users = users
        self._templates = templates
        self._script = script
        self._billing = billing
        self._deliveries = deliveries
        self._poster = poster

    async def cloud(self, request: web.Request) -> web.StreamResponse:
        """`POST /{version}/{phone_number_id}/messages` and `/marketing_messages`."""
        number = self._numbers.get(request.match_info["id"])
        if number is None:
            raise unknown_object(request.match_info["id"], "POST")
        return await self._send(request, number, "cloud")

    async def d360(self, request: web.Request) -> web.StreamResponse:
        """`POST /messages` with a 360dialog key."""
        return await self._send(request, channel(request, self._numbers), "360dialog")

    async def onpremise(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/messages` with a 360dialog key: the on-premise shape."""
        return await self._send(request, channel(request, self._numbers), "on-premise")

    async def onpremise_mark(self, request: web.Request) -> web.StreamResponse:
        """`PUT /v1/messages/{id}`: mark as read, the on-premise way."""
        body = parse_parameters(request, await read_body(request))
        _mark({"status": body.get("status"), "message_id": request.match_info["message_id"]})
        return answer({"meta": {"api_status": "stable", "version": "2.53.3"}})

    async def _send(self, request: web.Request, number: Number, dialect: str) -> web.StreamResponse:
        raw = await read_body(request)
        malformed: GraphError | None = None
        try:
            body = parse_parameters(request, raw)
        except GraphError as error:
            body, malformed = {}, error
        if "status" in body:
            return answer(_mark(body))
        step = self._script.next()
        if step.answer_delay_s:
            await asyncio.sleep(step.answer_delay_s)
        if step.fails and not step.accept:
            return await self._misbehave(request, step)
        if malformed is not None:
            raise malformed
        draft = check_message(
            body,
            number,
            self._templates,
            marketing=request.path.endswith("/marketing_messages"),
            onpremise=dialect == "on-premise",
        )
        if draft.group_id and draft.group_id not in self._users.groups:
            raise GraphError(131009, f"There is no group {draft.group_id[:80]!r}; POST /simulator/groups makes one")
        self._poster.check_room()
        message = self._accept(request, draft, raw=raw, body=body, number=number, dialect=dialect)
        self._plan(message, draft, step)
        if step.fails:
            return await self._misbehave(request, step)
        return answer(_accepted(message, draft, step), headers=dict(step.headers))

    def _accept(
        self,
        request: web.Request,
        draft: Draft,
        *,
        raw: bytes,
        body: dict[str, Any],
        number: Number,
        dialect: str,
    ) -> Accepted:
        now = self._clock.now()
        user = self._recipient(draft)
        message = Accepted(
            wamid=new_onpremise_id() if dialect == "on-premise" else new_wamid(draft.wa_id or draft.input),
            number=number,
            path=request.path,
            body=body,
            raw=raw,
            headers=without_secrets(request.headers),
            accepted_at=now,
            type=draft.type,
            kind=draft.kind,
            user=user,
            dialect=dialect,
            by_user_id=bool(draft.user_id),
            group_id=draft.group_id,
            echo=draft.echo,
            template_id=draft.template.id if draft.template else "",
            direct_send=draft.direct_send,
            members=self._users.groups[draft.group_id].members if draft.group_id else (),
        )
        self._billing.cover(message)
        self._memory.add(message)
        return message

    def _recipient(self, draft: Draft) -> User:
        if draft.group_id:
            return User("", draft.group_id)
        return self._users.by_user_id(draft.user_id) if draft.user_id else self._users.by_phone(draft.wa_id)

    def _plan(self, message: Accepted, draft: Draft, step: Behaviour) -> None:
        message.override = dict(step.pricing)
        reachable = draft.opens_conversation or message.in_service_window or not self._config.enforce_window
        self._deliveries.plan(message, step, reachable=reachable)

    async def _misbehave(self, request: web.Request, step: Behaviour) -> web.StreamResponse:
        if step.hang:
            await self._until_gone(request)
            return web.Response()
        if step.reset:
            _reset(request)
            return web.Response()
        if step.raw_body is not None:
            return web.Response(
                text=step.raw_body, status=step.http_status or 502, content_type="text/html", headers=step.headers
            )
        code = step.code if step.code is not None else _code_for(step.http_status or 500)
        raise GraphError(code, step.details, http_status=step.http_status, headers=step.headers)

    async def _until_gone(self, request: web.Request) -> None:
        while not self.closing.is_set() and request.transport is not None and not request.transport.is_closing():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GONE_CHECK_S):
                    await self.closing.wait()


def _mark(body: dict[str, Any]) -> dict[str, Any]:
    """Answer mark-as-read and typing, which are no messages.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/typing-indicators
    """
    if body["status"] != "read":
        raise GraphError(100, message='(#100) Param status must be one of {"READ"}')
    if not body.get("message_id"):
        raise parameter_required("message_id")
    return {"success": True}


def _accepted(message: Accepted, draft: Draft, step: Behaviour) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": message.wamid}
    if message.dialect == "on-premise":
        return {"messages": [entry], "meta": {"api_status": "stable", "version": "2.53.3"}}
    if draft.template is not None:
        entry["message_status"] = step.message_status
    contact = {"input": draft.input, "wa_id": draft.group_id or draft.wa_id}
    if draft.user_id:
        contact["user_id"] = draft.user_id
    if draft.group_id:
        entry["group_id"] = draft.group_id
    return {"messaging_product": "whatsapp", "contacts": [contact], "messages": [entry]}


def _code_for(http_status: int) -> int:
    usual = {401: 190, 403: 10, 404: 132001, 429: 130429, 503: 2}
    return usual.get(http_status, 131000 if http_status >= 500 else 100)


def _reset(request: web.Request) -> None:
    """Break the connection with RST: the client can not take it for an orderly end."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError, NotImplementedError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
