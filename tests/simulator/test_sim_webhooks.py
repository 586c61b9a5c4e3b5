"""Webhooks: signature, order, prices, windows."""

import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest

from farebox.simulator import Behaviour, Number

DAY_S = 86_400.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


async def test_a_user_writes_in_signed_and_escaped(start):
    world = await start()
    wamid = await world.sim.write_in("16505551234", "schön / 👋", name="Ann")
    ((body, headers),) = world.receiver.requests
    expected = hmac.new(world.sim.config.app_secret.encode(), body, hashlib.sha256).hexdigest()
    assert headers["X-Hub-Signature-256"] == f"sha256={expected}"
    assert rb"sch\u00f6n \/ \ud83d\udc4b" in body
    (value,) = world.receiver.values
    assert json.loads(body)["entry"][0]["id"] == "102290129340398"
    assert value["metadata"] == {"display_phone_number": "15550783881", "phone_number_id": "106540352242922"}
    assert value["contacts"][0]["wa_id"] == "16505551234"
    assert value["contacts"][0]["profile"] == {"name": "Ann"}
    (message,) = value["messages"]
    assert message["from_user_id"] == value["contacts"][0]["user_id"]
    assert (message["id"], message["from"], message["text"]) == (wamid, "16505551234", {"body": "schön / 👋"})


async def test_inbound_types(start):
    world = await start()
    await world.sim.write_in(text="see", type="image")
    await world.sim.write_in(text="Yes", type="button", reply_to="wamid.q")
    await world.sim.write_in(type="reaction", reply_to="wamid.q")
    await world.sim.write_in(type="location", content={"latitude": 1, "longitude": 2})
    image, button, reaction, location = world.receiver.messages
    described = await world.get(f"/v25.0/{image['image']['id']}")
    assert described["sha256"] == image["image"]["sha256"]
    assert button["button"] == {"payload": "Yes", "text": "Yes"}
    assert button["context"]["id"] == "wamid.q"
    assert reaction["reaction"] == {"message_id": "wamid.q", "emoji": "👍"}
    assert location["location"] == {"latitude": 1, "longitude": 2}
    with pytest.raises(ValueError, match="needs its content"):
        await world.sim.write_in(type="order")


async def test_statuses_in_order_with_pricing_on_sent_and_one_other(start, samples):
    world = await start()
    wamid = await world.accepted(samples.template(biz_opaque_callback_data="mine"))
    await world.sim.settled()
    assert len(world.receiver.requests) == 3
    statuses = world.receiver.statuses
    assert [status["status"] for status in statuses] == ["sent", "delivered", "read"]
    assert {status["id"] for status in statuses} == {wamid}
    assert {status["biz_opaque_callback_data"] for status in statuses} == {"mine"}
    pricing = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"}
    assert [status.get("pricing") for status in statuses] == [pricing, pricing, None]
    assert all("conversation" not in status for status in statuses)
    assert {status["recipient_id"] for status in statuses} == {"16505551234"}
    assert world.receiver.values[0]["contacts"][0]["user_id"].startswith("US.")


async def test_old_webhook_versions_carry_a_conversation(start, samples):
    world = await start(webhook_version="v23.0")
    await world.accepted(samples.template("summer_sale"))
    await world.accepted(samples.template("summer_sale"))
    await world.sim.settled()
    sent, delivered, read, *_ = world.receiver.statuses
    assert sent["conversation"]["origin"] == {"type": "marketing"}
    assert int(sent["conversation"]["expiration_timestamp"]) > int(sent["timestamp"])
    assert delivered["conversation"] == {"id": sent["conversation"]["id"], "origin": {"type": "marketing"}}
    assert "conversation" not in read
    assert len({status["conversation"]["id"] for status in world.receiver.statuses if "conversation" in status}) == 2


async def test_free_form_outside_the_window_fails_later(start, samples):
    world = await start()
    await world.accepted(samples.text())
    await world.sim.settled()
    (status,) = world.receiver.statuses
    assert (status["status"], status["errors"][0]["code"]) == ("failed", 131047)
    assert "pricing" not in status
    assert "contacts" not in world.receiver.values[0]


