"""Who may move what: a number is moved by its own secret only, through the door that the secret belongs to."""

import json
import logging
from typing import Any

import pytest
from aiohttp.test_utils import RawTestServer

from channels import CHANNELS, D360, ON_PREMISE, Channel, open_channel
from doors import HEADER, HELD, RELEASED, inbound, post, post_meta, sent
from farebox.simulator import Behaviour
from harness import APP_SECRET, NUMBER, WABA, App, World
from test_inbound import payload, status

# What is presented, and the number that the body is about: nobody's money moves.
FORGERIES: list[tuple[dict[str, str], str | None]] = [
    ({}, None),
    ({}, ON_PREMISE.number_id),
    ({"secret": "guessed-guessed-guessed"}, None),
    ({"secret": "guessed-guessed-guessed"}, ON_PREMISE.number_id),
    ({"secret": "%F0%28"}, ON_PREMISE.number_id),
    ({"header": ""}, ON_PREMISE.number_id),
    ({"header": ON_PREMISE.secret[:-1]}, ON_PREMISE.number_id),
    ({"header": ON_PREMISE.secret + "é"}, ON_PREMISE.number_id),
    ({"header": ON_PREMISE.secret.upper()}, ON_PREMISE.number_id),
    ({"secret": D360.secret}, ON_PREMISE.number_id),  # another number's
    ({"secret": D360.secret, "header": ON_PREMISE.secret}, ON_PREMISE.number_id),  # the path goes first
]


