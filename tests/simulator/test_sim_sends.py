"""Messages: what is accepted, what is refused, and in which words."""

from typing import Any

import pytest

MEDIA = {"id": "1037543291543636"}
CONTENTS: dict[str, Any] = {
    "text": {"body": "hello"},
    "image": MEDIA | {"caption": "look"},
    "audio": MEDIA,
    "video": {"link": "https://example.com/v.mp4"},
    "document": MEDIA | {"filename": "a.pdf"},
    "sticker": MEDIA,
    "location": {"latitude": 52.5, "longitude": 13.4, "name": "Berlin"},
    "contacts": [{"name": {"formatted_name": "Ann", "first_name": "Ann"}}],
    "reaction": {"message_id": "wamid.x", "emoji": ""},
    "interactive": {"type": "button", "body": {"text": "?"}, "action": {"buttons": []}},
    "template": {"name": "order_update", "language": {"code": "en_US"}},
}


@pytest.mark.parametrize("kind", CONTENTS)
async def test_every_type_is_accepted(start, kind):
    world = await start()
    body = {"messaging_product": "whatsapp", "to": "+1 (650) 555-1234", "type": kind, kind: CONTENTS[kind]}
    answer = await (await world.send(body)).json()
    assert answer["messaging_product"] == "whatsapp"
    assert answer["contacts"] == [{"input": "+1 (650) 555-1234", "wa_id": "16505551234"}]
    (message,) = answer["messages"]
    assert message["id"].startswith("wamid.")
    assert message.get("message_status") == ("accepted" if kind == "template" else None)
    assert world.sim.sent[0].body == body
    assert world.sim.sent[0].wamid == message["id"]
    await world.sim.settled()


@pytest.mark.parametrize(
    "path", ["/106540352242922/messages", "/v1/106540352242922/messages", "/v13.0/106540352242922/messages"]
)
async def test_any_version_or_none(start, samples, path):
    world = await start()
    assert await world.accepted(samples.text(), path=path)
    await world.sim.settled()


async def test_text_needs_no_type_and_a_null_context_is_fine(start, samples):
    world = await start()
    body = samples.text(context=None)
    del body["type"]
    assert await world.accepted(body)
    await world.sim.settled()


@pytest.mark.parametrize(
    ("change", "refusal", "words"),
    [
        ({"messaging_product": None}, (400, 100), "The parameter messaging_product is required."),
        ({"messaging_product": "sms"}, (400, 100), "messaging_product must be one of"),
        ({"to": None}, (400, 100), "The parameter to is required."),
        ({"to": "not a number"}, (400, 131009), "not a valid WhatsApp phone number"),
        ({"to": "+15550783881"}, (400, 131021), "Sender and recipient"),
        ({"type": "telegram"}, (400, 100), "Param type must be one of"),
        ({"type": "image"}, (400, 131008), "Parameter 'image' is mandatory"),
        ({"type": "image", "image": {}}, (400, 131008), "'image.id' or 'image.link'"),
        ({"text": {}}, (400, 131008), "'text.body'"),
        ({"text": {"body": " "}}, (400, 100), "text['body']"),
        ({"text": {"body": "x" * 4097}}, (400, 100), "4096"),
        ({"text": "hello"}, (400, 131009), "must be an object"),
        ({"biz_opaque_callback_data": "x" * 513}, (400, 100), "biz_opaque_callback_data"),
        ({"category": "marketing"}, (400, 100), "Param category"),
        ({"type": "template", "template": {"name": "nope", "language": {"code": "en_US"}}}, (404, 132001), "nope"),
        ({"type": "template", "template": {"name": "order_update", "language": {"code": "de"}}}, (404, 132001), "de"),
        ({"type": "template", "template": {"name": "order_update", "language": {}}}, (400, 131008), "language.code"),
    ],
)
async def test_refusals_in_graph_words(start, samples, change, refusal, words):
    world = await start()
    response = await world.send(samples.text() | change)
    error = (await response.json())["error"]
    assert (response.status, error["code"]) == refusal
    assert words in error["message"] + str(error.get("error_data"))
    assert error["type"] == "OAuthException"
    assert error["fbtrace_id"]
    assert world.sim.sent == []


async def test_malformed_json_and_a_form(start):
    world = await start()
    url = "/v25.0/106540352242922/messages"
    response = await world.client.post(url, data=b'{"to":', headers=world.auth | {"Content-Type": "application/json"})
    assert (response.status, (await response.json())["error"]["code"]) == (400, 100)
    # JSON under curl's default content type is the classic mistake; Meta finds no parameter in it.
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    response = await world.client.post(url, data=b'{"messaging_product":"whatsapp"}', headers=world.auth | form)
    assert "messaging_product is required" in (await response.json())["error"]["message"]
    fields = {"messaging_product": "whatsapp", "to": "16505551234", "text": '{"body": "by form"}'}
    response = await world.client.post(url, data=fields, headers=world.auth)
    assert response.status == 200
    assert world.sim.sent[0].body["text"] == {"body": "by form"}
    await world.sim.settled()