async def test_the_window_ends_on_the_simulators_clock(start, samples):
    world = await start()
    await world.sim.write_in()
    for passed_s, expected in ((DAY_S - 60, "read"), (61, "failed")):
        world.sim.clock.offset_s += passed_s
        await world.accepted(samples.text())
        await world.sim.settled()
        assert world.receiver.statuses[-1]["status"] == expected


async def test_the_free_pool_counts_deliveries_by_local_month(start, samples):
    world = await start(free_pool=2, numbers=(Number(timezone="America/New_York"),), statuses=("sent", "delivered"))
    world.sim.clock.set(at("2026-11-30T12:00:00"))
    await world.sim.write_in()
    for _ in range(3):
        await world.accepted(samples.text())
    await world.accepted(samples.text(type="reaction", reaction={"message_id": "wamid.x", "emoji": "👍"}))
    await world.sim.settled()
    delivered = [s["pricing"]["type"] for s in world.receiver.statuses if s["status"] == "delivered"]
    assert delivered == ["free_customer_service", "free_customer_service", "regular", "free_customer_service"]
    assert world.sim.pool_used() == 2
    world.sim.clock.set(at("2026-12-01T04:59:00"))
    assert world.sim.pool_used() == 2
    world.sim.clock.set(at("2026-12-01T05:01:00"))
    assert world.sim.pool_used() == 0


async def test_failed_messages_use_no_free_unit(start, samples):
    world = await start(free_pool=1)
    await world.sim.write_in()
    world.sim.behave(Behaviour(statuses=("sent", "failed"), status_error=131026))
    await world.accepted(samples.text())
    await world.sim.settled()
    assert world.sim.pool_used() == 0
    failed = world.receiver.statuses[-1]
    assert failed["errors"][0]["code"] == 131026
    assert failed["errors"][0]["title"] == failed["errors"][0]["message"]


@pytest.mark.parametrize(
    ("day", "kind", "expected"),
    [
        ("2026-09-30", "order_update", "free_customer_service"),
        ("2026-10-01", "order_update", "regular"),
        ("2026-09-30", "summer_sale", "regular"),
        ("2026-10-01", "login_code", "regular"),
    ],
)
async def test_regimes_by_date(start, samples, day, kind, expected):
    world = await start()
    world.sim.clock.set(at(f"{day}T12:00:00"))
    await world.sim.write_in()
    await world.accepted(samples.template(kind))
    await world.sim.settled()
    assert world.receiver.statuses[0]["pricing"]["type"] == expected


async def test_service_is_free_without_limit_before_october_2026(start, samples):
    world = await start(free_pool=0)
    world.sim.clock.set(at("2026-09-01T12:00:00"))
    await world.sim.write_in()
    await world.accepted(samples.text())
    await world.sim.settled()
    assert world.receiver.statuses[0]["pricing"]["type"] == "free_customer_service"


async def test_answering_an_ad_opens_a_free_entry_point(start, samples):
    world = await start()
    await world.sim.write_in(referral=True)
    assert world.receiver.messages[0]["referral"]["source_type"] == "ad"
    await world.accepted(samples.text())
    world.sim.clock.offset_s += 2 * DAY_S
    await world.accepted(samples.template("summer_sale"))
    world.sim.clock.offset_s += DAY_S
    await world.accepted(samples.template("summer_sale"))
    await world.sim.settled()
    sent = [status for status in world.receiver.statuses if status["status"] == "sent"]
    assert [status["pricing"]["type"] for status in sent] == ["free_entry_point", "free_entry_point", "regular"]
    assert sent[0]["pricing"]["category"] == "referral_conversion"
    assert sent[0]["conversation"]["id"] == sent[1]["conversation"]["id"]
    assert int(sent[0]["conversation"]["expiration_timestamp"]) - int(sent[0]["timestamp"]) == 3 * DAY_S
    assert "conversation" not in sent[2]


