"""What comes back to a client: WhatsApp's own answer, but for links that would lead around the gateway, and tokens."""

import gzip
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from bare_upstream import JSON, BareUpstream

from harness import NUMBER, UPSTREAM_TOKEN, WABA, World, text

TEMPLATES = f"/v23.0/{WABA}/message_templates"
SEND = f"/v23.0/{NUMBER}/messages"
# As Graph writes it: escaped slashes and non-ASCII, and here some spaces that no encoder of ours would write.
ERROR = rb'{ "error":{"message":"(#100) \u00dcnknown \/ field","type":"OAuthException","code":100,"fbtrace_id":"Az"}}'
LIST = (
    rb'{"data":[{"name":"a","components":[{"type":"BUTTONS","buttons":[{"type":"URL","url":"https:\/\/graph.facebook.com'
    rb'\/x"}]}]}],"paging":{"cursors":{"before":"MAZDZD","after":"MjQZD"}}, "summary":{"total_count":1}}'
)
PAGE = b"<!DOCTYPE html><html><body>Sorry, something went wrong.</body></html>"


@dataclass
class Answer:
    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (JSON,)


UNCHANGED = {
    "an error": Answer(ERROR, 400),
    "too many calls": Answer(ERROR, 429, (JSON, ("Retry-After", "3"))),
    "an error of the server": Answer(ERROR, 503),
    "a token refused": Answer(ERROR, 401, (JSON, ("WWW-Authenticate", 'OAuth "Facebook Platform" "invalid_token"'))),
    "a list with its summary": Answer(LIST),
    "a page in place of JSON": Answer(PAGE, 502, (("Content-Type", "text/html; charset=utf-8"),)),
    "JSON that is none": Answer(b"{not json", 200),
    "nothing": Answer(b"", 200),
    "a redirect": Answer(b"", 302, (("Location", "https://example.com/elsewhere"),)),
    "created": Answer(b'{"id":"1"}', 201),
}


@pytest.mark.parametrize(("method", "path"), [("GET", TEMPLATES), ("POST", SEND)])
@pytest.mark.parametrize("given", UNCHANGED.values(), ids=UNCHANGED.keys())
async def test_an_answer_comes_back_byte_for_byte(
    world: World, upstream: BareUpstream, given: Answer, method: str, path: str
) -> None:
    upstream.answers(given.body, *given.headers, status=given.status)
    body = text() if method == "POST" else None
    answer = await world.call(method, path, json=body, allow_redirects=False)
    assert (answer.status, answer.body) == (given.status, given.body)
    assert answer.headers.items() >= dict(given.headers).items()


META_HEADERS = {
    "x-fb-trace-id": "AbCdEf",
    "x-fb-rev": "1011",
    "x-business-use-case-usage": '{"1":[{"type":"whatsapp","call_count":3}]}',
    "x-app-usage": '{"call_count":0}',
    "facebook-api-version": "v23.0",
    "ETag": '"5f"',
    "Cache-Control": "private, no-cache, no-store, must-revalidate",
    "Date": "Sun, 22 Nov 2026 10:00:00 GMT",
}


@pytest.mark.parametrize(("method", "path"), [("GET", TEMPLATES), ("POST", SEND), ("HEAD", TEMPLATES)])
async def test_the_headers_of_meta_are_kept(world: World, upstream: BareUpstream, method: str, path: str) -> None:
    upstream.answers(b'{"data":[]}', JSON, *META_HEADERS.items())
    answer = await world.call(method, path, json=text() if method == "POST" else None)
    assert answer.headers.items() >= META_HEADERS.items()
    assert answer.headers["Content-Length"] == "11"


async def test_a_client_that_takes_gzip_gets_the_right_bytes(world: World) -> None:
    assert world.whatsapp.config.compress, "the simulator compresses for who accepts it, as Graph does"
    answer = await world.call("GET", TEMPLATES, headers={"Accept-Encoding": "gzip, deflate, br"})
    assert len(answer.json["data"]) == 3
    assert int(answer.headers["Content-Length"]) == len(answer.body)


