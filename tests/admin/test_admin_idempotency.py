"""Admin writes with an Idempotency-Key are done once; a repetition gets the first answer."""

import asyncio
import json
from typing import Any

import pytest
from admin_client import Answered, Api

from farebox.admin.once import LEASE_MS
from farebox.admin.routes import CLOCK_ROUTES, ROUTES
from farebox.idempotency import KEEP_MS
from farebox.ledger import LedgerUnavailableError

KEY = "import-2026-11"
TOPUPS = "/v1/numbers/1/topups"

OF_THIS_ANSWER = ("Idempotency-Replayed", "Date", "X-Request-ID")


async def keyed(api: Api, method: str, path: str, body: Any = None, key: str = KEY) -> Answered:
    return await api.ask(method, path, body, headers={"Idempotency-Key": key})


def same(first: Answered, second: Answered) -> bool:
    headers = {name: value for name, value in second.headers.items() if name not in OF_THIS_ANSWER}
    first_headers = {name: value for name, value in first.headers.items() if name not in OF_THIS_ANSWER}
    told = "Idempotency-Replayed" not in first.headers and second.headers.get("Idempotency-Replayed") == "true"
    return told and (first.status, first_headers, first.body) == (second.status, headers, second.body)


async def balance(api: Api) -> str:
    number = await api.ok("GET", "/v1/numbers/1")
    available: str = number["balance"]["available"]
    return available


WRITES: list[tuple[str, str, Any, int]] = [
    ("PUT", "/v1/accounts/acme", {"name": "Acme", "currency": "USD"}, 200),
    ("PUT", "/v1/accounts/other", {"name": "Other", "currency": "USD"}, 201),
    ("PATCH", "/v1/accounts/acme", {"name": "Acme Ltd"}, 200),
    ("PUT", "/v1/numbers/2", {"account_id": "acme"}, 201),
    ("PATCH", "/v1/numbers/1", {"mode": "off"}, 200),
    ("POST", TOPUPS, {"amount": "5.00"}, 201),
    ("POST", TOPUPS, {"amount": "5.00", "reference": "inv-1"}, 201),
    ("PUT", "/v1/clock", {"advance_s": 60}, 200),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), WRITES)
async def test_a_write_is_done_once(api: Api, method: str, path: str, body: Any, status: int) -> None:
    await api.add_number()
    first = await keyed(api, method, path, body)
    assert first.status == status
    at_ms = api.gate.clock.offset_ms
    for _ in range(2):
        assert same(first, await keyed(api, method, path, body))
    assert api.gate.clock.offset_ms == at_ms
    if path == TOPUPS:
        assert await balance(api) == "5.00"
    assert "key of its own" in (await keyed(api, method, path, {**body, **_other(body)})).detail


def _other(body: dict[str, Any]) -> dict[str, Any]:
    """Return another value for one field, of the same kind."""
    name = next(iter(body))
    return {name: {"amount": "6.00", "advance_s": 61, "mode": "shadow"}.get(name, "Another")}


async def test_a_key_belongs_to_its_path(api: Api) -> None:
    await api.add_number()
    await api.add_number("2")
    for number in ("1", "2"):
        assert (await keyed(api, "POST", f"/v1/numbers/{number}/topups", {"amount": "5.00"})).status == 201


async def test_revoking_is_told_again_without_a_body(api: Api) -> None:
    await api.add_number()
    key_id = (await api.ok("POST", "/v1/keys", {"name": "app", "numbers": ["1"]}, status=201))["key_id"]
    first = await keyed(api, "DELETE", f"/v1/keys/{key_id}")
    assert (first.status, first.body) == (204, b"")
    assert same(first, await keyed(api, "DELETE", f"/v1/keys/{key_id}"))


async def test_a_key_that_is_shown_once_is_neither_made_nor_shown_nor_stored_again(api: Api) -> None:
    await api.add_number()
    body = {"name": "app", "numbers": ["1"]}
    made = (await keyed(api, "POST", "/v1/keys", body)).json
    told = await keyed(api, "POST", "/v1/keys", body)
    assert (told.status, told.headers["Idempotency-Replayed"]) == (409, "true")
    assert made["key_id"] in told.detail
    assert len((await api.ok("GET", "/v1/keys"))["keys"]) == 1
    stored = await api.gate.ledger._pool.fetch("SELECT row_to_json(idempotency)::text || body::text FROM idempotency")
    secret = made["key"]
    assert stored
    assert not any(form in str(row[0]) for row in stored for form in (secret, secret.encode().hex()))


