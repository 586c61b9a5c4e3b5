"""The audit log: every write is in it, with who, what, before, after and why, and nothing takes it out again."""

from typing import Any

import asyncpg
import pytest
from admin_client import NUMBER_SECRET, UPSTREAM_TOKEN, Api

from farebox.acting import Actor, acting
from farebox.admin.routes import CLOCK_ROUTES, ROUTES

WHY = {"X-Farebox-Reason": "the customer asked"}

# What a write leaves in the log: the kind of its subject. None: it changes nothing that is kept.
WRITES: dict[tuple[str, str], str | None] = {
    ("PUT", "/v1/accounts/{account_id}"): "account",
    ("PATCH", "/v1/accounts/{account_id}"): "account",
    ("PUT", "/v1/numbers/{phone_number_id}"): "number",
    ("PATCH", "/v1/numbers/{phone_number_id}"): "number",
    ("PUT", "/v1/numbers/{phone_number_id}/limits"): "spend limit",
    ("PUT", "/v1/numbers/{phone_number_id}/auto-renewal"): "auto-renewal",
    ("PUT", "/v1/numbers/{phone_number_id}/alert-levels"): "alert level",
    ("POST", "/v1/accounts/{account_id}/channels"): "alert channel",
    ("DELETE", "/v1/accounts/{account_id}/channels/{channel_id}"): "alert channel",
    ("POST", "/v1/alerts/{alert_id}/tell"): None,  # delivers again what was said
    ("POST", "/v1/numbers/{phone_number_id}/topups"): "topup",
    ("POST", "/v1/numbers/{phone_number_id}/topups/{topup_id}/confirm"): "topup",
    ("POST", "/v1/numbers/{phone_number_id}/topups/{topup_id}/cancel"): "topup",
    ("POST", "/v1/numbers/{phone_number_id}/topups/{topup_id}/look"): "topup",
    ("POST", "/v1/numbers/{phone_number_id}/refunds"): "movement",
    ("POST", "/v1/numbers/{phone_number_id}/transfers"): "movement",
    ("POST", "/v1/numbers/{phone_number_id}/adjustments"): "movement",
    ("POST", "/v1/numbers/{phone_number_id}/close"): "number",
    ("POST", "/v1/numbers/{phone_number_id}/open"): "number",
    ("POST", "/v1/payments/{method}"): "topup",
    ("PUT", "/v1/accounts/{account_id}/cards/{method}"): "card",
    ("POST", "/v1/accounts/{account_id}/cards/{method}/link"): "card link",
    ("DELETE", "/v1/accounts/{account_id}/cards/{method}"): "card",
    ("POST", "/v1/quarantine/{quarantine_id}/replay"): "quarantine",
    ("POST", "/v1/quotes"): None,
    ("POST", "/v1/keys"): "key",
    ("DELETE", "/v1/keys/{key_id}"): "key",
    ("POST", "/v1/keys/{key_id}/rotate"): "key",
    ("PUT", "/v1/keys/{key_id}/limits"): "key",
    ("PUT", "/v1/clock"): None,  # of a sandbox alone
}


async def logged(api: Api, query: str = "") -> list[Any]:
    page = await api.ok("GET", f"/v1/audit{query}")
    rows: list[Any] = page["audit"]
    return rows


async def test_a_change_says_who_what_and_why(api: Api) -> None:
    await api.add_number("1", upstream_token=UPSTREAM_TOKEN, app_secret=NUMBER_SECRET)
    changed = {"mode": "shadow", "upstream_token": UPSTREAM_TOKEN + "2"}
    assert (await api.ask("PATCH", "/v1/numbers/1", changed, headers=WHY)).status == 200
    change, made = await logged(api, "?kind=number&subject=1")
    assert (change["who"], change["what"], change["why"]) == ("admin token", "changed", "the customer asked")
    assert change["before"] == {"mode": "enforce", "upstream_token": "set"}
    assert change["after"] == {"mode": "shadow", "upstream_token": "set anew"}
    assert (made["what"], made["before"], made["why"]) == ("created", None, None)
    assert (made["after"]["number_id"], made["after"]["upstream_token"], made["after"]["app_secret"]) == (
        "1",
        "set",
        "set",
    )


