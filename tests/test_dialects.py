"""Sends of 360dialog's and on-premise clients: metered like any other, refused in their own shape."""

import io
import json
from typing import Any

import pytest

from channels import CHANNELS, D360, ON_PREMISE, Channel, call, open_channel
from farebox.core.reply import OUT_OF_FUNDS
from farebox.ledger import LedgerUnavailableError
from farebox.simulator import Behaviour
from harness import GERMAN, NUMBER, USER, Answer, World, nobody_upstream


@CHANNELS
async def test_a_paid_message_is_charged_when_its_webhook_says_so(world: World, channel: Channel) -> None:
    key = await open_channel(world, channel)
    await world.fund("1.00", channel.number_id)
    answer = await call(world, "POST", channel.path, key, json=channel.template("summer_sale", GERMAN))
    assert (answer.status, answer.headers["X-Farebox-Fare"]) == (200, "0.1365")
    wamid = answer.json["messages"][0]["id"]
    await world.books_kept()
    explained = await world.message(wamid)
    assert (explained["state"], explained["billed"]) == ("settled", "0.1365")
    assert explained["hold_id"] == answer.headers["X-Farebox-Hold"]
    assert await world.balance(channel.number_id) == {"available": "0.8635", "held": "0.00"}
    assert await world.balance() == {"available": "0.00", "held": "0.00"}
    assert [json.loads(seen.body).get("object") is None for seen in world.app.seen] == [
        channel is ON_PREMISE  # its webhooks are not wrapped
    ] * 3
    assert await world.differences() == []


async def test_only_the_on_premise_body_goes_without_our_reference(world: World) -> None:
    for channel in (D360, ON_PREMISE):
        key = await open_channel(world, channel)
        await world.fund("1.00", channel.number_id)
        answer = await call(world, "POST", channel.path, key, json=channel.template())
        body = dict(world.whatsapp.sent[-1].body)
        reference = body.pop("biz_opaque_callback_data", None)
        assert body == channel.template()
        assert reference == (answer.headers["X-Farebox-Hold"] if channel is D360 else None)


@CHANNELS
async def test_without_funds_it_is_the_sentence_and_what_is_free_passes(world: World, channel: Channel) -> None:
    key = await open_channel(world, channel)
    answer = await call(world, "POST", channel.path, key, json=channel.template())
    assert (answer.status, channel.sentence(answer.json)) == (402, OUT_OF_FUNDS)
    assert OUT_OF_FUNDS.encode() in answer.body
    assert world.whatsapp.sent == []
    for body in (
        {"to": USER, "type": "reaction", "reaction": {"message_id": "wamid.X", "emoji": "x"}},
        {"status": "read", "message_id": "wamid.X"},
    ):
        answer = await call(world, "POST", channel.path, key, json={"messaging_product": "whatsapp", **body})
        assert answer.status == 200


BAD: list[tuple[dict[str, Any], str, int, str]] = [
    ({"data": b"{"}, "", 400, "not valid JSON"),
    ({"data": b"[]"}, "", 400, "must be a JSON object"),
    ({"json": {"type": "text", "text": {"body": "x"}}}, "", 400, "to is missing"),
    ({"json": {"to": USER, "recipient_type": "all"}}, "", 400, "recipient_type must be individual or group"),
    ({"json": {"to": USER, "type": "template", "template": {"name": "x"}}}, "", 400, "template.language.code"),
    ({"data": b'{"to":"1","type":"reaction","type":"template"}'}, "", 400, "given twice"),
    ({"json": {}}, "?to=1", 400, "must be in the body"),
    ({"data": b"x", "headers": {"Content-Encoding": "gzip"}}, "", 415, "without Content-Encoding"),
    ({"data": b'{"to":"1","x":"' + b"a" * 1_100_000 + b'"}'}, "", 413, "larger than"),
]


@CHANNELS
async def test_bad_input_is_one_sentence_in_the_callers_shape(world: World, channel: Channel) -> None:
    key = await open_channel(world, channel)
    for kwargs, query, status, said in BAD:
        given = {**kwargs, "data": io.BytesIO(kwargs["data"])} if "data" in kwargs else kwargs
        answer = await call(world, "POST", channel.path + query, key, **given)
        assert answer.status == status, answer.body
        assert said in channel.sentence(answer.json)
    for method, path, said in (
        ("PATCH", channel.path, "sent with POST"),
        ("POST", f"{channel.path}/abc", "nothing is posted below"),
        ("POST", channel.path.replace("m", "%2F", 1), "encoded or doubled slash"),
    ):
        answer = await call(world, method, path, key, json=channel.template())
        assert answer.status == 400
        if "%2F" not in path:
            assert said in channel.sentence(answer.json)
    assert world.whatsapp.sent == []


@CHANNELS
async def test_who_may_send(world: World, channel: Channel) -> None:
    key = await open_channel(world, channel)
    both = await world.make_key(channel.number_id, NUMBER)
    await world.fund("1.00", channel.number_id)
    for caller, status, said in (
        ("fbx_wrong", 401, "unknown or revoked"),
        ("fbx_\udcff", 401, "unknown or revoked"),
        (channel.token, 401, "Authenticate with a farebox key"),  # the upstream's own token leads around no box
        ("", 401, "Authenticate with a farebox key"),
        (both, 400, "a key for a single number"),
    ):
        for query in ("", f"?phone_number_id={channel.number_id}"):
            answer = await call(world, "POST", channel.path + query, caller, json=channel.template())
            assert answer.status == status, (caller, answer.body)
            assert said in channel.sentence(answer.json)
    assert world.whatsapp.sent == []
    assert (await call(world, "POST", channel.path, key, json=channel.template())).status == 200


@CHANNELS
async def test_what_goes_wrong_is_said_in_the_callers_shape(
    world: World, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await open_channel(world, channel)
    await world.fund("1.00", channel.number_id)

    async def send() -> Answer:
        return await call(world, "POST", channel.path, key, json=channel.template())

    with monkeypatch.context() as patch:
        away = LedgerUnavailableError("away")
        patch.setattr(world.gate.ledger, "record", _raise(away))
        answer = await send()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert "nothing was charged" in channel.sentence(answer.json)

    with nobody_upstream(world.gate):
        answer = await send()
    assert answer.status == 502
    assert "could not be reached" in channel.sentence(answer.json)
    await world.books_kept()

    world.whatsapp.behave(Behaviour(times=1, reset=True, accept=True, statuses=()))
    answer = await send()
    assert answer.status == 504
    assert answer.headers["X-Farebox-Hold"] in channel.sentence(answer.json)
    assert len(world.whatsapp.sent) == 1

    with monkeypatch.context() as patch:
        patch.setattr(world.gate.templates, "find", _raise(RuntimeError("a fault of ours")))
        answer = await send()
    assert answer.status == 500
    assert "a fault of ours" not in channel.sentence(answer.json)


def _raise(error: Exception) -> Any:
    async def fail(*_args: Any, **_kwargs: Any) -> None:
        raise error

    return fail


@CHANNELS
async def test_what_360dialog_rejects_is_given_back_and_passed_on_as_it_is(world: World, channel: Channel) -> None:
    key = await open_channel(world, channel)
    await world.fund("1.00", channel.number_id)
    answer = await call(world, "POST", channel.path, key, json=channel.template("never_heard_of"))
    assert answer.status == 404
    assert ("errors" in answer.json) == (channel is ON_PREMISE)
    assert await world.balance(channel.number_id) == {"available": "1.00", "held": "0.00"}
