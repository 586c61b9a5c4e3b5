"""A message goes out, seen from the application and from WhatsApp."""

import io
import json
from typing import Any

import pytest

from farebox.core.reply import OUT_OF_FUNDS
from farebox.simulator import Behaviour
from harness import GERMAN, NUMBER, UPSTREAM_TOKEN, USER, World, lead_upstream, reaction, template, text


async def test_a_paid_message_is_forwarded_charged_and_explained(world: World) -> None:
    await world.fund("1.00")
    world.whatsapp.behave(Behaviour(statuses=()))
    answer = await world.send(template("summer_sale", to=GERMAN))
    assert answer.status == 200
    assert answer.headers["X-Farebox-Class"] == "paid"
    assert answer.headers["X-Farebox-Fare"] == "0.1365"
    assert answer.headers["X-Farebox-Available"] == "0.8635"
    assert await world.balance() == {"available": "0.8635", "held": "0.1365"}
    wamid = answer.json["messages"][0]["id"]
    await world.whatsapp.post_status(wamid, "delivered")
    await world.books_kept()
    assert await world.balance() == {"available": "0.8635", "held": "0.00"}
    assert await world.differences() == []
    for id_ in (wamid, answer.headers["X-Farebox-Hold"]):
        explained = await world.message(id_)
        assert explained["state"] == "settled"
        assert explained["fare"] == explained["billed"] == "0.1365"
        assert (explained["regime"], explained["market"], explained["category"]) == (
            "pmp-2026-10",
            "Germany",
            "marketing",
        )
        assert explained["rate_source"] == "rates/pmp_usd_2026-10-01.csv:11"
        assert "marketing rate" in explained["why"]
        assert explained["recipient"].endswith("5678")
        assert GERMAN not in json.dumps(explained)


async def test_the_upstream_gets_the_message_with_its_own_token_and_the_hold_id(world: World) -> None:
    await world.fund("1.00")
    answer = await world.send({**template(), "a_field_of_tomorrow": {"n": 1.50}})
    (sent,) = world.whatsapp.sent
    assert sent.body["a_field_of_tomorrow"] == {"n": 1.50}
    assert sent.body["biz_opaque_callback_data"] == answer.headers["X-Farebox-Hold"]
    (request,) = [seen for seen in world.whatsapp.requests if seen.path.endswith("/messages")]
    assert world.key not in str(request.headers)


async def test_a_clients_own_reference_is_left_alone(world: World) -> None:
    await world.fund("1.00")
    answer = await world.send({**template(), "biz_opaque_callback_data": "order 77"})
    assert world.whatsapp.sent[0].body["biz_opaque_callback_data"] == "order 77"
    await world.books_kept()
    await world.sweep.run()  # of the status, should it have come before the answer to its send
    assert (await world.message(answer.headers["X-Farebox-Hold"]))["state"] == "settled"


async def test_without_funds_the_sentence_and_nothing_else_happens(world: World) -> None:
    await world.send(reaction())
    sent = len(world.whatsapp.sent)
    before = await rows(world)
    answer = await world.send(template())
    assert answer.status == 402
    assert answer.json["error"]["message"] == OUT_OF_FUNDS
    assert answer.json["error"]["code"] == 131042
    assert OUT_OF_FUNDS.encode() in answer.body
    assert len(world.whatsapp.sent) == sent
    assert await rows(world) == before


async def rows(world: World) -> Any:
    """All that a send could change: counts of ledger rows, and the wallet."""
    pool = world.gate.ledger._pool
    counts = [await pool.fetchval(f"SELECT count(*) FROM {name}") for name in ("hold", "entry", "open_window")]
    wallet = world.gate.wallet._redis
    return counts, {key: await wallet.dump(key) for key in await wallet.keys()}