async def test_a_write_that_changes_nothing_is_no_change(api: Api) -> None:
    await api.add_number("1")
    before = await logged(api)
    await api.ok("PATCH", "/v1/numbers/1", {"mode": "enforce"})
    await api.ok("PUT", "/v1/accounts/acme", {"name": "Acme", "currency": "USD"})
    assert await logged(api) == before


async def test_money_and_keys_are_in_it_and_secrets_are_not(api: Api) -> None:
    await api.add_number("1")
    await api.ok("POST", "/v1/numbers/1/topups", {"amount": "5.00", "reference": "bank-7"}, status=201)
    made = await api.ok("POST", "/v1/keys", {"name": "shop", "numbers": ["1"]}, status=201)
    await api.ok("DELETE", f"/v1/keys/{made['key_id']}", status=204)
    revoked, key, topup = (await logged(api))[:3]
    assert topup["kind"] == "topup"
    assert (topup["after"]["amount_micros"], topup["after"]["reference"]) == (5_000_000, "bank-7")
    assert (key["kind"], key["subject"], key["after"]["digest"]) == ("key", made["key_id"], "set")
    assert (revoked["what"], revoked["before"], list(revoked["after"])) == (
        "changed",
        {"revoked_at": None},
        ["revoked_at"],
    )


async def test_a_refused_write_leaves_nothing(api: Api) -> None:
    await api.add_number("1")
    before = await logged(api)
    await api.refused("PATCH", "/v1/numbers/1", {"account_id": "nobody"})
    too_long = {"X-Farebox-Reason": "x" * 501}
    assert (await api.ask("PATCH", "/v1/numbers/1", {"mode": "off"}, headers=too_long)).status == 400
    assert await logged(api) == before


async def test_it_is_read_page_by_page(api: Api) -> None:
    await api.add_number("1")
    whole = await logged(api)
    first = await api.ok("GET", "/v1/audit?limit=1")
    second = await api.ok("GET", f"/v1/audit?limit=1&before={first['next']}")
    assert first["audit"] + second["audit"] == whole
    assert second["next"] is None
    assert await logged(api, "?who=somebody") == []


async def test_others_than_the_admin_port_are_named(api: Api) -> None:
    ledger, now_ms = api.gate.ledger, api.gate.clock.now_ms()
    await ledger.fetch("put_account", "a", "A", "USD", None, None, now_ms, [], 0, 0, 0, None, None, None, None)
    with acting(Actor("user ann@example.com", why="by phone", request_id="r-1")):
        await ledger.fetch("put_account", "b", "B", "USD", None, None, now_ms, [], 0, 0, 0, None, None, None, None)
    named, unnamed = await logged(api)
    assert (named["who"], named["why"], named["request_id"]) == ("user ann@example.com", "by phone", "r-1")
    assert (unnamed["who"], unnamed["why"]) == ("farebox", None)
    connection = await asyncpg.connect(api.gate.settings.database_url)
    await connection.execute("UPDATE account SET name = 'Z' WHERE account_id = 'a'")
    (by_hand, *_) = await logged(api)
    assert by_hand["who"] == "database role farebox"
    for change in ("UPDATE audit SET who = 'nobody'", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(asyncpg.RaiseError):
            await connection.execute(change)
    await connection.close()


def test_every_write_is_thought_of() -> None:
    """A new write: let its table have the trigger of sql/0022_audit.sql (or note its deed), test it, add it here."""
    assert {(route.method, route.path) for route in ROUTES + CLOCK_ROUTES if route.writes} == set(WRITES)