async def test_a_refusal_does_not_use_the_key_up(api: Api) -> None:
    assert (await keyed(api, "POST", TOPUPS, {"amount": "5.00"})).status == 404
    await api.add_number()
    assert (await keyed(api, "POST", TOPUPS, {"amount": "-5.00"})).status == 422
    assert (await keyed(api, "POST", TOPUPS, {"amount": "5.00"})).status == 201
    assert await balance(api) == "5.00"


@pytest.mark.parametrize("key", ["", "two words", "x" * 256])
async def test_a_bad_key_is_one_sentence(api: Api, key: str) -> None:
    await api.add_number()
    answered = await keyed(api, "POST", TOPUPS, {"amount": "5.00"}, key)
    assert answered.status == 400
    assert "visible ASCII" in answered.detail
    assert await balance(api) == "0.00"


async def test_of_equal_topups_at_once_one_books(api: Api) -> None:
    await api.add_number()
    answers = await asyncio.gather(*(keyed(api, "POST", TOPUPS, {"amount": "5.00"}) for _ in range(10)))
    assert {answered.status for answered in answers} <= {201, 409}
    assert all(answered.headers["Retry-After"] == "1" for answered in answers if answered.status == 409)
    assert await balance(api) == "5.00"


async def test_a_topup_whose_answer_was_lost_books_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker dies between booking and keeping the answer; after the lease the top-up runs again."""
    await api.add_number()

    async def died(*_: object) -> None:
        raise SystemError

    with monkeypatch.context() as patch:
        patch.setattr("farebox.admin.once.keep", died)
        assert (await keyed(api, "POST", TOPUPS, {"amount": "5.00"})).status == 500
    early = await keyed(api, "POST", TOPUPS, {"amount": "5.00"})
    assert (early.status, early.headers["Retry-After"]) == (409, "1")
    await api.ok("PUT", "/v1/clock", {"advance_s": LEASE_MS / 1000})
    again = await keyed(api, "POST", TOPUPS, {"amount": "5.00"})
    assert (again.status, "Idempotency-Replayed" in again.headers) == (200, False)
    assert await balance(api) == "5.00"
    assert same(again, await keyed(api, "POST", TOPUPS, {"amount": "5.00"}))


async def test_a_topup_that_may_be_booked_is_safe_to_repeat(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit's answer is lost: the first says 503, the second under the same key books nothing more."""
    await api.add_number()
    real = api.gate.ledger.fetch_one

    async def lost(query: str, *arguments: Any) -> Any:
        row = await real(query, *arguments)
        if query == "credit_topup":
            raise LedgerUnavailableError("the ledger's database does not answer: TimeoutError")
        return row

    with monkeypatch.context() as patch:
        patch.setattr(api.gate.ledger, "fetch_one", lost)
        assert (await keyed(api, "POST", TOPUPS, {"amount": "5.00"})).status == 503
    assert (await keyed(api, "POST", TOPUPS, {"amount": "5.00"})).status == 200
    topups = (await api.ok("GET", TOPUPS))["topups"]
    assert [topup["amount"] for topup in topups] == ["5.00"]


async def test_a_topups_key_is_its_reference_for_ever(api: Api) -> None:
    await api.add_number()
    await keyed(api, "POST", TOPUPS, {"amount": "5.00"})
    await api.ok("PUT", "/v1/clock", {"advance_s": KEEP_MS / 1000})
    assert (await keyed(api, "POST", TOPUPS, {"amount": "5.00"})).status == 200
    assert await balance(api) == "5.00"


async def test_without_the_ledger_a_keyed_write_is_unavailable(api: Api) -> None:
    await api.add_number()
    api.gate.ledger._pool.terminate()
    assert (await keyed(api, "POST", TOPUPS, {"amount": "5.00"})).status == 503


async def test_the_header_is_described_where_it_is_honoured(api: Api) -> None:
    for route in ROUTES + CLOCK_ROUTES:
        operation = api.document["paths"][route.path][route.method.lower()]
        named = "Idempotency-Key" in json.dumps(operation["parameters"])
        assert named == (route.method != "GET")
        assert not named or {"400", "409"} <= set(operation["responses"])