async def test_at_zero_free_messages_pass_and_a_template_does_not(world: World) -> None:
    for message in (reaction(), text(), {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.X"}):
        assert (await world.send(message)).status == 200
    assert (await world.send(template())).status == 402
    assert (await world.call("GET", "/v23.0/102290129340398/message_templates")).status == 200


async def test_free_units_are_taken_from_the_pool_until_it_is_empty(world: World) -> None:
    await world.fund("1.00")
    world.whatsapp.behave(Behaviour(statuses=()))
    in_force = world.gate.tariffs.at(world.gate.directory.numbers[NUMBER], world.gate.clock.now_ms())
    first = await world.send(text())
    assert (first.headers["X-Farebox-Class"], first.headers["X-Farebox-Fare"]) == ("free", "0.00")
    await world.gate.wallet._redis.hset(
        f"farebox:{{{NUMBER}}}:wallet", f"pool:{in_force.tariff.pool(in_force.month)}", "999"
    )
    assert (await world.send(text())).headers["X-Farebox-Class"] == "free"
    paid = await world.send(text())
    assert (paid.headers["X-Farebox-Class"], paid.headers["X-Farebox-Fare"]) == ("paid", "0.0034")


async def test_an_unknown_template_is_looked_up_once(world: World) -> None:
    await world.fund("1.00")
    world.whatsapp.add_template("new_offer", "UTILITY")
    world.whatsapp.behave(Behaviour(statuses=()))
    answer = await world.send(template("new_offer"))
    assert answer.headers["X-Farebox-Fare"] == "0.0034"
    for _ in range(2):
        answer = await world.send(template("never_heard_of"))
        assert answer.status == 404
        assert answer.headers["X-Farebox-Fare"] == "0.025"
    explained = await world.message(answer.headers["X-Farebox-Hold"])
    assert "not in the registry" in explained["note"]
    asked = [seen for seen in world.whatsapp.requests if seen.query.get("name") == "never_heard_of"]
    assert len(asked) == 1


REJECTIONS = [
    Behaviour(http_status=400, code=131009),
    Behaviour(http_status=500, code=131000),
    Behaviour(http_status=429),
]


@pytest.mark.parametrize("rejection", REJECTIONS, ids=lambda b: str(b.http_status))
async def test_what_the_upstream_rejects_is_given_back_at_once(world: World, rejection: Behaviour) -> None:
    await world.fund("1.00")
    world.whatsapp.behave(rejection)
    answer = await world.send(template())
    assert answer.status == rejection.http_status
    assert await world.balance() == {"available": "1.00", "held": "0.00"}
    assert (await world.message(answer.headers["X-Farebox-Hold"]))["state"] == "released"
    assert await world.differences() == []


async def test_a_send_whose_fate_is_unknown_keeps_its_hold_until_a_status_decides(world: World) -> None:
    await world.fund("1.00")
    world.whatsapp.behave(Behaviour(times=1, reset=True, accept=True, statuses=()))
    answer = await world.send(template())
    hold_id = answer.headers["X-Farebox-Hold"]
    assert answer.status == 504
    assert hold_id in answer.json["error"]["message"]
    assert len(world.whatsapp.sent) == 1, "it is never sent again"
    assert await world.balance() == {"available": "0.9966", "held": "0.0034"}
    await world.whatsapp.post_status(world.whatsapp.sent[0].wamid, "delivered")
    await world.books_kept()
    assert (await world.message(hold_id))["state"] == "settled"
    assert await world.balance() == {"available": "0.9966", "held": "0.00"}


async def test_an_upstream_that_can_not_be_reached_gives_back(world: World) -> None:
    await world.fund("1.00")
    lead_upstream(world.gate, "http://127.0.0.1:9")
    answer = await world.send(template())
    assert answer.status == 502
    assert isinstance(answer.json["error"]["code"], int)
    assert await world.balance() == {"available": "1.00", "held": "0.00"}


RULES = [
    ({"funds_rule": "above_zero"}, "0.0001", 200),
    ({"funds_rule": "cover"}, "0.003399", 402),
    ({"funds_rule": "cover"}, "0.0034", 200),
    ({"block_at": "0.50"}, "0.50", 402),
    ({"block_at": "0.50"}, "0.5001", 200),
    ({"block_at": "0.50", "funds_rule": "cover"}, "0.5033", 402),
    ({"mode": "off"}, "0.0001", 200),
]


@pytest.mark.parametrize(("changes", "funds", "status"), RULES)
async def test_the_rules_of_a_number(world: World, changes: dict[str, str], funds: str, status: int) -> None:
    await world.fund(funds)
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", changes)
    assert (await world.send(template())).status == status


BAD = [
    (b"{", 400, "not valid JSON"),
    (b'{"type":"text","text":{"body":"x"}}', 400, "to is missing"),
    (b'{"to":"1","type":"reaction","type":"template"}', 400, "given twice"),
    (b'{"to":"1","x":"' + b"a" * 1_100_000 + b'"}', 413, "larger than"),
]


@pytest.mark.parametrize("path", [f"/v23.0/{NUMBER}/messages", "/messages", "/v1/messages"])
@pytest.mark.parametrize(("body", "status", "said"), BAD)
async def test_bad_input_is_one_sentence_in_the_callers_shape(
    world: World, path: str, body: bytes, status: int, said: str
) -> None:
    answer = await world.call("POST", path, data=io.BytesIO(body), headers={"Content-Type": "application/json"})
    assert answer.status == status
    content = answer.json
    sentence = {
        f"/v23.0/{NUMBER}/messages": lambda: content["error"]["error_data"]["details"],
        "/messages": lambda: content["meta"]["developer_message"],
        "/v1/messages": lambda: content["errors"][0]["details"],
    }[path]()
    assert said in sentence
    assert world.whatsapp.sent == []


async def test_who_may_send(world: World) -> None:
    await world.add_number("200")
    await world.add_number("300", upstream_token=None)
    other = await world.make_key("200")
    both = await world.make_key("200", NUMBER)
    cases = [
        (NUMBER, other, 403),
        (NUMBER, "fbx_wrong", 401),
        (NUMBER, "some-other-token", 401),
        ("999", world.key, 404),
        ("999", "some-other-token", 404),
        ("300", await world.make_key("300"), 401),  # it passes the client's own token through
        (NUMBER, both, 402),
        (NUMBER, world.key, 402),
    ]
    for number_id, key, status in cases:
        answer = await world.send(template(), number_id=number_id, key=key)
        assert answer.status == status, (number_id, answer.body)
        assert isinstance(answer.json["error"]["code"], int)
    assert (await world.call("POST", "/messages", json=template(), key=both)).status == 400


async def test_a_number_may_pass_the_clients_own_token_through(world: World) -> None:
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"upstream_token": None})
    await world.fund("1.00")
    assert (await world.send(template(), key=UPSTREAM_TOKEN)).status == 200
    wrong = await world.send(template(), key="EAAwrong")
    assert wrong.status == 401
    await world.books_kept()
    assert await world.balance() == {"available": "0.9966", "held": "0.00"}