@pytest.mark.parametrize(("body", "content_type"), [(LIST, "application/json"), (PAGE, "text/html")])
async def test_an_answer_that_was_compressed_unasked_stays_readable(
    world: World, upstream: BareUpstream, body: bytes, content_type: str
) -> None:
    upstream.answers(gzip.compress(body), ("Content-Type", content_type), ("Content-Encoding", "gzip"))
    answer = await world.call("GET", TEMPLATES, headers={"Accept-Encoding": "gzip"})
    assert answer.body == body


def page(upstream: BareUpstream) -> dict[str, Any]:
    link = f"{upstream.url}{TEMPLATES}?access_token={UPSTREAM_TOKEN}&limit=1&after=MAZDZD"
    return {"data": [], "paging": {"next": link}}


SCRIPT = ("Content-Type", "text/javascript; charset=UTF-8")
LEAKS = {
    "the link to the next page": (lambda up: json.dumps(page(up)), JSON),
    "a list in a field": (lambda up: json.dumps({"message_templates": page(up), "id": WABA}), JSON),
    # Graph calls its JSON so where the client's Accept does not name JSON.
    "JSON called JavaScript": (lambda up: json.dumps(page(up)), SCRIPT),
    "a callback's argument": (lambda up: f"/**/ f({json.dumps(page(up))});", SCRIPT),
    "introspection": (lambda up: json.dumps({"metadata": {"connections": {"x": page(up)["paging"]["next"]}}}), JSON),
    "an error's sentence": (lambda _: json.dumps({"error": {"message": f"Malformed token {UPSTREAM_TOKEN}"}}), JSON),
}


@pytest.mark.parametrize("auth", ["header", "query"])
@pytest.mark.parametrize(("write", "content_type"), LEAKS.values(), ids=LEAKS.keys())
async def test_no_answer_brings_the_token_of_whatsapp(
    world: World, upstream: BareUpstream, write: Any, content_type: tuple[str, str], auth: str
) -> None:
    upstream.answers(write(upstream).encode(), content_type)
    url, headers = f"{world.url}{TEMPLATES}", {"Authorization": f"Bearer {world.key}"}
    if auth == "query":
        url, headers = f"{url}?access_token={world.key}", {}
    async with world.session.get(url, headers=headers) as answer:
        body = await answer.text()
    assert body
    assert UPSTREAM_TOKEN not in body
    assert answer.headers["Content-Type"] == content_type[1]


async def test_a_client_with_its_token_in_the_query_follows_the_pages_with_its_own_key(world: World) -> None:
    """Chatwoot reads the templates like this: the token in the query, then each `paging.next` as it comes."""
    url = f"{world.url}/v14.0/{WABA}/message_templates?access_token={world.key}&limit=1"
    names = []
    while url:
        async with world.session.get(url) as answer:
            read = await answer.json()
            assert UPSTREAM_TOKEN not in await answer.text()
        names += [template["name"] for template in read["data"]]
        for link in read["paging"].keys() & {"next", "previous"}:
            assert read["paging"][link].startswith(f"{world.url}/v14.0/{WABA}/message_templates?")
            assert parse_qs(urlsplit(read["paging"][link]).query)["access_token"] == [world.key]
        url = read["paging"].get("next")
    assert names == ["order_update", "summer_sale", "login_code"]
    assert {seen.http_status for seen in world.whatsapp.requests} == {200}


async def test_a_client_with_its_token_in_a_header_gets_links_without_one(world: World) -> None:
    read = (await world.call("GET", TEMPLATES, params={"limit": "1", "summary": "total_count"})).json
    assert "access_token" not in read["paging"]["next"]
    assert read["summary"]["total_count"] == 3
    following = await world.call("GET", read["paging"]["next"].removeprefix(world.url))
    assert following.json["data"][0]["name"] == "summer_sale"


async def test_debug_token_tells_a_client_about_the_key_that_it_has(world: World) -> None:
    for query in (f"input_token={world.key}", f"input_token={world.key}&access_token={world.key}"):
        answer = await world.call("GET", f"/debug_token?{query}")
        assert answer.json["data"]["is_valid"] is True
        assert answer.json["data"]["granular_scopes"][0]["target_ids"] == [WABA]
