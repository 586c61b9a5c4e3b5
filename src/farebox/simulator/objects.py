"""Graph objects beside messages and media: numbers, accounts, profiles, templates, tokens."""

from dataclasses import replace
from typing import Any

from aiohttp import web

from .analytics import Analytics, analytics_call
from .config import Number, SimulatorConfig
from .errors import GraphError, parameter_required, unknown_object
from .graph import answer, base_url, caller_token, channel, known_tokens, parse_parameters, read_body
from .media import MediaApi, MediaStore
from .templates import Templates, namespace, new_template
from .users import Users

PROFILE_FIELDS = ("about", "address", "description", "email", "profile_picture_url", "websites", "vertical")


class Objects:
    """`GET`, `POST` and `DELETE` of everything that has an id."""

    def __init__(
        self,
        config: SimulatorConfig,
        *,
        numbers: dict[str, Number],
        templates: Templates,
        store: MediaStore,
        media: MediaApi,
        users: Users,
        analytics: Analytics,
    ) -> None:
        self._config = config
        self._numbers = numbers
        self._templates = templates
        self._store = store
        self._media = media
        self._users = users
        self._analytics = analytics
        self._profiles: dict[str, dict[str, Any]] = {}

    async def read(self, request: web.Request) -> web.StreamResponse:
        """`GET /{id}` of media, a number or an account."""
        object_id = request.match_info["id"]
        media = self._store.find(object_id)
        if media is not None:
            return self._media.describe(request, media)
        if object_id in self._numbers:
            return answer(_choose(self._number(self._numbers[object_id]), request))
        group = self._users.groups.get(object_id)
        if group is not None:
            return answer(_choose(group.as_json(), request))
        if self._is_account(object_id):
            call = analytics_call(request.query.get("fields", ""))
            if call is not None:
                kind, query = call
                return answer({kind: self._analytics.points(kind, object_id, query), "id": object_id})
            account = {"id": object_id, "name": "Simulated Business", "timezone_id": "1", "currency": "USD"}
            account |= self._config.account_fields
            return answer(_choose(account | {"message_template_namespace": namespace(object_id)}, request))
        raise unknown_object(object_id, request.method)

    async def remove(self, request: web.Request) -> web.StreamResponse:
        """`DELETE /{media_id}`."""
        media = self._store.find(request.match_info["id"])
        if media is None:
            raise unknown_object(request.match_info["id"], request.method)
        return self._media.delete(request, media)

    async def pricing_analytics(self, request: web.Request) -> web.StreamResponse:
        """`GET /{waba_id}/pricing_analytics`: what was delivered."""
        return answer(self._analytics.points("pricing_analytics", self._account(request), request.query))

    async def phone_numbers(self, request: web.Request) -> web.StreamResponse:
        """`GET /{waba_id}/phone_numbers`.

        https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/phone-numbers
        """
        waba_id = self._account(request)
        data = [_choose(self._number(n), request) for n in self._numbers.values() if n.waba_id == waba_id]
        return answer({"data": data, "paging": {"cursors": {"before": "QVFI", "after": "QVFI"}}})

    async def list_templates(self, request: web.Request) -> web.StreamResponse:
        """`GET /{waba_id}/message_templates`, in pages."""
        waba_id = self._account(request)
        url = base_url(request, self._config.public_url) + request.path
        return answer(self._templates.page(waba_id, request.query, url=url, token=caller_token(request)))

    async def create_template(self, request: web.Request) -> web.StreamResponse:
        """`POST /{waba_id}/message_templates`: approved at once."""
        waba_id = self._account(request)
        fields = parse_parameters(request, await read_body(request))
        template = self._templates.add(waba_id, new_template(fields | {"status": "APPROVED"}))
        return answer({"id": template.id, "status": template.status, "category": template.category})

    async def delete_template(self, request: web.Request) -> web.StreamResponse:
        """`DELETE /{waba_id}/message_templates?name=`."""
        if not self._templates.remove(self._account(request), request.query.get("name", "")):
            raise GraphError(100, message="(#100) Invalid parameter: there is no template of that name")
        return answer({"success": True})

    async def d360_templates(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1/configs/templates` of 360dialog."""
        return answer(self._templates.d360_list(channel(request, self._numbers).waba_id, request.query))

    async def d360_webhook(self, request: web.Request) -> web.StreamResponse:
        """`GET` and `POST /v1/configs/webhook` of 360dialog: where this channel's webhooks go, unsigned.

        https://docs.360dialog.com/partner/messaging/receiving-messages-via-webhook
        """
        number = channel(request, self._numbers)
        if request.method == "POST":
            sent = parse_parameters(request, await read_body(request))
            if not isinstance(sent.get("url"), str):
                raise parameter_required("url")
            headers = {str(key): str(value) for key, value in (sent.get("headers") or {}).items()}
            number = replace(number, webhook_url=sent["url"], webhook_headers=headers, signed=False)
            self._numbers[number.phone_number_id] = number
        return answer({"url": number.webhook_url or self._config.webhook_url, "headers": number.webhook_headers})

    async def profile(self, request: web.Request) -> web.StreamResponse:
        """`GET` and `POST /{phone_number_id}/whatsapp_business_profile`.

        https://developers.facebook.com/documentation/business-messaging/whatsapp/business-profiles
        """
        number = self._number_of(request)
        profile = self._profiles.setdefault(number.phone_number_id, {"about": "Simulated", "vertical": "OTHER"})
        if request.method == "POST":
            sent = parse_parameters(request, await read_body(request))
            profile.update({key: value for key, value in sent.items() if key in PROFILE_FIELDS})
            return answer({"success": True})
        wanted = request.query.get("fields", "").split(",")
        shown = {key: value for key, value in profile.items() if key in wanted or key == "about"}
        return answer({"data": [shown | {"messaging_product": "whatsapp"}]})

    async def subscribed_apps(self, request: web.Request) -> web.StreamResponse:
        """`GET`, `POST` and `DELETE /{waba_id}/subscribed_apps`."""
        self._account(request)
        if request.method != "GET":
            return answer({"success": True})
        app = {"link": "https://www.facebook.com/games/?app_id=1", "name": "Simulated App", "id": "1"}
        return answer({"data": [{"whatsapp_business_api_data": app}]})

    async def succeed(self, request: web.Request) -> web.StreamResponse:
        """Answer `POST /{phone_number_id}/register` and `/deregister`."""
        self._number_of(request)
        return answer({"success": True})

    async def debug_token(self, request: web.Request) -> web.StreamResponse:
        """`GET /debug_token?input_token=`.

        https://developers.facebook.com/docs/graph-api/reference/debug_token
        """
        scopes = ["whatsapp_business_management", "whatsapp_business_messaging"]
        targets = sorted({number.waba_id for number in self._numbers.values()})
        data = {
            "app_id": "1",
            "type": "SYSTEM_USER",
            "application": "Simulated App",
            "data_access_expires_at": 0,
            "expires_at": 0,
            "is_valid": request.query.get("input_token") in known_tokens(self._config, self._numbers),
            "scopes": scopes,
            "granular_scopes": [{"scope": scope, "target_ids": targets} for scope in scopes],
            "user_id": "1",
        }
        return answer({"data": data})

    def _is_account(self, object_id: str) -> bool:
        return any(number.waba_id == object_id for number in self._numbers.values())

    def _account(self, request: web.Request) -> str:
        object_id = request.match_info["id"]
        if not self._is_account(object_id):
            raise unknown_object(object_id, request.method)
        return object_id

    def _number_of(self, request: web.Request) -> Number:
        number = self._numbers.get(request.match_info["id"])
        if number is None:
            raise unknown_object(request.match_info["id"], request.method)
        return number

    def _number(self, number: Number) -> dict[str, Any]:
        return {
            "verified_name": "Simulated Business",
            "code_verification_status": "VERIFIED",
            "display_phone_number": f"+{number.display_number}",
            "quality_rating": "GREEN",
            "platform_type": "CLOUD_API",
            "throughput": {"level": "STANDARD"},
            "webhook_configuration": {"application": number.webhook_url or self._config.webhook_url},
            "whatsapp_business_account": {"id": number.waba_id},
            "id": number.phone_number_id,
        }


def _choose(whole: dict[str, Any], request: web.Request) -> dict[str, Any]:
    """Keep the fields that `?fields=` names; the id is always there."""
    wanted = [name.strip() for name in request.query.get("fields", "").split(",") if name.strip()]
    return {key: value for key, value in whole.items() if not wanted or key in wanted or key == "id"}
