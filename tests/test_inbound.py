"""A webhook comes in: relayed at once, and what it says about money is kept."""

import json
from typing import Any

import pytest
from aiohttp.test_utils import RawTestServer

from farebox.core.signature import sign
from farebox.simulator import Behaviour
from harness import APP_SECRET, GERMAN, NUMBER, USER, VERIFY_TOKEN, WABA, App, World, template, text


def payload(number_id: str = NUMBER, *, waba: str = WABA, **value: Any) -> dict[str, Any]:
    metadata = {"display_phone_number": "1", "phone_number_id": number_id}
    change = {"field": "messages", "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}
    return {"object": "whatsapp_business_account", "entry": [{"id": waba, "changes": [change]}]}


def inbound(user: str = USER, body: str = "hé") -> dict[str, Any]:
    return {"messages": [{"from": user, "id": "wamid.in", "timestamp": "1", "type": "text", "text": {"body": body}}]}


def status(wamid: str, said: str = "delivered", **fields: Any) -> dict[str, Any]:
    return {"id": wamid, "status": said, "timestamp": "1795000000", "recipient_id": USER, **fields}


REGULAR = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"}


async def post(world: World, content: dict[str, Any] | bytes, secret: str = APP_SECRET) -> Any:
    body = content if isinstance(content, bytes) else json.dumps(content, indent=1).encode()
    headers = {"X-Hub-Signature-256": sign(body, secret), "Content-Type": "application/json", "User-Agent": "facebook"}
    async with world.session.post(f"{world.url}/webhooks/meta", data=body, headers=headers) as answer:
        content = await answer.read()
        await world.books_kept()
        return answer.status, content


async def test_the_handshake(world: World) -> None:
    query = f"?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={VERIFY_TOKEN}"
    async with world.session.get(f"{world.url}/webhooks/meta{query}") as answer:
        assert (answer.status, await answer.read()) == (200, b"1158201444")
    for wrong in (query + "x", "", "?hub.mode=subscribe&hub.challenge=1"):
        async with world.session.get(f"{world.url}/webhooks/meta{wrong}") as answer:
            assert answer.status == 403


async def test_a_webhook_reaches_the_application_byte_for_byte(world: World) -> None:
    body = json.dumps(payload(**inbound()), indent=3).encode() + b"\n "
    world.app.answer, world.app.status = b"\x00odd", 203
    assert await post(world, body) == (203, b"\x00odd")
    (seen,) = world.app.seen
    assert seen.body == body
    assert seen.headers["X-Hub-Signature-256"] == sign(body, APP_SECRET)
    assert seen.headers["User-Agent"] == "facebook"


async def test_without_an_application_it_is_200(world: World) -> None:
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"app_url": None})
    assert await post(world, payload(**inbound())) == (200, b"")
    assert await post(world, payload("555", **inbound())) == (200, b"")


async def test_an_application_that_is_down_is_a_502_so_that_whatsapp_tries_again(world: World) -> None:
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"app_url": "http://127.0.0.1:9/"})
    assert (await post(world, payload(**inbound())))[0] == 502


async def test_a_bad_signature_never_touches_money(world: World) -> None:
    await world.fund("1.00")
    world.whatsapp.behave(Behaviour(statuses=()))
    wamid = (await world.send(template())).json["messages"][0]["id"]
    forged = payload(statuses=[status(wamid, "failed")])
    assert (await post(world, forged, secret="guessed"))[0] == 401
    assert world.app.seen == []
    world.gate.settings.__dict__["bad_signature"] = "relay"
    assert (await post(world, forged, secret="guessed"))[0] == 200
    assert len(world.app.seen) == 1
    assert await world.balance() == {"available": "0.9966", "held": "0.0034"}


async def test_several_numbers_in_one_payload_reach_their_own_applications(world: World) -> None:
    other = App(status=201)
    async with RawTestServer(other.handle) as server:
        await world.add_number("200", app_url=str(server.make_url("/")))
        both = payload(**inbound(body="hé"))
        both["entry"][0]["changes"] += payload("200", **inbound())["entry"][0]["changes"]
        both["entry"] += payload("555", **inbound(body="not yours"))["entry"]
        assert (await post(world, both))[0] == 201
        for app, number_id in ((world.app, NUMBER), (other, "200")):
            (seen,) = app.seen
            assert seen.headers["X-Hub-Signature-256"] == sign(seen.body, APP_SECRET)
            assert b"h\\u00e9" in seen.body
            assert json.loads(seen.body) == payload(number_id, **inbound())


