"""What a hostile client of the gateway port may try: nothing of it moves money, and every answer is one of ours."""

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from farebox.app import _admin_runner, gateway_runner
from farebox.config import Settings, SettingsError, load_settings
from farebox.listening import IDLE_S, Listening, tls_context
from farebox.relays import PrivateAddressError, PublicOnly, check_literal, is_public
from harness import NUMBER, USER, World, template
from stores.tls import Certificates

BODY = json.dumps(template()).encode()
PATH = f"/v23.0/{NUMBER}/messages"


async def spoken(world: World, request: bytes) -> bytes:
    """The first that the gateway answers to these bytes, and what comes at once with it."""
    host, port = world.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = await reader.read(65_536)
    writer.close()
    return answer


def request(world: World, *more: str, target: str = PATH, body: bytes = BODY, method: str = "POST") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: x", f"Authorization: Bearer {world.key}", *more]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


SMUGGLED = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
LENGTH = f"Content-Length: {len(BODY)}"
AMBIGUOUS = {
    "two lengths": (LENGTH, "Content-Length: 5"),
    "the same length twice": (LENGTH, LENGTH),
    "a list of lengths": (f"Content-Length: {len(BODY)}, {len(BODY)}",),
    "length and chunks": (LENGTH, "Transfer-Encoding: chunked"),
    "a length with a sign": (f"Content-Length: +{len(BODY)}",),
    "a negative length": ("Content-Length: -1",),
    "an unknown coding": ("Transfer-Encoding: gzip, x",),
    "a coding before the colon": ("Transfer-Encoding : chunked",),
    "a folded header": (LENGTH, "X-A: b\r\n c"),
    "a name with a space": (LENGTH, "X A: b"),
    "a NUL": (LENGTH, "X-A: \0"),
    "no name": (LENGTH, ": b"),
}


@pytest.mark.parametrize("headers", AMBIGUOUS.values(), ids=AMBIGUOUS)
async def test_a_request_that_two_readers_could_read_otherwise_is_refused(
    world: World, headers: tuple[str, ...]
) -> None:
    await world.fund("1.00")
    answer = await spoken(world, request(world, *headers) + SMUGGLED)
    assert answer.replace(b"HTTP/1.0", b"HTTP/1.1").startswith(b"HTTP/1.1 400"), answer[:300]
    assert answer.count(b"\r\nDate: ") == 1, "nothing after it was read as a request"
    assert b'"message": "' in answer, "in the client's shape"
    assert await world.balance() == {"available": "1.00", "held": "0.00"}


NO_HTTP = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03secret-bytes\r\n\r\n",
    "words": b"secret-bytes\r\n\r\n",
    "a header without an end": b"GET / HTTP/1.1\r\nHost: x\r\nsecret-bytes\r\n\r\n",
    "another version": b"GET /secret-bytes HTTP/9.9\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP)
