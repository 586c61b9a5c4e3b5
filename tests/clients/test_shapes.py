"""Requests in the odd shapes that real clients give them, each seen in a client library or an application."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from bare_upstream import BareUpstream
from yarl import URL

from farebox.core.reply import OUT_OF_FUNDS
from farebox.simulator import Behaviour
from harness import GERMAN, NUMBER, UPSTREAM_TOKEN, USER, WABA, World, template, text

JSON = {"Content-Type": "application/json"}
SEND = f"/v23.0/{NUMBER}/messages"
BSUID = "US.13491208655302741918"
MARK = {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.X"}


async def chunked(body: bytes) -> AsyncIterator[bytes]:
    """A body whose length nobody announces."""
    for start in range(0, len(body), 100):
        yield body[start : start + 100]


@dataclass
class Send:
    """A message in a client's own shape. `{key}` stands for the farebox key."""

    body: dict[str, Any]
    path: str = SEND
    headers: dict[str, str] = field(default_factory=lambda: {"Authorization": "Bearer {key}"})
    options: dict[str, Any] = field(default_factory=dict)
    chunked: bool = False

    async def through(self, world: World) -> tuple[int, Any]:
        written = json.dumps(self.body).encode()
        headers = {name: value.format(key=world.key) for name, value in self.headers.items()}
        async with world.session.post(
            world.url + self.path.format(key=world.key),
            data=chunked(written) if self.chunked else written,
            headers={**JSON, **headers},
            **self.options,
        ) as answer:
            return answer.status, await answer.json()


D360 = {"D360-API-KEY": "{key}"}
TO_BSUID = {**{name: value for name, value in text().items() if name != "to"}, "recipient": BSUID}
ON_PREMISE = {name: value for name, value in text().items() if name != "messaging_product"}
MARKETING = {**template("summer_sale"), "product_policy": "STRICT"}
CHARSET = {"Authorization": "bearer {key}", "Content-Type": "application/json; charset=utf-8"}
SENDS = {
    "chunked body without a length": Send(text(), chunked=True),
    "waits for 100 Continue": Send(text(), options={"expect100": True}),
    "no version": Send(text(), f"/{NUMBER}/messages"),
    "an old version and a slash at the end": Send(text(), f"/v13.0/{NUMBER}/messages/"),
    "a version of tomorrow": Send(text(), f"/v99.9/{NUMBER}/messages"),
    "context null": Send({**text(), "context": None}),
    "BSUID and no to": Send(TO_BSUID),
    "charset in the content type, bearer in small letters": Send(text(), headers=CHARSET),
    "scheme OAuth": Send(text(), headers={"Authorization": "OAuth {key}"}),
    "token in the query": Send(text(), SEND + "?access_token={key}", headers={}),
    "proof of the client's own token": Send(text(), SEND + "?appsecret_proof=" + "0" * 64),
    "marketing endpoint": Send(MARKETING, f"/v25.0/{NUMBER}/marketing_messages"),
    "360dialog": Send(text(), "/messages", D360),
    "360dialog, on-premise style": Send(ON_PREMISE, "/v1/messages", D360),
}


@pytest.mark.parametrize("send", SENDS.values(), ids=SENDS.keys())
async def test_a_send_of_any_shape_is_metered_and_accepted(world: World, send: Send) -> None:
    await world.fund("1.00")
    world.whatsapp.behave(Behaviour(statuses=()))
    status, answer = await send.through(world)
    assert status == 200, answer
    (accepted,) = world.whatsapp.sent
    assert answer["messages"][0]["id"] == accepted.wamid
    assert (await world.message(accepted.wamid))["state"] == "accepted"


MARKS = {
    "read": MARK,
    "typing": {**MARK, "typing_indicator": {"type": "text"}},
    "typing as a boolean": {**MARK, "typing_indicator": True},
    "typing null": {**MARK, "typing_indicator": None},
}


@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS.keys())
async def test_a_mark_passes_byte_for_byte_and_without_a_balance(
    world: World, upstream: BareUpstream, mark: dict[str, Any]
) -> None:
    written = json.dumps(mark, indent=2).encode()
    answer = await world.call("POST", SEND, data=written, headers=JSON)
    assert (answer.status, answer.json) == (200, {"success": True})
    assert upstream.asked[0].body == written


REFUSALS = {
    "cloud": (SEND, {}, lambda answer: [answer["error"]["message"], answer["error"]["error_data"]["details"]]),
    "360dialog": ("/messages", D360, lambda answer: [answer["meta"]["developer_message"]]),
    "on-premise": ("/v1/messages", D360, lambda answer: [error["details"] for error in answer["errors"]]),
}