async def test_one_numbers_secret_does_not_move_anothers_money(world: World) -> None:
    await world.add_number("200", app_secret="its-own-secret")
    assert (await post(world, payload("200", **inbound())))[0] == 401
    assert (await post(world, payload("200", **inbound()), secret="its-own-secret"))[0] == 200
    both = payload("200", **inbound())
    both["entry"] += payload(**inbound())["entry"]
    assert (await post(world, both, secret="its-own-secret"))[0] == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"entry":[{"changes":[{"value":7}]}]}'])
async def test_strange_webhooks_break_nothing(world: World, body: bytes) -> None:
    assert (await post(world, body))[0] in (200, 400, 401)


async def sent(world: World, message: dict[str, Any] | None = None) -> str:
    await world.fund("1.00")
    world.whatsapp.behave(Behaviour(statuses=()))
    wamid: str = (await world.send(message or template())).json["messages"][0]["id"]
    return wamid


FREE = {"billable": False, "pricing_model": "PMP", "type": "free_entry_point", "category": "utility"}
DELIVERED = ("delivered", REGULAR)
# Statuses in order of arrival -> available at the end; 1.00 was there and the fare is 0.0034.
SETTLEMENTS = [
    ([("sent", REGULAR)], "0.9966", "0.0034", "accepted"),
    ([DELIVERED], "0.9966", "0.00", "settled"),
    ([("read", REGULAR)], "0.9966", "0.00", "settled"),
    ([("delivered", None)], "0.9966", "0.0034", "accepted"),
    ([("delivered", None), ("read", REGULAR)], "0.9966", "0.00", "settled"),
    ([DELIVERED, DELIVERED, ("read", None), ("failed", None)], "0.9966", "0.00", "settled"),
    ([("failed", None)], "1.00", "0.00", "released"),
    ([("failed", None), ("failed", None)], "1.00", "0.00", "released"),
    ([("failed", None), DELIVERED], "0.9966", "0.00", "settled"),
    ([("delivered", FREE)], "1.00", "0.00", "settled"),
    ([("delivered", FREE), DELIVERED], "1.00", "0.00", "settled"),
    ([("delivered", {**REGULAR, "category": "marketing"})], "0.975", "0.00", "settled"),
]


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize(("statuses", "available", "held", "state"), SETTLEMENTS)
async def test_settlement(
    world: World, statuses: list[tuple[str, Any]], available: str, held: str, state: str, batched: bool
) -> None:
    wamid = await sent(world)
    said = [status(wamid, name, **({"pricing": pricing} if pricing else {})) for name, pricing in statuses]
    for batch in [said] if batched else [[one] for one in said]:
        assert (await post(world, payload(statuses=batch)))[0] == 200
    assert await world.balance() == {"available": available, "held": held}
    assert (await world.message(wamid))["state"] == state
    assert await world.differences() == []


async def test_a_status_may_overtake_the_answer_to_its_send(world: World) -> None:
    await world.fund("1.00")
    early = payload(statuses=[status("wamid.early", pricing=REGULAR)])
    assert (await post(world, early))[0] == 200
    world.whatsapp.behave(Behaviour(statuses=()))
    answer = await world.send({**template(), "biz_opaque_callback_data": "mine"})
    await world.gate.ledger._pool.execute("UPDATE hold SET wamid = 'wamid.early'")
    await world.sweep.run()
    assert (await world.message(answer.headers["X-Farebox-Hold"]))["state"] == "settled"
    assert await world.differences() == []


async def test_a_reference_that_names_anothers_hold_moves_nothing(world: World) -> None:
    wamid = await sent(world)
    hold_id = (await world.message(wamid))["hold_id"]
    forged = status("wamid.other", "failed", biz_opaque_callback_data=hold_id)
    await post(world, payload(statuses=[forged]))
    assert (await world.message(wamid))["state"] == "accepted"


async def test_inbound_from_an_ad_opens_the_free_entry_point(world: World) -> None:
    assert (await world.send(template(to=GERMAN))).status == 402
    await world.whatsapp.write_in(GERMAN, referral=True)
    await world.books_kept()
    for _ in range(2):
        answer = await world.send(template(to=GERMAN))
        assert (answer.status, answer.headers["X-Farebox-Class"]) == (200, "free")
    await world.books_kept()
    await world.gate.wallet._redis.flushall()  # the window is in the ledger as well
    assert (await world.send(template(to=GERMAN))).status == 200