async def test_template_states(start, samples):
    world = await start()
    world.sim.add_template("order_update", "UTILITY", status="PAUSED")
    assert (await (await world.send(samples.template())).json())["error"]["code"] == 132015
    world.sim.add_template("greeting", "UTILITY", body="Hi {{1}}, your order {{2}} is here.")
    error = (await (await world.send(samples.template("greeting"))).json())["error"]
    assert error["code"] == 132000
    body = samples.template("greeting")
    body["template"]["components"] = [{"type": "body", "parameters": [{"type": "text", "text": x} for x in "ab"]}]
    assert await world.accepted(body)
    await world.sim.settled()


async def test_marketing_endpoint_takes_marketing_templates_only(start, samples):
    world = await start()
    path = "/v25.0/106540352242922/marketing_messages"
    assert (await world.send(samples.template("order_update"), path=path)).status == 400
    await world.accepted(samples.template("summer_sale"), path=path)
    await world.sim.settled()
    assert world.receiver.statuses[0]["pricing"]["category"] == "marketing_lite"


async def test_mark_as_read_and_typing_are_no_messages(start):
    world = await start()
    body = {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.x"}
    for extra in ({}, {"typing_indicator": {"type": "text"}}):
        response = await world.send(body | extra)
        assert await response.json() == {"success": True}
    assert world.sim.sent == []


async def test_business_scoped_user_ids(start, samples):
    world = await start()
    recipient = "US.13491208655302741918"
    body = {"messaging_product": "whatsapp", "recipient": recipient, "text": {"body": "hi"}, "category": "utility"}
    answer = await (await world.send(body)).json()
    assert answer["contacts"] == [{"input": recipient, "wa_id": "", "user_id": recipient}]
    await world.sim.settled()
    status = world.receiver.statuses[0]
    assert (status["recipient_id"], status["recipient_user_id"]) == ("", recipient)
    response = await world.send(samples.template("login_code", to=recipient))
    assert (await response.json())["error"]["code"] == 131062


async def test_360dialog_and_on_premise_dialects(start, samples):
    world = await start()
    key = {"D360-API-KEY": world.sim.config.token}
    response = await world.client.post("/messages", json=samples.template(), headers=key)
    assert (await response.json())["messages"][0]["message_status"] == "accepted"
    body = {"to": "16505551234", "type": "text", "recipient_type": "individual", "text": {"body": "hi"}}
    response = await world.client.post("/v1/messages", json=body, headers=key)
    answer = await response.json()
    assert set(answer) == {"messages", "meta"}
    assert answer["messages"][0]["id"].startswith("gBEG")
    response = await world.client.post("/v1/messages", json={"to": "16505551234", "type": "image"}, headers=key)
    assert (await response.json())["errors"][0]["code"] == 131008
    response = await world.client.post("/messages", json=body, headers={"D360-API-KEY": "wrong"})
    assert response.status == 401
    assert (await response.json())["meta"]["developer_message"] == "Invalid api key"
    await world.sim.settled()


async def test_a_token_is_required_and_hidden(start, samples):
    world = await start()
    url = "/v25.0/106540352242922/messages"
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eA=="}):
        response = await world.client.post(url, json=samples.text(), headers=headers)
        assert (response.status, (await response.json())["error"]["code"]) == (401, 190)
    response = await world.client.post(f"{url}?access_token={world.sim.config.token}", json=samples.text())
    assert response.status == 200
    await world.accepted(samples.text())
    assert world.sim.config.token not in repr(world.sim.sent) + repr(world.sim.requests)
    assert world.sim.sent[1].headers["Authorization"] == "(hidden)"
    await world.sim.settled()


async def test_unknown_number_and_unknown_path(start, samples):
    world = await start()
    response = await world.send(samples.text(), path="/v25.0/999/messages")
    assert (response.status, (await response.json())["error"]["code"]) == (400, 100)
    response = await world.send(samples.text(), path="/v25.0/106540352242922/nothing/here")
    assert (response.status, (await response.json())["error"]["code"]) == (404, 2500)


async def test_only_the_last_messages_are_remembered(start, samples):
    world = await start(remember=3, enforce_window=False)
    wamids = [await world.accepted(samples.text(str(n))) for n in range(5)]
    assert [message.wamid for message in world.sim.sent] == wamids[2:]
    await world.sim.settled()
    with pytest.raises(LookupError):
        await world.sim.post_status(wamids[0], "delivered")