@pytest.mark.parametrize(("given", "number_id"), FORGERIES)
async def test_a_wrong_secret_never_touches_money(
    world: World, given: dict[str, str], number_id: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await open_channel(world, D360)
    wamid = await sent(world, ON_PREMISE)
    failed: Any = {"statuses": [status(wamid, "failed")]}
    forged = failed if number_id is None else payload(number_id, **failed)
    code, answered = await post(world, forged, **given)
    assert code == 401
    assert "webhook_secret" in json.loads(answered)["meta"]["developer_message"]
    assert world.app.seen == []
    world.gate.settings.__dict__["bad_signature"] = "relay"
    code, _ = await post(world, forged, **given)
    # Relayed where the body says to whom; otherwise WhatsApp keeps it.
    assert (code, len(world.app.seen)) == ((401, 0) if number_id is None else (200, 1))
    assert HEADER not in str([seen.headers for seen in world.app.seen])
    assert await world.balance(ON_PREMISE.number_id) == HELD
    for secret in (ON_PREMISE.secret, D360.secret):
        assert secret not in caplog.text
        assert secret.encode() not in answered


async def test_an_unwrapped_body_that_names_another_number_is_its_secrets_own(world: World) -> None:
    await open_channel(world, D360)
    wamid = await sent(world, ON_PREMISE)
    body = {"metadata": {"phone_number_id": "400"}, "statuses": [status(wamid, "failed")]}
    assert (await post(world, body, secret=D360.secret))[0] == 200
    assert await world.balance(ON_PREMISE.number_id) == HELD


@CHANNELS
async def test_metas_door_does_not_move_a_number_of_360dialog(world: World, channel: Channel) -> None:
    wamid = await sent(world, channel)
    forged = payload(channel.number_id, waba="777", statuses=[status(wamid, "failed")])
    for secret in (APP_SECRET, "", channel.secret):  # the common app secret is of an app that it is not in
        assert await post_meta(world, forged, secret) == 401
    assert await post_meta(world, {"statuses": [status(wamid, "failed")]}, APP_SECRET) == 200  # names no number
    assert await world.balance(channel.number_id) == HELD
    await world.admin("PATCH", f"/v1/numbers/{channel.number_id}", {"app_secret": "its-own-secret"})
    assert await post_meta(world, forged, "its-own-secret") == 200
    assert await world.balance(channel.number_id) == RELEASED


async def test_the_door_of_360dialog_does_not_move_a_cloud_number(world: World) -> None:
    await open_channel(world, D360)
    await world.fund("1.00")
    world.whatsapp.behave(Behaviour(statuses=()))
    wamid = (await world.send(D360.template())).json["messages"][0]["id"]
    forged = payload(statuses=[status(wamid, "failed")])
    for given in ({}, {"secret": D360.secret}, {"secret": APP_SECRET}):
        assert (await post(world, forged, **given, **{"X-Hub-Signature-256": "sha256=0"}))[0] == 401
    assert await world.balance() == HELD
    mixed = payload(D360.number_id, **inbound())
    mixed["entry"] += forged["entry"]
    assert (await post(world, mixed, secret=D360.secret))[0] == 401
    assert world.app.seen == []


async def test_a_shared_secret_moves_only_the_number_that_is_named(world: World) -> None:
    other = App()
    async with RawTestServer(other.handle) as server:
        await open_channel(world, D360, webhook_secret=ON_PREMISE.secret, app_url=str(server.make_url("/")))
        wamid = await sent(world, ON_PREMISE)
        said: Any = {"statuses": [status(wamid, "failed")]}
        assert (await post(world, said, secret=ON_PREMISE.secret))[0] == 401
        both = payload(ON_PREMISE.number_id, **said)
        both["entry"] += payload(D360.number_id, **inbound())["entry"]
        both["entry"] += payload("999", **inbound())["entry"]  # not set up here: nobody's
        assert (await post(world, both, secret=ON_PREMISE.secret, **{"X-Hub-Signature-256": "sha256=0"}))[0] == 200
        assert await world.balance(ON_PREMISE.number_id) == RELEASED
        for app, number_id in ((world.app, "400"), (other, "300")):
            (seen,) = app.seen
            (entry,) = json.loads(seen.body)["entry"]
            assert entry["changes"][0]["value"]["metadata"]["phone_number_id"] == number_id
            assert "X-Hub-Signature-256" not in seen.headers  # it was of other bytes


def category_update(waba: str, **value: Any) -> dict[str, Any]:
    update = {"message_template_name": "order_update", "message_template_language": "en-US", **value}
    change = {"field": "template_category_update", "value": {"new_category": "MARKETING", **update}}
    return {"object": "whatsapp_business_account", "entry": [{"id": waba, "changes": [change]}]}


async def test_a_template_moves_in_the_lists_of_the_secrets_numbers_only(world: World) -> None:
    await open_channel(world, D360)
    await open_channel(world, ON_PREMISE, waba_id="777")
    await world.gate.templates.sync()

    async def categories() -> dict[str, str]:
        await world.gate.directory.load_templates(world.gate.ledger)
        known = world.gate.directory.templates
        return {r: known[r, "order_update", "en_US"].category for r in ("number:300", "777", WABA)}

    before = {"number:300": "utility", "777": "utility", WABA: "utility"}
    # Of another account, though it names the secret's own number.
    stranger = category_update(WABA, metadata={"phone_number_id": "400"})
    assert (await post(world, stranger, secret=ON_PREMISE.secret))[0] == 200
    assert (await post(world, category_update(WABA), secret=ON_PREMISE.secret))[0] == 200
    assert await categories() == before
    assert (await post(world, category_update("777"), secret=ON_PREMISE.secret))[0] == 200
    assert await categories() == before | {"777": "marketing"}
    assert (await post(world, category_update("777"), secret=D360.secret))[0] == 200
    assert await categories() == before | {"777": "marketing", "number:300": "marketing"}
    assert len(world.app.seen) == 4


async def test_one_apps_secret_does_not_move_the_templates_of_another_account(world: World) -> None:
    await world.add_number("200", waba_id="888", app_secret="its-own-secret")
    update = category_update(WABA, metadata={"phone_number_id": "200"})
    assert await post_meta(world, update, "its-own-secret") == 200
    await world.gate.directory.load_templates(world.gate.ledger)
    assert world.gate.directory.templates[WABA, "order_update", "en_US"].category == "utility"


async def test_a_changed_secret_counts_at_once(world: World) -> None:
    await open_channel(world, ON_PREMISE)
    for secret in ("another-secret-of-400", None):
        await world.admin("PATCH", "/v1/numbers/400", {"webhook_secret": secret})
        assert (await post(world, inbound(), secret=ON_PREMISE.secret))[0] == 401
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"webhook_secret": ON_PREMISE.secret})
    assert (await post(world, inbound(), secret=ON_PREMISE.secret))[0] == 200
