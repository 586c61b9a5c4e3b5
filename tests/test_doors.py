"""Webhooks without Meta's signature: relayed like any other, and what they say about money is kept."""

import asyncio
import json
from typing import Any

import pytest
from yarl import URL

from channels import ON_PREMISE, call, open_channel
from doors import CBP, CHARGED, HEADER, HELD, RELEASED, inbound, post, sent
from harness import GERMAN, World
from test_inbound import payload, status

SECRETS = [{"secret": ON_PREMISE.secret}, {"secret": ON_PREMISE.secret + "/"}, {"header": ON_PREMISE.secret}]
BODIES: list[Any] = [
    inbound(),
    payload(ON_PREMISE.number_id, **inbound()),
    {"statuses": [status("unknown", pricing=CBP)]},
    {"errors": [{"code": 1014, "title": "Internal error", "details": "x"}]},
    {"a_body": "of tomorrow"},
]


@pytest.mark.parametrize("given", SECRETS, ids=["path", "slash", "header"])
@pytest.mark.parametrize("body", BODIES, ids=lambda body: next(iter(body)))
async def test_it_reaches_the_application_byte_for_byte(world: World, body: Any, given: dict[str, str]) -> None:
    await open_channel(world, ON_PREMISE)
    raw = json.dumps(body, indent=3, ensure_ascii=False).encode() + b"\n "
    world.app.answer, world.app.status = b"\x00odd", 203
    assert await post(world, raw, **given, Cookie="c=1") == (203, b"\x00odd")
    (seen,) = world.app.seen
    assert seen.body == raw
    assert seen.headers["Cookie"] == "c=1"
    assert HEADER not in seen.headers
    assert ON_PREMISE.secret not in str(seen.headers)


async def test_the_applications_answer_decides(world: World) -> None:
    await open_channel(world, ON_PREMISE, app_url=None)
    assert await post(world, inbound(), secret=ON_PREMISE.secret) == (200, b"")
    await world.admin("PATCH", "/v1/numbers/400", {"app_url": "http://127.0.0.1:9/"})
    assert (await post(world, inbound(), secret=ON_PREMISE.secret))[0] == 502
    assert (await post(world, b"{", secret=ON_PREMISE.secret))[0] == 400


FREE_OF_CHARGE = {"billable": False, "pricing_model": "CBP", "category": "utility"}
ERRORS = [{"code": 470, "title": "Message failed to send", "href": "https://example.com"}]
# Statuses in order of arrival -> what the number has; 1.00 was there and the fare is 0.0034.
SETTLEMENTS: list[tuple[list[dict[str, Any]], dict[str, str]]] = [
    ([{"said": "sent", "pricing": CBP}], HELD),
    ([{"pricing": CBP, "conversation": {"id": "c", "origin": {"type": "utility"}}}], CHARGED),
    ([{"said": "read", "pricing": CBP}, {"pricing": CBP}], CHARGED),
    ([{"pricing": FREE_OF_CHARGE}], RELEASED),
    ([{"said": "failed", "errors": ERRORS}, {"said": "failed", "errors": ERRORS}], RELEASED),
    ([{"pricing": {**CBP, "category": "marketing"}}], {"available": "0.975", "held": "0.00"}),
]


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(("statuses", "expected"), SETTLEMENTS)
async def test_statuses_settle(
    world: World, statuses: list[dict[str, Any]], expected: dict[str, str], wrapped: bool
) -> None:
    wamid = await sent(world, ON_PREMISE)
    for one in statuses:
        said: dict[str, Any] = {"statuses": [{**status(wamid, **one), "type": "message"}]}
        body = payload(ON_PREMISE.number_id, **said) if wrapped else said
        assert (await post(world, body, secret=ON_PREMISE.secret))[0] == 200
    assert await world.balance(ON_PREMISE.number_id) == expected
    assert await world.differences() == []


async def test_an_inbound_message_opens_its_windows(world: World) -> None:
    key = await open_channel(world, ON_PREMISE)
    ad = inbound(GERMAN, timestamp="1", referral={"source_type": "ad"})
    ad["messages"][0]["timestamp"] = str(world.gate.clock.now_ms() // 1000)
    assert (await post(world, ad, secret=ON_PREMISE.secret))[0] == 200
    answer = await call(world, "POST", ON_PREMISE.path, key, json=ON_PREMISE.template(to=GERMAN))
    assert (answer.status, answer.headers["X-Farebox-Class"]) == (200, "free")


STRANGE = [
    (b"", 400),
    (b"[]", 400),
    (b"{}", 200),
    (b'{"statuses":7,"messages":{"from":1}}', 200),
    (b'{"entry":null,"statuses":[{}]}', 200),
    (
        b'{"messages":[null,{"from":7,"timestamp":"soon"}],"statuses":[{"id":"\\u0000","pricing":[],"errors":["x"]}]}',
        200,
    ),
]


@pytest.mark.parametrize(("body", "code"), STRANGE)
async def test_strange_webhooks_break_nothing(world: World, body: bytes, code: int) -> None:
    await open_channel(world, ON_PREMISE)
    assert (await post(world, body, secret=ON_PREMISE.secret))[0] == code
    assert (await post(world, body))[0] == (400 if code == 400 else 401)
    assert len(world.app.seen) == (code == 200)


PATHS = [
    ("GET", "/360dialog", 405),
    ("GET", "/360dialog/x", 405),
    ("POST", "/elsewhere", 404),
    ("POST", "/meta/x", 404),
]


@pytest.mark.parametrize(("method", "path", "code"), PATHS)
async def test_other_paths_and_methods(world: World, method: str, path: str, code: int) -> None:
    async with world.session.request(method, f"{world.url}/webhooks{path}") as answer:
        assert answer.status == code
        assert isinstance((await answer.json())["error"]["message"], str)


NO_TEXT = [
    ("/webhooks/360dialog", HEADER),
    ("/webhooks/meta", "X-Hub-Signature-256"),
    ("/messages", "D360-API-KEY"),
    ("/v1/messages", "Authorization"),
]


@pytest.mark.parametrize(("path", "header"), NO_TEXT)
async def test_a_header_that_is_no_text_is_a_wrong_one(world: World, path: str, header: str) -> None:
    body = json.dumps(payload(**inbound())).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(world.url).port)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{header}: Bearer fbx_"
    )
    writer.write(head.encode() + b"\xff\xfe\r\n\r\n" + body)
    assert (await reader.read()).startswith(b"HTTP/1.1 401 ")
    writer.close()
