"""What goes on to 360dialog: every call with the token of its number, and our own reads of template lists."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer

from channels import D360, ON_PREMISE, WABA, Channel, call, open_channel
from farebox import templates
from harness import GERMAN, NUMBER, UPSTREAM_TOKEN, World, lead_upstream, template


@dataclass
class Upstream:
    """An upstream that keeps what clients send."""

    seen: list[tuple[str, str, dict[str, list[str]], bytes]] = field(default_factory=list)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        if "filters" in request.query:  # the look-up of a template
            return web.json_response({"waba_templates": []})
        headers = {name.lower(): request.headers.getall(name) for name in request.headers}
        self.seen.append((request.method, request.raw_path, headers, await request.read()))
        return web.json_response({"messages": [{"id": "gBEGVzE"}], "meta": {"api_status": "stable"}}, status=201)


@pytest.fixture
async def upstream(world: World) -> AsyncIterator[Upstream]:
    kept = Upstream()
    async with RawTestServer(kept.handle) as server:
        lead_upstream(world.gate, str(server.make_url("")).rstrip("/"))
        yield kept


CALLS = [
    (ON_PREMISE, "PUT", "/v1/messages/gBGGSFcCNEOPAgkO_KJ55r4w_ww"),
    (ON_PREMISE, "POST", "/v1/messages"),
    (ON_PREMISE, "POST", "/v1/messages/"),
    (ON_PREMISE, "POST", "/v1/media"),
    (ON_PREMISE, "GET", "/v1/media/61e0e2b1-3d2c"),
    (ON_PREMISE, "DELETE", "/v1/media/61e0e2b1-3d2c"),
    (ON_PREMISE, "POST", "/v1/contacts"),
    (ON_PREMISE, "PATCH", "/v1/settings/application"),
    (ON_PREMISE, "GET", "/v1/settings/profile/about"),
    (ON_PREMISE, "GET", "/v1/configs/templates?limit=5&offset=5"),
    (D360, "POST", "/messages"),
    (D360, "POST", "/marketing_messages"),
    (D360, "POST", "/media"),
    (D360, "GET", "/1037543291543636"),
    (D360, "GET", "/whatsapp_business/attachments/?mid=1&hash=a%2Bb"),
    (D360, "GET", "/v1/configs/about"),
]


@pytest.mark.parametrize(("channel", "method", "path"), CALLS)
async def test_every_call_goes_on_with_the_numbers_token_in_360dialogs_header(
    world: World, upstream: Upstream, channel: Channel, method: str, path: str
) -> None:
    key = await open_channel(world, channel)
    await world.fund("1.00", channel.number_id)
    body = json.dumps(channel.template()).encode() if method != "GET" else None
    clients: list[dict[str, str]] = [
        {"D360-API-KEY": key},
        {"Authorization": f"Bearer {key}"},
        {"Authorization": "Basic eDp5", "D360-API-KEY": key},
        {"Authorization": "Bearer of-somebody-else", "D360-API-KEY": key},
        {},
    ]
    for headers in clients:
        url = path if headers else path + ("&" if "?" in path else "?") + f"access_token={key}"
        async with world.session.request(method, world.url + url, headers=headers, data=body) as answer:
            assert answer.status == 201, await answer.read()
    metered = method == "POST" and path.strip("/").endswith("messages")
    assert ("X-Farebox-Hold" in answer.headers) == metered
    assert len(upstream.seen) == len(clients)
    for said_method, said_path, said_headers, said_body in upstream.seen:
        assert said_headers["d360-api-key"] == [channel.token]
        assert "authorization" not in said_headers
        assert key not in said_path + str(said_headers)
        assert said_method == method
        assert said_path == path
        if body and not (metered and channel is D360):
            assert said_body == body


async def test_a_cloud_number_goes_on_as_bearer_whatever_the_client_used(world: World, upstream: Upstream) -> None:
    await world.fund("1.00")
    for path in (f"/v23.0/{NUMBER}/messages", f"/v23.0/{NUMBER}/media"):
        for headers in ({"D360-API-KEY": world.key}, {"Authorization": f"OAuth {world.key}", "D360-API-KEY": "x"}):
            async with world.session.post(world.url + path, headers=headers, json=template()) as answer:
                assert answer.status == 201, await answer.read()
    schemes = [headers["authorization"] for _, _, headers, _ in upstream.seen]
    assert schemes == [[f"Bearer {UPSTREAM_TOKEN}"], [f"OAuth {UPSTREAM_TOKEN}"]] * 2
    assert not any("d360-api-key" in headers for _, _, headers, _ in upstream.seen)


@pytest.mark.usefixtures("upstream")
async def test_the_id_of_the_on_premise_answer_is_recorded(world: World) -> None:
    key = await open_channel(world, ON_PREMISE)
    await world.fund("1.00", ON_PREMISE.number_id)
    answer = await call(world, "POST", "/v1/messages", key, json=ON_PREMISE.template())
    assert (await world.message("gBEGVzE"))["hold_id"] == answer.headers["X-Farebox-Hold"]


async def test_a_key_for_several_numbers_is_never_a_guess(world: World, upstream: Upstream) -> None:
    await open_channel(world, D360)
    await open_channel(world, ON_PREMISE)
    both = await world.make_key("300", "400")
    for method, path in (("PUT", "/v1/messages/gBGG"), ("POST", "/v1/settings/profile/about"), ("GET", "/123")):
        answer = await call(world, method, path, both)
        assert answer.status == 400
        assert "single number" in answer.json["meta"]["developer_message"]
    assert upstream.seen == []


async def test_marking_as_read_the_on_premise_way(world: World) -> None:
    key = await open_channel(world, ON_PREMISE)
    answer = await call(world, "PUT", "/v1/messages/gBGGSFcCNEOPAgkO", key, json={"status": "read"})
    assert (answer.status, answer.json["meta"]["api_status"]) == (200, "stable")


async def test_the_template_list_is_read_page_by_page_and_decides_the_fare(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "PAGE_SIZE", 2)
    key = await open_channel(world, D360)
    await open_channel(world, ON_PREMISE, waba_id=WABA, upstream_token=ON_PREMISE.token)
    for name in ("a", "b"):
        world.whatsapp.add_template(name, "UTILITY", waba_id=WABA)
    await world.gate.templates.sync()
    lists = [seen.query for seen in world.whatsapp.requests if seen.path == "/v1/configs/templates"]
    assert sorted(query["offset"] for query in lists) == ["0", "0", "2", "2", "4", "4"]
    known = {registry for registry, name, _ in world.gate.directory.templates if name == "b"}
    assert known == {"number:300", WABA}  # the one whose account nobody told us has a list of its own
    await world.fund("1.00", "300")
    answer = await call(world, "POST", "/messages", key, json=D360.template("b", GERMAN))
    assert answer.headers["X-Farebox-Fare"] == "0.055"
    world.whatsapp.add_template("new", "UTILITY", waba_id=WABA)
    answer = await call(world, "POST", "/messages", key, json=D360.template("new", GERMAN))
    assert answer.headers["X-Farebox-Fare"] == "0.055"
    asked = world.whatsapp.requests[-2].query
    assert json.loads(asked["filters"]) == {"business_templates.name": "new"}


LISTS: list[Any] = [
    [],
    {},
    {"waba_templates": None},
    {"waba_templates": [None, {"name": 1}]},
    {
        "waba_templates": [
            {"name": "x", "language": language, "category": "UTILITY", "status": "approved"}
            for language in ("en-US", "en_US")
        ]
    },
]


@pytest.mark.parametrize("answered", LISTS)
async def test_a_strange_template_list_breaks_nothing(world: World, answered: Any) -> None:
    async def handle(request: web.BaseRequest) -> web.Response:
        return web.json_response(answered)

    await open_channel(world, D360)
    async with RawTestServer(handle) as server:
        lead_upstream(world.gate, str(server.make_url("")).rstrip("/"))
        assert await world.gate.templates.sync() in (0, 1)


ADDRESSES: list[tuple[str, str, Any, int]] = [
    ("GET", "/v1/configs/webhook", None, 200),
    ("POST", "/v1/configs/webhook", {"url": "APP"}, 200),
    ("POST", "/v1/configs/webhook/", {"url": "APP", "headers": {"x": "y"}}, 200),
    ("POST", "/waba_webhook", {"url": "APP", "override_all": True}, 200),
    ("POST", "/v1/configs/webhook", {"url": "https://around.example.com"}, 403),
    ("POST", "/v1/configs/WebHook", {"url": ""}, 403),
    ("POST", "/v1/configs/%77ebhook", {"url": "https://around.example.com"}, 403),
    ("PUT", "/configs/webhook", {"url": "https://around.example.com"}, 403),
    ("POST", "/v1/configs/webhook", ["APP"], 403),
    ("DELETE", "/v1/configs/webhook", None, 403),
    ("POST", "/v1/configs/webhook", {"url": "x" * 20_000}, 413),
]


@pytest.mark.parametrize(("method", "path", "body", "code"), ADDRESSES)
async def test_webhooks_are_not_led_around_the_gateway(
    world: World, upstream: Upstream, method: str, path: str, body: Any, code: int
) -> None:
    key = await open_channel(world, D360)
    if isinstance(body, dict) and body["url"] == "APP":
        body = body | {"url": world.app_url}
    answer = await call(world, method, path, key, json=body)
    assert answer.status == code
    if code == 200:
        assert answer.json == {"url": world.app_url, "headers": {}}
    else:
        assert answer.json["meta"]["http_code"] == code
    assert upstream.seen == []
    assert D360.secret.encode() not in answer.body


async def test_a_number_without_webhook_secret_sets_its_own_address(world: World, upstream: Upstream) -> None:
    key = await open_channel(world, D360, webhook_secret=None)
    assert (await call(world, "POST", "/v1/configs/webhook", key, json={"url": "https://x.example.com"})).status == 201
    assert len(upstream.seen) == 1


async def test_no_answer_of_360dialog_shows_the_webhook_secret(world: World) -> None:
    key = await open_channel(world, D360)

    async def handle(request: web.BaseRequest) -> web.Response:
        url = f"https://gateway.example.com/webhooks/360dialog/{D360.secret}"
        return web.json_response({"settings": {"application": {"webhooks": {"url": url}}}, "key": D360.token})

    async with RawTestServer(handle) as server:
        lead_upstream(world.gate, str(server.make_url("")).rstrip("/"))
        answer = await call(world, "GET", "/v1/settings/application", key)
    url = answer.json["settings"]["application"]["webhooks"]["url"]
    assert (url, answer.json["key"]) == ("https://gateway.example.com/webhooks/360dialog/hidden", key)