async def test_a_revoked_key_is_refused_at_once(world: World) -> None:
    (key,) = [key for key in (await world.admin("GET", "/v1/keys"))["keys"] if key["name"] == "tests"]
    await world.admin("DELETE", f"/v1/keys/{key['key_id']}")
    assert (await world.send(reaction())).status == 401


async def test_marketing_messages_are_metered_too(world: World) -> None:
    path = f"/v23.0/{NUMBER}/marketing_messages"
    assert (await world.call("POST", path, json=template("summer_sale"))).status == 402
    await world.fund("1.00")
    answer = await world.call("POST", path, json=template("summer_sale"))
    assert (answer.status, answer.headers["X-Farebox-Fare"]) == (200, "0.025")


@pytest.mark.parametrize("encoding", ["gzip", "br"])
async def test_a_compressed_send_is_refused(world: World, encoding: str) -> None:
    answer = await world.call("POST", f"/v23.0/{NUMBER}/messages", data=b"x", headers={"Content-Encoding": encoding})
    assert answer.status == 415


async def test_users_are_kept_apart(world: World) -> None:
    """The window of one user is not that of another."""
    await world.whatsapp.write_in(USER, referral=True)
    await world.books_kept()
    free = await world.send(template(to=USER))
    assert (free.status, free.headers["X-Farebox-Class"]) == (200, "free")
    assert (await world.send(template(to=GERMAN))).status == 402


async def test_a_header_does_not_turn_a_read_into_a_send(world: World) -> None:
    overrides = dict.fromkeys(("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"), "POST")
    await world.call("GET", f"/v23.0/{NUMBER}/messages", headers=overrides)
    seen = world.whatsapp.requests[-1].headers
    assert not {name.lower() for name in seen} & {name.lower() for name in overrides}


async def test_a_recipient_is_read_as_whatsapp_reads_it(world: World) -> None:
    """Without a plus the number may be one of the business's own country; the hold names the user as WhatsApp does."""
    await world.fund("1.00")
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"display_phone_number": "+49 30 901820"})
    world.whatsapp.behave(Behaviour(statuses=()))
    for to in ("0151 12345678", "+49 151 12345678", "4915112345678", "0049-151-12345678"):
        answer = await world.send(template(to=to))
        assert (answer.status, answer.headers["X-Farebox-Fare"]) == (200, "0.055"), to
    assert (await world.send(template(to="0151-NOT-A-NUMBER"))).status == 400


async def test_a_call_that_connects_is_paid_and_the_rest_of_a_call_passes(world: World) -> None:
    connect = {"messaging_product": "whatsapp", "to": USER, "action": "connect", "session": {"sdp": "x"}}
    path = f"/v23.0/{NUMBER}/calls"
    refused = await world.call("POST", path, json=connect)
    assert (refused.status, refused.json["error"]["message"]) == (402, OUT_OF_FUNDS)
    ended = await world.call("POST", path, json={"action": "terminate", "call_id": "wacid.1"})
    assert ended.status != 402
    await world.fund("1.00")
    world.whatsapp.behave(Behaviour(statuses=()))
    started = await world.call("POST", path, json=connect)
    assert (started.headers["X-Farebox-Class"], started.headers["X-Farebox-Fare"]) == ("paid", "0.00")
    assert "no card has a rate" in (await world.message(started.headers["X-Farebox-Hold"]))["note"]


async def test_a_reaction_passes_where_the_regime_has_no_card_in_the_numbers_currency(world: World) -> None:
    """A number in EUR had a card until 2026-09; since then it can not be priced, but a reaction is free."""
    await world.gate.ledger._pool.execute("UPDATE number SET currency = 'EUR'")
    await world.gate.directory.load_numbers(world.gate.ledger)
    assert (await world.send(reaction())).status == 200
    refused = await world.send(template())
    assert refused.status == 400
    assert "no rate card in EUR" in refused.json["error"]["message"]