async def test_a_window_that_whatsapp_does_not_see_is_closed_and_the_message_charged(world: World) -> None:
    await world.fund("1.00")
    await world.whatsapp.write_in(USER, referral=True)
    await world.books_kept()
    world.whatsapp.behave(Behaviour(statuses=()))
    answer = await world.send(template())
    assert answer.headers["X-Farebox-Class"] == "free"
    wamid = answer.json["messages"][0]["id"]
    await post(world, payload(statuses=[status(wamid, pricing=REGULAR)]))
    assert await world.balance() == {"available": "0.9966", "held": "0.00"}
    assert (await world.send(template())).headers["X-Farebox-Class"] == "paid"
    assert await world.differences() == []


async def test_a_template_webhook_moves_its_category_and_reaches_the_application(world: World) -> None:
    update = {
        "message_template_name": "order_update",
        "message_template_language": "en_US",
        "previous_category": "UTILITY",
        "new_category": "MARKETING",
    }
    change = {"field": "template_category_update", "value": update}
    body = {"object": "whatsapp_business_account", "entry": [{"id": WABA, "changes": [change]}]}
    assert (await post(world, body))[0] == 200
    assert len(world.app.seen) == 1
    await world.gate.directory.load_templates(world.gate.ledger)
    await world.fund("1.00")
    assert (await world.send(template())).headers["X-Farebox-Fare"] == "0.025"


async def test_holds_expire_and_an_unpriced_delivery_is_charged_then(world: World) -> None:
    silent, unpriced = await sent(world), (await world.send(template())).json["messages"][0]["id"]
    await post(world, payload(statuses=[status(unpriced)]))
    await world.admin("PUT", "/v1/clock", {"advance_s": 31 * 86_400})
    assert (await world.message(silent))["state"] == "expired"
    assert (await world.message(unpriced))["state"] == "settled"
    assert await world.balance() == {"available": "0.9966", "held": "0.00"}
    await post(world, payload(statuses=[status(silent, pricing=REGULAR)]))
    assert (await world.message(silent))["late"] is True
    assert await world.balance() == {"available": "0.9932", "held": "0.00"}
    assert await world.differences() == []


async def test_free_messages_past_the_pool_are_settled_as_whatsapp_says(world: World) -> None:
    wamid = await sent(world, text())
    service = {**REGULAR, "category": "service"}
    await post(world, payload(statuses=[status(wamid, pricing=service)]))
    assert await world.balance() == {"available": "0.9966", "held": "0.00"}
    assert await world.differences() == []


async def test_a_free_unit_belongs_to_the_month_of_delivery(world: World) -> None:
    """Sent in one month and delivered in the next: the unit of the first comes back, one of the second is used."""
    await world.admin("PUT", "/v1/clock", {"now": "2026-11-30T23:59:00Z"})
    wamid = await sent(world, text())
    await world.admin("PUT", "/v1/clock", {"now": "2026-12-01T00:01:00Z"})
    free = {"billable": False, "pricing_model": "PMP", "type": "free_customer_service", "category": "service"}
    now_s = world.gate.clock.now_ms() // 1000
    await post(world, payload(statuses=[{**status(wamid, pricing=free), "timestamp": str(now_s)}]))
    for _ in ("as it is", "rebuilt from the ledger"):
        wallet = await world.gate.wallet._redis.hgetall(f"farebox:{{{NUMBER}}}:wallet")
        assert wallet.get("pool:service:2026-11", "0") == "0"
        assert wallet["pool:service:2026-12"] == "1"
        await world.gate.wallet._redis.flushall()
        await world.send(template())


async def test_a_delivery_that_whatsapp_took_from_the_pool_counts_there(world: World) -> None:
    wamid = await sent(world)  # reserved as a paid template
    free = {"billable": False, "pricing_model": "PMP", "type": "free_customer_service", "category": "service"}
    await post(world, payload(statuses=[status(wamid, pricing=free)]))
    wallet = await world.gate.wallet._redis.hgetall(f"farebox:{{{NUMBER}}}:wallet")
    assert [value for name, value in wallet.items() if name.startswith("pool:")] == ["1"]
    assert await world.balance() == {"available": "1.00", "held": "0.00"}
