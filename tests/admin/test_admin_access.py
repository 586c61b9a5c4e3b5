"""Who may ask, and what an answer is when the request is none that can be answered."""

import logging

import pytest
from admin_client import Api
from aiohttp.test_utils import TestClient, TestServer

from farebox.admin import admin_app
from farebox.admin.app import MAX_BODY_BYTES
from farebox.admin.routes import CLOCK_ROUTES, ROUTES
from farebox.admin.routing import under_v1
from farebox.gate import Gate
from farebox.ledger import LedgerUnavailableError
from farebox.wallet import WalletUnavailableError
from harness import ADMIN_TOKEN

OPEN = ("/healthz", "/readyz", "/metrics", "/openapi.json")
SIGNED_EVENTS = "/v1/payments/{method}"
ACCOUNT = {"name": "Acme", "currency": "USD"}


async def test_what_is_open_needs_no_token(api: Api) -> None:
    for path in OPEN:
        assert (await api.ask("GET", path, token="")).status == 200


def test_everything_else_is_under_v1() -> None:
    assert {route.path for route in ROUTES + CLOCK_ROUTES if not under_v1(route.path)} == {*OPEN, SIGNED_EVENTS}


async def test_everything_else_needs_the_token(api: Api) -> None:
    for route in ROUTES + CLOCK_ROUTES:
        if not route.needs_token:
            continue
        path = route.path.format(
            account_id="acme",
            phone_number_id="1",
            message_id="wamid.X",
            key_id="0",
            quarantine_id="1",
            channel_id="0",
            alert_id="1",
            topup_id="1",
            method="stripe",
        )
        for token in ("", "wrong", ADMIN_TOKEN + "x", ADMIN_TOKEN[:-1], "ü"):
            answered = await api.ask(route.method, path, token=token)
            assert answered.status == 401
            assert answered.headers["WWW-Authenticate"].startswith("Bearer")
            assert "FAREBOX_ADMIN_TOKEN" in answered.detail


OTHER_WAYS = [
    ADMIN_TOKEN,
    f"Basic {ADMIN_TOKEN}",
    f"Bearer{ADMIN_TOKEN}",
    "Bearer",
    "Bearer ",
    b"Bearer \xff".decode("latin-1"),
]


async def test_other_ways_to_show_a_token_are_refused(api: Api) -> None:
    for header in OTHER_WAYS:
        assert (await api.ask("GET", "/v1/numbers", token="", headers={"Authorization": header})).status == 401


async def test_the_scheme_may_be_written_in_any_case(api: Api) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        headers = {"Authorization": f"{scheme} {ADMIN_TOKEN}"}
        assert (await api.ask("GET", "/v1/numbers", token="", headers=headers)).status == 200


async def test_an_unknown_path_under_v1_does_not_say_so_without_token(api: Api) -> None:
    assert (await api.ask("GET", "/v1/secret", token="")).status == 401
    assert (await api.ask("GET", "/v1", token="")).status == 401
    assert (await api.ask("GET", "/%761/secret", token="")).status == 401


async def test_without_a_token_in_the_settings_nobody_gets_in(gate: Gate) -> None:
    settings = gate.settings.model_copy(update={"admin_token": None})
    bare = Gate(**{**vars(gate), "settings": settings})
    async with TestClient(TestServer(admin_app(bare))) as client:
        for header in ("Bearer ", "Bearer None", ""):
            response = await client.get("/v1/numbers", headers={"Authorization": header})
            assert response.status == 401


async def test_unknown_paths_and_methods(api: Api) -> None:
    assert "/openapi.json" in await api.refused("GET", "/v1/nothing", status=404)
    assert "/favicon.ico" in await api.refused("GET", "/favicon.ico", status=404)
    answered = await api.ask("POST", "/v1/numbers")
    assert (answered.status, answered.headers["Allow"]) == (405, "GET")
    assert answered.detail == "POST is not possible at /v1/numbers; use GET."


BAD_BODIES = [
    (400, "application/json", b"", "empty"),
    (400, "application/json", b"{", "not valid JSON"),
    (400, "application/json", b'{"name": "a",}', "not valid JSON"),
    (400, "application/json", b"{'name': 1}", "not valid JSON"),
    (400, "application/json", b'{"name": "\xff"}', "not valid JSON"),
    (400, "application/json", b'{"name": "\\ud800", "currency": "USD"}', "not valid JSON"),
    (400, "application/json", b"[" * 5_000, "not valid JSON"),
    (422, "application/json", b"[]", "The body must be a JSON object"),
    (422, "application/json", b"null", "The body must be a JSON object"),
    (422, "application/json", b'"x"', "The body must be a JSON object"),
    (413, "application/json", b" " * (MAX_BODY_BYTES + 1), "at most 65536 bytes"),
    (415, "application/x-www-form-urlencoded", b"name=a", "Content-Type: application/json"),
    (415, "text/plain", b'{"name": "Acme", "currency": "USD"}', "Content-Type: application/json"),
    (415, "multipart/form-data", b"", "Content-Type: application/json"),
]