async def test_an_ad_answered_too_late_is_no_free_entry_point(start, samples):
    world = await start()
    await world.sim.write_in(referral=True)
    world.sim.clock.offset_s += DAY_S + 1
    await world.accepted(samples.template())
    await world.sim.settled()
    assert world.receiver.statuses[0]["pricing"]["type"] == "regular"


async def test_batches_and_duplicates_and_reverse_order(start, samples):
    world = await start(webhook_batch=3)
    await world.accepted(samples.template())
    await world.sim.settled()
    assert len(world.receiver.requests) == 1
    assert len(world.receiver.statuses) == 3
    world = await start()
    world.sim.behave(Behaviour(duplicate=True, reverse=True))
    await world.accepted(samples.template())
    await world.sim.settled()
    assert [s["status"] for s in world.receiver.statuses] == ["read", "read", "delivered", "delivered", "sent", "sent"]
    assert ["pricing" in s for s in world.receiver.statuses] == [True, True, False, False, True, True]
    assert world.receiver.requests[0][0] == world.receiver.requests[1][0]


async def test_pricing_can_be_overridden_and_statuses_added(start, samples):
    world = await start()
    world.sim.behave(Behaviour(times=1, statuses=(), pricing={"category": "marketing"}))
    wamid = await world.accepted(samples.template())
    await world.sim.settled()
    assert world.receiver.statuses == []
    await world.sim.post_status(wamid, "delivered")
    await world.sim.post_status(wamid, "read", pricing={"type": "free_entry_point", "billable": False})
    await world.sim.post_status(wamid, "failed", error_code=131049)
    delivered, read, failed = world.receiver.statuses
    assert delivered["pricing"]["category"] == "marketing"
    assert read["pricing"]["type"] == "free_entry_point"
    assert failed["errors"][0]["code"] == 131049
    await world.sim.post_event("account_update", {"event": "DISABLED_UPDATE"})
    assert world.receiver.values[-1] == {"event": "DISABLED_UPDATE"}


async def test_webhooks_are_retried_a_bounded_number_of_times(start, samples):
    world = await start(webhook_attempts=3, webhook_retry_s=0.001, statuses=("sent",))
    world.receiver.answers[:] = [500, 503]
    await world.accepted(samples.template())
    await world.sim.settled()
    assert [posted.http_status for posted in world.sim.posted] == [500, 503, 200]
    assert len({posted.body for posted in world.sim.posted}) == 1
    world.receiver.answers[:] = [202, 500, 500]
    await world.accepted(samples.template())
    await world.sim.settled()
    assert len(world.sim.posted) == 6
    assert world.sim.poster.given_up == 1


async def test_nobody_listens(start, samples):
    world = await start(webhook_url="http://127.0.0.1:1/")
    await world.accepted(samples.template())
    await world.sim.settled()
    assert {posted.http_status for posted in world.sim.posted} == {0}
    world.sim.set_webhook("")
    await world.accepted(samples.template())
    await world.sim.settled()
    assert world.sim.sent[1].statuses == ["sent", "delivered", "read"]


async def test_on_premise_statuses_have_no_wrapper(start):
    world = await start()
    await world.sim.write_in()
    body = {"to": "16505551234", "type": "text", "text": {"body": "hi"}}
    await world.client.post("/v1/messages", json=body, headers={"D360-API-KEY": world.sim.config.token})
    await world.sim.settled()
    bare = json.loads(world.receiver.requests[1][0])
    assert bare["statuses"][0]["type"] == "message"
    assert bare["statuses"][0]["status"] == "sent"


async def test_direct_send_is_business_initiated(start, samples):
    world = await start()
    await world.accepted(samples.text(category="utility"))
    await world.sim.settled()
    assert world.receiver.statuses[1]["pricing"] == {
        "billable": True,
        "pricing_model": "PMP",
        "type": "regular",
        "category": "utility",
    }
