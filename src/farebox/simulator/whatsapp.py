"""A WhatsApp of one's own: Meta's Cloud API over HTTP, its webhooks, and strings to pull."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aiohttp import web

from .analytics import Analytics
from .behaviour import Behaviour, Script
from .billing import Billing
from .config import Number, SimulatorConfig
from .control import Control
from .delivery import Deliveries
from .errors import GraphError
from .graph import MESSAGE_MAX_BYTES, add_graph_headers, check_token, is_control, refuse
from .inbound import DEFAULT_USER, Inbound, inbound_content
from .media import MediaApi, MediaStore
from .objects import Objects
from .poster import Posted, Poster
from .sends import Sends
from .state import Accepted, Clock, Memory, SeenRequest, without_secrets
from .templates import Template, Templates, new_template
from .users import Users
from .webhooks import Event, inbound_event, referral
from .wire import new_wamid

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
VERSION = r"/{version:v\d+(?:\.\d+)?}"
# Graph does not mind a slash at the end, so a proxy that meters by address must not either.
SLASH = "{slash:/?}"
# Version that answers name when a call names none, as Graph falls back to the app's oldest.
FALLBACK_VERSION = "v25.0"


class SimulatedWhatsApp:
    """A simulated WhatsApp. Serve `.app`; pull the strings with the methods, or over HTTP under `/simulator`."""

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.config = replace(config or SimulatorConfig())  # a copy: it may be changed while it runs
        self.clock = Clock()
        self.numbers: dict[str, Number] = {n.phone_number_id: n for n in self.config.numbers}
        self.templates = Templates(tuple(number.waba_id for number in self.config.numbers))
        self.users = Users()
        self.media = MediaStore()
        self.memory = Memory(self.config.remember)
        self.script = Script()
        self.poster = Poster(self.config, self.numbers)
        self.analytics = Analytics()
        self.billing = Billing(self.config, self.clock, self.users, self.analytics)
        self.deliveries = Deliveries(self.config, self.clock, self.poster, self.billing)
        self._sends = Sends(
            self.config,
            clock=self.clock,
            numbers=self.numbers,
            memory=self.memory,
            users=self.users,
            templates=self.templates,
            script=self.script,
            billing=self.billing,
            deliveries=self.deliveries,
            poster=self.poster,
        )
        self._media_api = MediaApi(self.media, self.clock, self.numbers, self.config.public_url)
        self._objects = Objects(
            self.config,
            numbers=self.numbers,
            templates=self.templates,
            store=self.media,
            media=self._media_api,
            users=self.users,
            analytics=self.analytics,
        )
        self.app = web.Application(middlewares=[self._middleware], client_max_size=MESSAGE_MAX_BYTES)
        self.app.cleanup_ctx.append(self._life)
        self.app.on_shutdown.append(self._let_go)
        Control(self).add_routes(self.app)
        self._add_routes(self.app)

    # What a test asks and does. Everything here exists under /simulator too.

    @property
    def sent(self) -> list[Accepted]:
        """Every accepted message, oldest first (the last `config.remember` of them)."""
        return list(self.memory)

    @property
    def requests(self) -> list[SeenRequest]:
        """Every request but those to `/simulator`, oldest first."""
        return list(self.memory.requests)

    @property
    def posted(self) -> list[Posted]:
        """Every webhook POST, oldest first, with the bytes that went out."""
        return list(self.poster.posted)

    def behave(self, *steps: Behaviour) -> None:
        """Set what happens to the next messages, step after step. Without steps: as usual again."""
        self.script.set(*steps)

    def set_webhook(self, url: str, app_secret: str | None = None) -> None:
        """Post webhooks here from now on; the app secret stays unless a new one is given."""
        self.config.webhook_url = url
        if app_secret is not None:
            self.config.app_secret = app_secret

    def add_number(self, number: Number) -> None:
        """Add a business phone number, with the ready-made templates if its account is new."""
        self.templates.open_account(number.waba_id)
        self.numbers[number.phone_number_id] = number

    def add_template(
        self,
        name: str,
        category: str,
        *,
        language: str = "en_US",
        status: str = "APPROVED",
        body: str = "Hello",
        waba_id: str | None = None,
    ) -> Template:
        """Add a template, or change the one of that name and language."""
        fields = {"name": name, "category": category, "language": language, "status": status, "body": body}
        return self.templates.add(waba_id or self._number(None).waba_id, new_template(fields))

    def add_group(self, members: Sequence[str], *, subject: str = "", group_id: str = "") -> str:
        """Make a group of phone numbers; returns its id, to be used as `to` with `recipient_type: group`."""
        return self.users.add_group(members, subject, group_id).id

    async def write_in(
        self,
        sender: str = DEFAULT_USER,
        text: str = "hi",
        *,
        to: str | None = None,
        type: str = "text",  # noqa: A002  the word of the payload
        content: dict[str, Any] | None = None,
        referral: bool = False,
        reply_to: str | None = None,
        name: str = "",
        group_id: str = "",
    ) -> str:
        """Let a user write in: opens the customer service window, posts the webhook, returns the message's id."""
        return await self.receive(
            Inbound(
                sender=sender,
                text=text,
                to=to,
                type=type,
                content=content,
                referral=referral,
                reply_to=reply_to,
                name=name,
                group_id=group_id,
            )
        )

    async def receive(self, inbound: Inbound) -> str:
        """Let a user write in, all of it in one value."""
        number = self._number(inbound.to)
        digits = "".join(char for char in inbound.sender if char.isdigit())
        hidden = "." in inbound.sender
        user = self.users.by_user_id(inbound.sender) if hidden else self.users.by_phone(digits, inbound.name)
        wamid = new_wamid(user.wa_id or user.user_id, inbound=True)
        now = self.clock.now()
        message = {"id": wamid, "timestamp": str(int(now))} | inbound_content(inbound, number, self.media)
        if inbound.referral:
            message["referral"] = referral()
        if inbound.group_id:
            message["group_id"] = inbound.group_id
        windows = self.users.windows(number.phone_number_id, inbound.group_id or user.user_id)
        windows.write_in(now, from_ad=inbound.referral)
        await self.poster.post(lambda: [inbound_event(number, user, message)], key=wamid)
        return wamid

    async def post_status(
        self,
        wamid: str,
        status: str,
        *,
        pricing: Mapping[str, Any] | None = None,
        error_code: int | None = None,
    ) -> None:
        """Post one more status of an accepted message. `pricing` forces that object in, over the rules' own."""
        message = self.memory.find(wamid)
        if message is None:
            raise LookupError(f"no accepted message {wamid} is remembered")
        code = error_code or (131026 if status == "failed" else None)
        given = None if pricing is None else dict(pricing)

        def build() -> list[Event]:
            return [self.deliveries.happen(message, status, pricing=given, error_code=code)]

        await self.poster.post(build, key=wamid)

    async def post_event(self, field: str, value: dict[str, Any], *, to: str | None = None) -> None:
        """Post any other webhook of a number's account (`account_update`, `template_category_update`)."""
        event = Event(self._number(to), value, field)
        await self.poster.post(lambda: [event], key=field)

    async def settled(self) -> None:
        """Wait until every queued webhook is posted or given up."""
        await self.poster.settled()

    def pool_used(self, phone_number_id: str | None = None) -> int:
        """Return how many free service messages were delivered in the number's current month."""
        return self.billing.pool_used(self._number(phone_number_id))

    def _number(self, phone_number_id: str | None) -> Number:
        if phone_number_id is None:
            return next(iter(self.numbers.values()))
        if phone_number_id not in self.numbers:
            raise LookupError(f"no number {phone_number_id} here, only {', '.join(self.numbers)}")
        return self.numbers[phone_number_id]

    # The server.

    def _add_routes(self, app: web.Application) -> None:
        both = [
            ("POST", "/{id}/messages", self._sends.cloud),
            ("POST", "/{id}/marketing_messages", self._sends.cloud),
            ("POST", "/{id}/media", self._media_api.upload),
            ("GET", "/{id}/pricing_analytics", self._objects.pricing_analytics),
            ("GET", "/{id}/phone_numbers", self._objects.phone_numbers),
            ("GET", "/{id}/message_templates", self._objects.list_templates),
            ("POST", "/{id}/message_templates", self._objects.create_template),
            ("DELETE", "/{id}/message_templates", self._objects.delete_template),
            ("GET", "/{id}/whatsapp_business_profile", self._objects.profile),
            ("POST", "/{id}/whatsapp_business_profile", self._objects.profile),
            ("*", "/{id}/subscribed_apps", self._objects.subscribed_apps),
            ("POST", "/{id}/register", self._objects.succeed),
            ("POST", "/{id}/deregister", self._objects.succeed),
            ("GET", "/debug_token", self._objects.debug_token),
            ("GET", "/{id}", self._objects.read),
            ("DELETE", "/{id}", self._objects.remove),
        ]
        app.router.add_get("/whatsapp_business/attachments" + SLASH, self._media_api.download)
        app.router.add_post("/messages", self._sends.d360)
        app.router.add_post("/marketing_messages", self._sends.d360)
        app.router.add_post("/v1/messages", self._sends.onpremise)
        app.router.add_put("/v1/messages/{message_id}", self._sends.onpremise_mark)
        app.router.add_post("/media", self._media_api.upload)
        app.router.add_get("/v1/configs/templates", self._objects.d360_templates)
        app.router.add_get("/v1/configs/webhook", self._objects.d360_webhook)
        app.router.add_post("/v1/configs/webhook", self._objects.d360_webhook)
        for prefix in (VERSION, ""):
            for method, path, handler in both:
                app.router.add_route(method, prefix + path + SLASH, handler)

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_control(request):
            return await handler(request)
        try:
            check_token(request, self.config, self.numbers)
            response = await handler(request)
        except GraphError as error:
            response = refuse(request, error)
        except web.HTTPException:
            unknown = GraphError(2500, message=f"Unknown path components: {request.path}")
            response = refuse(request, unknown)
        if not response.prepared:
            add_graph_headers(request, response, FALLBACK_VERSION)
            if self.config.compress and isinstance(response, web.Response):
                response.enable_compression()
        query = {key: value for key, value in request.query.items() if key not in ("access_token", "input_token")}
        seen = SeenRequest(request.method, request.path, query, without_secrets(request.headers), response.status)
        self.memory.requests.append(seen)
        return response

    async def _life(self, _app: web.Application) -> AsyncIterator[None]:
        await self.poster.start()
        yield
        await self.poster.close()
        self.media.close()

    async def _let_go(self, _app: web.Application) -> None:
        self._sends.closing.set()
