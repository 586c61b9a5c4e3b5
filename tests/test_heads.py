"""A head of which only two places are read means what it means when it is read as a whole."""

import random
from dataclasses import fields
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from farebox import heads
from farebox.clock import Clock
from farebox.config import Settings
from farebox.connections import header_lines
from farebox.core.reply import Dialect
from farebox.directory import Directory, Key, Number, digest
from farebox.heads import Head, Heads
from farebox.server import Gateway

TOKENS = {"101": "EAAG-one", "102": "EAAG-two", "103": "of 360dialog", "104": None, "105": "EAAG-\r\nX: y"}
KEYS = {"fbx_one": ("101",), "fbx_two": ("102",), "fbx_360": ("103",), "fbx_none": ("104",), "fbx_lines": ("105",),
        "fbx_both": ("101", "102")}  # fmt: skip
SOME_KEYS = [
    *KEYS,
    *("fbx_one",) * 6,
    *("fbx_two",) * 4,
    "fbx_old",
    "fbx_unknown",
    "EAAG-of-the-client",
    "fbx_one x",
    "fbx_one, x",
]
PATHS = ["/v23.0/101/messages", "/101/messages", "/v22.0/101/messages", "/v23.0/102/messages"] * 4 + [
    "/v23.0/10é/messages", "/v23.0/103/messages", "/v23.0/104/messages", "/v23.0/105/messages",
    "/v23.0/106/messages", "/messages", "/v1/messages", "/v23.0/101/media", "/v23.0/101/../102/messages",
    "/v23.0//messages",
    "/v23.0/101/messages?x=1", "/v23.0/101/messages#x", "/v23.0/1%301/messages", "/",
]  # fmt: skip
AUTHORIZATIONS = ["Authorization: Bearer {}"] * 5 + [
    "authorization: Bearer {}", "authorization: Bearer {}",
    "AUTHORIZATION: Bearer {}", "Authorization: bearer {}", "Authorization: OAuth {}",
    "Authorization:Bearer {}", "Authorization: Bearer  {}", "Authorization: Bearer {} ", "Authorization: Bearer {}, x",
    "Authorization: Bearer {}\r\n folded", "Authorization: Bearer {}\nX: y", "X: Authorization: Bearer {}", "X: y",
    "D360-API-KEY: {}", "Authorization : Bearer {}",
]  # fmt: skip
OTHERS = [
    "Content-Type: application/json", "Accept: */*", "User-Agent: shop/1", "X-Request-Id: 7", "Idempotency-Key: a",
    "Authorization: Bearer fbx_two", "D360-API-KEY: fbx_two", "Content-Length: 7", "Transfer-Encoding: chunked",
    "Connection: close", "Expect: 100-continue", " folded", "X: Bearer fbx_one", "Bad", "",
]  # fmt: skip


def directory() -> Directory:
    known = Directory()
    empty = {field.name: None for field in fields(Number)}
    for number_id, token in TOKENS.items():
        dialect = Dialect.D360 if number_id == "103" else Dialect.CLOUD
        known.numbers[number_id] = Number(
            **{**empty, "number_id": number_id, "upstream_token": token, "dialect": dialect}
        )
    known._keys = {digest(name): Key(uuid4(), name, numbers) for name, numbers in KEYS.items()}
    known._keys[digest("fbx_old")] = Key(uuid4(), "old", ("101",), until_ms=2**62)
    return known


@pytest.fixture
def made() -> Any:
    known = directory()
    settings = Settings(database_url="postgresql://x", redis_url="redis://x")
    gateway = Gateway(cast("Any", SimpleNamespace(settings=settings, directory=known, clock=Clock())))
    return lambda: Heads(known, gateway.plain_send)


def some_shape(dice: random.Random) -> str:
    """A head with places for its path and its key."""
    lines = ["Host: gateway", dice.choice(AUTHORIZATIONS), "Content-Length: 2"]
    lines += dice.sample(OTHERS, dice.choice((0, 0, 1, 1, 2)))
    if dice.random() < 0.5:
        dice.shuffle(lines)
    method, version = dice.choice(("POST",) * 9 + ("PUT",)), dice.choice(("1.1",) * 9 + ("1.0",))
    return "\r\n".join([method + " {path} HTTP/" + version, *lines])


def meaning(found: Head | None) -> object:
    """All that is done with a head."""
    if found is None:
        return None
    call = found.call
    try:
        lines = call.lines or header_lines(call.headers().items())
    except heads.NotSentError as error:
        lines = str(error).encode()
    request = (call.request.method, call.request.raw_path, call.request.query, list(call.request.headers.items()))
    return found.length, request, call.route, call.number, call.client_token, call.upstream_token, call.key, lines


@pytest.mark.parametrize("seed", range(20))
async def test_it_means_what_it_means_as_a_whole(made: Any, seed: int) -> None:
    dice, many = random.Random(seed), made()
    for shape in [some_shape(dice) for _ in range(20)]:
        for _ in range(40):
            head, whole = shape.format(dice.choice(SOME_KEYS), path=dice.choice(PATHS)).encode(), made()
            assert meaning(many.find(head, 1)) == meaning(whole.find(head, 1)), head
            assert (head in many._known) == (head in whole._known), head


async def test_a_key_that_ends_is_asked_for_each_time(made: Any) -> None:
    many, head = made(), "POST /v23.0/101/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 2"
    old, one = (head.format(key).encode() for key in ("fbx_old", "fbx_one"))
    assert many.find(old, 1).call.key.name == "old"
    assert (many._known, many._shapes) == ({}, {})
    many.find(one, 1)
    assert many._shapes, "it is like the one before"
    assert many.find(old, 1).call.key.name == "old"
    assert list(many._known) == [one]


async def test_of_many_numbers_one_head_is_read_as_a_whole(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    parsed = heads._parsed
    monkeypatch.setattr(heads, "_parsed", lambda head, *rest: read.append(head) or parsed(head, *rest))
    many, head = made(), "POST /v23.0/{}/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 2"
    pairs = (("101", "fbx_one"), ("102", "fbx_two"))
    found = [many.find(head.format(*pair).encode(), 1) for pair in pairs]
    assert tuple((one.call.number.number_id, one.call.key.name) for one in found) == pairs
    assert found[1].call.lines == header_lines(found[1].call.headers().items())
    assert b"EAAG-two" in found[1].call.lines
    assert b"EAAG-one" not in found[1].call.lines
    assert len(read) == 1
    assert many.find(head.format("101", "fbx_two").encode(), 1) is None, "a key that is not for this number"
    many._directory.version += 1  # a key or a number has changed
    assert many._shapes
    many.find(head.format("103", "fbx_360").encode(), 1)
    assert not many._shapes