@pytest.mark.parametrize(("path", "headers", "places"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_out_of_funds_is_said_in_the_shape_of_the_clients_api(
    world: World, path: str, headers: dict[str, str], places: Any
) -> None:
    send = Send(template("summer_sale", to=GERMAN), path, headers or {"Authorization": "Bearer {key}"})
    status, answer = await send.through(world)
    assert status == 402
    assert places(answer) == [OUT_OF_FUNDS] * len(places(answer))
    assert places(answer)
    assert world.whatsapp.sent == []


@dataclass
class Pass:
    """A call that is no send."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    arrives: str = ""  # the path upstream, where it is another one


MULTIPART = {"Content-Type": "multipart/form-data; boundary=cut"}
FILE = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\x00\xff\r\n--cut--\r\n'
USERS = json.dumps({"messaging_product": "whatsapp", "block_users": [{"user": USER}]}).encode()
PASSES = {
    "a content type and no body": Pass("GET", f"/v23.0/{NUMBER}", JSON),
    "a content type and nothing to delete": Pass("DELETE", "/v23.0/1037543291543636", JSON),
    "a query in its own spelling": Pass("GET", f"/v19.0/{WABA}/message_templates?fields=id%2Cname&q=a%20b+c&limit=2"),
    "DELETE with a body": Pass("DELETE", f"/v23.0/{NUMBER}/block_users", JSON, USERS),
    "no version": Pass("POST", f"/{NUMBER}/block_users", JSON, USERS),
    "calls": Pass("POST", f"/{NUMBER}/calls", JSON, b'{"action":"terminate"}'),
    "upload, product in the query": Pass("POST", f"/v23.0/{NUMBER}/media?messaging_product=whatsapp", MULTIPART, FILE),
    "resumable upload": Pass("POST", "/v23.0/upload:MTphdA==?sig=ARZ", {"file_offset": "0"}, b"\x00\x01"),
    "analytics": Pass("GET", f"/v23.0/{WABA}?fields=pricing_analytics.start(1).end(2).granularity(DAILY)"),
    "history": Pass("GET", SEND + "?limit=20"),
    "HEAD": Pass("HEAD", f"/v23.0/{NUMBER}"),
    "OPTIONS": Pass("OPTIONS", f"/v23.0/{NUMBER}/messages"),
    "360dialog media": Pass("POST", "/media", MULTIPART, FILE),
    "360dialog templates": Pass("GET", "/v1/configs/templates"),
    "a proof of the client's own token": Pass(
        "GET", f"/v23.0/{NUMBER}?fields=id&appsecret_proof=00&appsecret_time=1", arrives=f"/v23.0/{NUMBER}?fields=id"
    ),
    "debug_token": Pass(
        "GET", "/v23.0/debug_token?input_token={key}", arrives="/v23.0/debug_token?input_token={token}"
    ),
    "token in the query": Pass(
        "GET", f"/v23.0/{WABA}?a=1&access_token={{key}}", arrives=f"/v23.0/{WABA}?a=1&access_token={{token}}"
    ),
}


@pytest.mark.parametrize("case", PASSES.values(), ids=PASSES.keys())
async def test_other_calls_arrive_as_they_were_made_but_for_the_token(
    world: World, upstream: BareUpstream, case: Pass
) -> None:
    async with world.session.request(
        case.method,
        URL(world.url + case.path.format(key=world.key), encoded=True),
        data=case.body or None,
        headers={"Authorization": f"Bearer {world.key}", **case.headers},
        skip_auto_headers=["Content-Type"],
    ) as answer:
        assert answer.status == 200
        await answer.read()
    (asked,) = upstream.asked
    assert (asked.method, asked.body) == (case.method, case.body)
    if case.body:
        assert asked.headers["Content-Length"] == str(len(case.body)), "a length that is known is passed on"
    assert asked.raw_path == (case.arrives or case.path).format(token=UPSTREAM_TOKEN)
    assert asked.headers["Authorization"] == f"Bearer {UPSTREAM_TOKEN}"
    assert world.key not in str(asked)
    assert asked.headers["Host"] == upstream.url.removeprefix("http://")
    assert asked.headers["Accept-Encoding"] == "identity"
    for name in ("Content-Type", "file_offset"):
        assert asked.headers.get(name) == case.headers.get(name)


KEY_HEADERS = [("Authorization", "Bearer "), ("Authorization", "OAuth "), ("D360-API-KEY", "")]


@pytest.mark.parametrize("path", [SEND, f"/v23.0/{NUMBER}/media", "/messages", "/v1/messages"])
@pytest.mark.parametrize(("name", "scheme"), KEY_HEADERS)
async def test_whatever_header_brings_the_key_only_the_token_of_whatsapp_goes_on(
    world: World, upstream: BareUpstream, path: str, name: str, scheme: str
) -> None:
    headers = {name: scheme + world.key}
    async with world.session.post(world.url + path, json=text(), headers=headers, expect100=True) as answer:
        assert answer.status == 200
    (asked,) = upstream.asked
    # In the header that the upstream reads, which need not be the client's; a client's scheme is kept.
    tokens = [asked.headers[header] for header in ("Authorization", "D360-API-KEY") if header in asked.headers]
    assert tokens in ([(scheme or "Bearer ") + UPSTREAM_TOKEN], [UPSTREAM_TOKEN])
    assert world.key not in str(asked)
    # The gateway said 100 Continue already; an upstream that does not would never get the body.
    assert "Expect" not in asked.headers


DISGUISES = ["messages#x", "messages%23x", "messages%20", "messages;x", "messages%3Fx", "messages#/media"]


@pytest.mark.parametrize("last", DISGUISES)
async def test_no_spelling_of_the_path_leads_a_send_around_the_box(
    world: World, upstream: BareUpstream, last: str
) -> None:
    """An HTTP client cuts a fragment off, so the upstream would get a send that the gateway took for something else."""
    host, _, port = world.url.removeprefix("http://").partition(":")
    body = json.dumps(template("summer_sale", to=GERMAN))
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /v23.0/{NUMBER}/{last} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {world.key}\r\n"
        f"Connection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert upstream.asked == []
