"""Conversation-based pricing, until 2025-06-30."""

from datetime import UTC, datetime

import pytest

HOUR_S = 3600


@pytest.fixture
async def world(start):
    world = await start(statuses=("sent", "delivered"))
    world.sim.clock.set(datetime(2025, 3, 1, 12, tzinfo=UTC).timestamp())
    return world


async def deliver(world, body):
    await world.accepted(body)
    await world.sim.settled()
    status = world.receiver.statuses[-1]
    return status["conversation"]["id"], status["pricing"]


async def test_templates_share_the_conversation_of_their_category(world, samples):
    first, pricing = await deliver(world, samples.template("summer_sale"))
    assert pricing == {"billable": True, "pricing_model": "CBP", "category": "marketing"}
    assert (await deliver(world, samples.template("summer_sale")))[0] == first
    other, pricing = await deliver(world, samples.template("order_update"))
    assert other != first
    assert pricing["category"] == "utility"
    world.sim.clock.offset_s += 24 * HOUR_S + 1
    assert (await deliver(world, samples.template("summer_sale")))[0] not in (first, other)


async def test_free_form_rides_on_what_is_open(world, samples):
    await world.sim.write_in()
    marketing, _ = await deliver(world, samples.template("summer_sale"))
    ridden, pricing = await deliver(world, samples.text())
    assert (ridden, pricing["category"]) == (marketing, "marketing")


async def test_service_is_free_since_november_2024(world, samples):
    await world.sim.write_in()
    _, pricing = await deliver(world, samples.text())
    assert pricing == {"billable": False, "pricing_model": "CBP", "category": "service"}


async def test_before_that_a_thousand_conversations_were_free(world, samples):
    world.sim.config.free_pool = 1
    world.sim.clock.set(datetime(2024, 3, 1, 12, tzinfo=UTC).timestamp())
    outcome = []
    for user in ("16505551234", "16505551234", "4915112345678"):
        await world.sim.write_in(user)
        outcome.append((await deliver(world, samples.text(to=user)))[1]["billable"])
    assert outcome == [False, False, True]


async def test_a_free_entry_point_closes_all_else(world, samples):
    marketing, _ = await deliver(world, samples.template("summer_sale"))
    await world.sim.write_in(referral=True)
    window, pricing = await deliver(world, samples.text())
    assert pricing == {"billable": False, "pricing_model": "CBP", "category": "referral_conversion"}
    assert (await deliver(world, samples.template("summer_sale")))[0] == window
    world.sim.clock.offset_s += 72 * HOUR_S + 1
    assert (await deliver(world, samples.template("summer_sale")))[0] not in (window, marketing)


async def test_a_failed_message_opens_nothing(world, samples):
    world.sim.config.statuses = ("failed",)
    await world.accepted(samples.template("summer_sale"))
    world.sim.config.statuses = ("sent", "delivered")
    await world.sim.settled()
    world.sim.clock.offset_s += 20 * HOUR_S
    first, _ = await deliver(world, samples.template("summer_sale"))
    world.sim.clock.offset_s += 20 * HOUR_S
    assert (await deliver(world, samples.template("summer_sale")))[0] == first