async def test_what_is_no_request_is_answered_in_our_shape_and_not_quoted(
    world: World, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    runner = _admin_runner(world.gate, None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ports = world.url.rpartition(":")[2], runner.addresses[0][1]
    for port, shape in zip(ports, (b'"error"', b'"detail"'), strict=True):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(sent)
        answer = await reader.read()
        writer.close()
        assert b" 400 Bad Request\r\n" in answer.partition(b"\n")[0] + b"\n"
        assert shape in answer
        assert b"no HTTP request" in answer
        assert b"secret-bytes" not in answer
    await runner.cleanup()
    assert not [record for record in caplog.records if record.exc_info or "secret-bytes" in record.getMessage()]


TRICKS = {
    "a doubled slash": PATH.replace("/messages", "//messages"),
    "a leading doubled slash": "/" + PATH,
    "a dot segment": PATH.replace("/messages", "/x/../messages"),
    "an encoded dot segment": PATH.replace("/messages", "/x/%2e%2e/messages"),
    "an encoded slash": PATH.replace("/messages", "%2fmessages"),
    "a backslash": PATH.replace("/messages", "\\messages"),
    "a fragment": PATH + "#x",
    "an absolute URL": "http://example.com" + PATH,
    "an absolute URL with a user": "http://graph.facebook.com@example.com" + PATH,
    "an absolute URL with a path that could mean another": "http://graph.facebook.com/" + PATH,
    "no slash": PATH[1:],
    "a path parameter": PATH + ";x=1",
    "an encoded NUL": PATH + "%00",
    "a send as the query": f"/?method=POST&relative_url={PATH}",
}


@pytest.mark.parametrize("target", TRICKS.values(), ids=TRICKS)
async def test_a_path_that_could_mean_another_is_refused(world: World, target: str) -> None:
    await world.fund("1.00")
    answer = await spoken(world, request(world, LENGTH, target=target))
    assert answer.replace(b"HTTP/1.0", b"HTTP/1.1").startswith(b"HTTP/1.1 4"), answer[:300]
    assert await world.balance() == {"available": "1.00", "held": "0.00"}


async def test_heads_and_bodies_have_limits(world: World) -> None:
    assert (
        (await spoken(world, request(world, "X-Large: " + "a" * 100_000)))
        .replace(b"HTTP/1.0", b"HTTP/1.1")
        .startswith(b"HTTP/1.1 4")
    )
    assert (
        (await spoken(world, request(world, target="/" + "a" * 100_000)))
        .replace(b"HTTP/1.0", b"HTTP/1.1")
        .startswith(b"HTTP/1.1 4")
    )
    too_large = f"Content-Length: {world.gate.settings.max_send_bytes + 1}"
    assert (
        (await spoken(world, request(world, too_large))).replace(b"HTTP/1.0", b"HTTP/1.1").startswith(b"HTTP/1.1 413")
    )
    for webhook in ("/webhooks/meta", "/webhooks/360dialog"):
        lying = f"Content-Length: {10**12}"
        assert (
            (await spoken(world, request(world, lying, target=webhook)))
            .replace(b"HTTP/1.0", b"HTTP/1.1")
            .startswith(b"HTTP/1.1 413")
        )


async def test_a_client_that_sends_byte_by_byte_is_let_go(settings: Settings) -> None:
    async with World.open(settings.model_copy(update={"client_timeout_s": 0.2})) as world:
        host, port = world.url.removeprefix("http://").split(":")
        for target in (PATH, "/webhooks/meta"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(request(world, "Content-Length: 1000", target=target, body=b"{"))
            answer = await reader.read(65_536)
            assert answer.replace(b"HTTP/1.0", b"HTTP/1.1").startswith(b"HTTP/1.1 408"), answer
            writer.close()
        runner = gateway_runner(world.gate)
        await runner.setup()
        assert runner.server is not None
        assert runner.server._kwargs["keepalive_timeout"] == IDLE_S  # what ends a head that never becomes whole
        await runner.cleanup()


async def test_both_ports_speak_tls_with_a_certificate(world: World, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path / "tls")
    runner = gateway_runner(world.gate)
    await runner.setup()
    tls = tls_context(certificates.file, certificates.key_file)
    listening = await Listening.open(runner, "127.0.0.1", 0, tls)
    port = listening._listener.getsockname()[1]
    trusting = ssl.create_default_context(cafile=str(certificates.ca_file))
    url = f"https://localhost:{port}{PATH}"
    await world.fund("1.00")
    headers = {"Authorization": f"Bearer {world.key}"}
    async with world.session.post(url, json=template(), headers=headers, ssl=trusting) as answer:
        assert answer.status == 200
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(world, LENGTH))
    assert b"200 OK" not in await reader.read()  # not without TLS
    writer.close()
    await listening.leave()
    await runner.cleanup()


def test_a_certificate_without_its_key_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAREBOX_TLS_CERTIFICATE", "/x.pem")
    with pytest.raises(SettingsError, match="set both FAREBOX_TLS_CERTIFICATE and FAREBOX_TLS_KEY"):
        load_settings()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.0.1",
        "169.254.169.254",
        "::1",
        "fd00::1",
        "fe80::1%eth0",
        "::ffff:10.0.0.1",
        "0.0.0.0",
        "100.64.0.1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(PrivateAddressError):
        check_literal(f"http://{host}:80/hook" if "%" not in address else "http://[fe80::1]/hook")


async def test_webhooks_are_not_relayed_to_private_addresses_where_that_is_refused(settings: Settings) -> None:
    async with World.open(settings.model_copy(update={"private_app_urls": "refuse"})) as world:
        for app_url in (world.app_url, world.app_url.replace("127.0.0.1", "localhost")):
            await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"app_url": app_url})
            await world.whatsapp.write_in(USER, "hello")
        assert world.app.seen == []
        with pytest.raises(PrivateAddressError):
            await PublicOnly().resolve("localhost")


async def test_they_are_relayed_by_default(world: World) -> None:
    await world.whatsapp.write_in(USER, "hello")
    seen: Any = world.app.seen
    assert len(seen) == 1
