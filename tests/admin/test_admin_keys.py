"""Applications' keys, and the sandbox's clock."""

from admin_client import Api
from aiohttp.test_utils import TestClient, TestServer

from farebox.admin import admin_app
from farebox.gate import Gate
from harness import ADMIN_TOKEN


async def test_a_key_is_shown_once_and_works_until_it_is_revoked(api: Api) -> None:
    await api.add_number("1")
    await api.add_number("2")
    made = await api.ok("POST", "/v1/keys", {"name": "shop", "numbers": ["2", "1", "2"]}, status=201)
    key = made.pop("key")
    assert key.startswith("fbx_")
    assert (made["name"], made["numbers"], made["revoked_at"]) == ("shop", ["2", "1"], None)
    known = api.gate.directory.key(key)
    assert known is not None
    assert (str(known.key_id), known.numbers) == (made["key_id"], ("2", "1"))
    listed = await api.ask("GET", "/v1/keys")
    assert listed.json == {"keys": [made], "next": None}
    assert key not in listed.body.decode()

    path = f"/v1/keys/{made['key_id']}"
    await api.ok("DELETE", path, status=204)
    assert api.gate.directory.key(key) is None
    revoked = (await api.ok("GET", "/v1/keys"))["keys"][0]["revoked_at"]
    assert revoked is not None
    await api.ok("DELETE", path, status=204)
    assert (await api.ok("GET", "/v1/keys"))["keys"][0]["revoked_at"] == revoked


async def test_keys_are_listed_page_by_page(api: Api) -> None:
    await api.add_number()
    names = ["a", "b", "c"]
    for name in names:
        await api.ok("POST", "/v1/keys", {"name": name, "numbers": ["1"]}, status=201)
    first = await api.ok("GET", "/v1/keys?limit=2")
    last = await api.ok("GET", f"/v1/keys?limit=2&after={first['next']}")
    assert [key["name"] for key in first["keys"] + last["keys"]] == names
    assert last["next"] is None
    assert (await api.refused("GET", "/v1/keys?after=x")).startswith("after: ")


BAD_KEYS = [
    ({"name": "a"}, "numbers: is missing."),
    ({"name": "a", "numbers": []}, "numbers: must not be empty."),
    ({"name": "a", "numbers": "1"}, "numbers: must be a list."),
    ({"name": "a", "numbers": [1]}, "numbers.0: must be a string."),
    ({"name": "a", "numbers": ["1", "x"]}, "numbers.1: must be the id that Meta shows, 1 to 64 digits"),
    ({"name": "a", "numbers": ["1", "7"]}, "numbers: there is no number 7; create it with PUT /v1/numbers/7."),
    ({"name": "", "numbers": ["1"]}, "name: must not be empty."),
    (
        {"name": "a", "numbers": ["1"], "key": "fbx_mine"},
        "key: there is no such field; the fields are name, numbers, categories, per_minute, limits.",
    ),
]


async def test_keys_that_are_refused(api: Api) -> None:
    await api.add_number()
    for body, said in BAD_KEYS:
        assert (await api.refused("POST", "/v1/keys", body)).startswith(said)
        assert (await api.ok("GET", "/v1/keys"))["keys"] == []


UNKNOWN_KEYS = ["00000000-0000-4000-8000-000000000000", "0"]


async def test_an_unknown_key_can_not_be_revoked(api: Api) -> None:
    for key_id in UNKNOWN_KEYS:
        assert "GET /v1/keys" in await api.refused("DELETE", f"/v1/keys/{key_id}", status=404)


async def test_the_clock_moves_and_what_is_due_is_done_first(api: Api) -> None:
    assert (await api.ok("GET", "/v1/clock"))["offset_s"] == 0
    before = api.gate.clock.now_ms()
    moved = await api.ok("PUT", "/v1/clock", {"advance_s": 3600})
    assert moved["offset_s"] == 3600
    moved = await api.ok("PUT", "/v1/clock", {"advance_s": 0.5})
    assert moved["offset_s"] == 3600.5
    assert len(api.moves) == 2
    assert abs(api.moves[0] - before - 3_600_000) < 60_000  # the clock is read anew: to the millisecond, no closer
    moved = await api.ok("PUT", "/v1/clock", {"now": "2027-01-01T01:00:00+01:00"})
    assert moved["now"].startswith("2027-01-01T00:00:0")
    assert moved["now"].endswith("Z")
    assert abs(api.gate.clock.now_ms() - 1_798_761_600_000) < 60_000
    assert (await api.ok("PUT", "/v1/clock", {"advance_s": -86_400}))["now"].startswith("2026-12-31T00:00:0")


BAD_MOVES = [
    ({}, 'The body must be either {"now": ISO 8601} or {"advance_s": seconds}.'),
    ({"now": "2027-01-01T00:00:00Z", "advance_s": 1}, "The body must be either"),
    ({"now": None}, "The body must be either"),
    ({"now": "2027-01-01T00:00:00"}, "now: must have timezone info."),
    ({"now": "tomorrow"}, "now: must be a valid datetime"),
    ({"now": 1_800_000_000}, "now: must be a valid datetime"),
    ({"now": "9999-12-31T23:59:59Z"}, "now: the clock must stay between 2000 and 2100."),
    ({"now": "0001-01-01T00:00:00+14:00"}, "now: the clock must stay between 2000 and 2100."),
    ({"advance_s": 1e300}, "advance_s: the clock must stay between 2000 and 2100."),
    ({"advance_s": "1"}, "advance_s: must be a valid number."),
    ({"advance_s": True}, "advance_s: must be a valid number."),
    ({"advance": 5}, "advance: there is no such field; perhaps you mean advance_s."),
]


async def test_moves_that_are_refused(api: Api) -> None:
    for body, said in BAD_MOVES:
        answered = await api.ask("PUT", "/v1/clock", body)
        assert answered.status == 422
        assert answered.json["detail"].startswith(said)
        assert (await api.ok("GET", "/v1/clock"))["offset_s"] == 0
        assert api.moves == []


async def test_outside_a_sandbox_there_is_no_clock(gate: Gate) -> None:
    async with TestClient(TestServer(admin_app(gate))) as client:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        for method in ("GET", "PUT"):
            response = await client.request(method, "/v1/clock", json={"advance_s": 1}, headers=headers)
            assert response.status == 404
        assert "/v1/clock" not in (await (await client.get("/openapi.json")).json())["paths"]