async def test_bodies_that_are_none(api: Api) -> None:
    await api.ok("PUT", "/v1/accounts/acme", ACCOUNT, status=201)
    for status, content_type, body, said in BAD_BODIES:
        for method in ("PUT", "PATCH"):
            headers = {"Content-Type": content_type}
            assert said in await api.refused(method, "/v1/accounts/acme", status=status, data=body, headers=headers)


async def test_merge_patch_and_a_missing_content_type_are_json_too(api: Api) -> None:
    await api.ok("PUT", "/v1/accounts/acme", ACCOUNT, status=201)
    headers = {"Content-Type": "application/merge-patch+json; charset=utf-8"}
    answered = await api.ask("PATCH", "/v1/accounts/acme", data=b'{"name": "B"}', headers=headers)
    assert answered.json["name"] == "B"
    bare = {"data": b'{"name": "C"}', "skip_auto_headers": ["Content-Type"]}
    assert (await api.ask("PATCH", "/v1/accounts/acme", **bare)).json["name"] == "C"


async def test_a_store_that_is_away_is_503(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise LedgerUnavailableError("the ledger's database does not answer: TimeoutError")

    await api.add_number()
    monkeypatch.setattr(type(api.gate.ledger), "fetch", away)
    for method, path, body in (
        ("GET", "/v1/numbers", None),
        ("GET", "/v1/messages/wamid.X", None),
        ("PUT", "/v1/accounts/acme", ACCOUNT),
        ("POST", "/v1/keys", {"name": "a", "numbers": ["1"]}),
        ("GET", "/v1/clock", None),
    ):
        answered = await api.ask(method, path, body)
        assert (answered.status, answered.headers["Retry-After"]) == (503, "1")
        assert answered.detail == "The ledger's database does not answer: TimeoutError; try again."


async def test_what_nobody_expected_is_500_without_details(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("the secret cause")

    monkeypatch.setattr(type(api.gate.ledger), "fetch", broken)
    with caplog.at_level(logging.ERROR, "farebox.admin.app"):
        answered = await api.ask("GET", "/v1/numbers")
    assert answered.status == 500
    assert "secret cause" not in answered.body.decode()
    assert "Traceback" not in answered.detail
    assert "the secret cause" in caplog.text


async def test_readiness_names_the_part_and_why(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = {"ready": True, "why": None}
    assert await api.ok("GET", "/readyz") == {"ready": True, "wallet": ready, "ledger": ready, "directory": ready}

    async def away(*_: object) -> None:
        raise WalletUnavailableError("the wallet's store does not answer: ConnectionError")

    monkeypatch.setattr(type(api.gate.wallet), "ping", away)
    said = await api.ok("GET", "/readyz", status=503)
    assert said["wallet"] == {"ready": False, "why": "the wallet's store does not answer: ConnectionError"}
    assert (said["ready"], said["ledger"]) == (False, ready)
    assert await api.ok("GET", "/healthz") == {"status": "ok"}


async def test_a_worker_that_has_not_read_the_numbers_is_not_ready(api: Api) -> None:
    await api.add_number()
    api.gate.directory.numbers = {}
    said = await api.ok("GET", "/readyz", status=503)
    assert said["directory"] == {"ready": False, "why": "the numbers were not read yet"}
    assert said["ledger"]["ready"]


async def test_readiness_without_a_ledger(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise LedgerUnavailableError("away")

    monkeypatch.setattr(type(api.gate.ledger), "fetch", away)
    said = await api.ok("GET", "/readyz", status=503)
    assert [said[part]["ready"] for part in ("wallet", "ledger", "directory")] == [True, False, False]


async def test_metrics_show_balances_and_do_without_the_ledger(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.add_number()
    await api.ok("PUT", "/v1/accounts/zenith", ACCOUNT, status=201)
    await api.ok("POST", "/v1/numbers/1/topups", {"amount": "12.50"}, status=201)
    answered = await api.ask("GET", "/metrics", token="")
    assert answered.headers["Content-Type"].startswith("text/plain; version=")
    assert b'farebox_balance{account="acme",currency="USD"} 12.5\n' in answered.body
    await api.ok("PATCH", "/v1/numbers/1", {"account_id": "zenith"})
    moved = (await api.ask("GET", "/metrics", token="")).body
    assert b'farebox_balance{account="acme"' not in moved
    assert b'farebox_balance{account="zenith",currency="USD"} 12.5\n' in moved

    async def away(*_: object) -> None:
        raise LedgerUnavailableError("away")

    monkeypatch.setattr(type(api.gate.ledger), "fetch", away)
    answered = await api.ask("GET", "/metrics", token="")
    assert (answered.status, b"farebox_sends_total" in answered.body) == (200, True)
    assert b'farebox_store_up{store="wallet"} 1.0\nfarebox_store_up{store="ledger"} 0.0\n' in answered.body
