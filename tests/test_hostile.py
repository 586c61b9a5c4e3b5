"""Hostile webhooks, rightly signed: they raise nothing, stop nothing and move no money."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farebox.core.webhook import cut_for, load_webhook, parts_of
from farebox.intake import of_number, tell
from farebox.news import Piece
from farebox.rows import new_hold_id
from harness import NUMBER, USER, WABA, World, template
from test_inbound import inbound, payload, post, sent, status
from test_unmatched import patience

HUGE = 10**400
words = st.sampled_from(
    [
        "",
        "delivered",
        "read",
        "failed",
        "sent",
        "played",
        "DELIVERED",
        "deleted",
        "\0",
        "\ud800",
        "a\0b",
        "x" * 3_000,
        "regular",
    ]
)
YEAR_9999 = "253402300799"
times = st.sampled_from(["-1", -1, 0, "0", YEAR_9999, "9" * 12, "9" * 40, HUGE, 1.5e308, True, None, "1e9"])
oddities = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.just(HUGE) | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
prices = st.fixed_dictionaries(
    {},
    optional={
        "billable": oddities,
        "type": words | oddities,
        "category": words | oddities,
        "pricing_model": st.sampled_from(["PMP", "CBP", 7]),
        "cost": st.fixed_dictionaries({}, optional={"amount": oddities, "currency": oddities}),
    },
)
statuses = st.fixed_dictionaries(
    {},
    optional={
        "id": words | oddities,
        "status": words | oddities,
        "timestamp": times | oddities,
        "recipient_id": st.just(USER) | oddities,
        "biz_opaque_callback_data": words | oddities | st.just(str(new_hold_id(1))),
        "errors": oddities | st.lists(st.fixed_dictionaries({"code": oddities}), max_size=2),
        "conversation": st.fixed_dictionaries({}, optional={"id": words, "expiration_timestamp": times}) | oddities,
        "pricing": prices | oddities,
    },
)
messages = st.fixed_dictionaries(
    {},
    optional={"from": st.just(USER) | oddities, "timestamp": times, "referral": oddities, "group_id": words | oddities},
)
values = st.fixed_dictionaries(
    {},
    optional={
        "statuses": st.lists(statuses | oddities, max_size=4) | oddities,
        "messages": st.lists(messages | oddities, max_size=3) | oddities,
        "calls": st.lists(messages | oddities, max_size=2),
        "message_template_name": words,
        "message_template_language": words | oddities,
        "new_category": oddities,
        "category_update_timestamp": times,
        "event": st.sampled_from(["AUTH_INTL_PRICE_ELIGIBILITY_UPDATE", "VOLUME_BASED_PRICING_TIER_UPDATE", 7]),
        "auth_international_rate_eligibility": oddities | st.fixed_dictionaries({"start_time": times}),
        "volume_tier_info": oddities,
    },
)
fields = st.sampled_from(
    ["messages", "template_category_update", "message_template_status_update", "account_update", 5]
)
changes = st.fixed_dictionaries({"value": values | oddities}, optional={"field": fields})
payloads = st.fixed_dictionaries(
    {"entry": st.lists(st.fixed_dictionaries({"changes": st.lists(changes, max_size=2)}), max_size=2)}
)


def dumped(content: Any) -> bytes:
    return json.dumps(content).encode()


@settings(deadline=None, max_examples=400, suppress_health_check=list(HealthCheck))
@given(content=payloads | oddities)
def test_anything_that_is_json_can_be_read_cut_and_written_down(content: Any) -> None:
    try:
        read = load_webhook(dumped(content))
    except ValueError:
        return
    parts = parts_of(read)
    cut_for(read, {NUMBER}, {WABA})
    for part in parts:
        for kept in (*part.statuses, *part.inbound, *part.templates):
            json.dumps(str(kept)).encode()


def examples(strategy: Any, count: int) -> list[Any]:
    """Draw the same examples in every run."""
    drawn: list[Any] = []

    @settings(
        max_examples=count, database=None, derandomize=True, suppress_health_check=list(HealthCheck), deadline=None
    )
    @given(value=strategy)
    def draw(value: Any) -> None:
        drawn.append(value)

    draw()
    return drawn


async def test_they_move_no_money_and_raise_nothing(world: World) -> None:
    await sent(world)
    before = await world.balance()
    texts = await asyncio.to_thread(examples, values, 150)
    for value in texts:
        body = json.loads(json.dumps(payload(**{name: value[name] for name in value if name != "metadata"})))
        for part in parts_of(load_webhook(dumped(body))):
            pieces = of_number(world.gate, world.gate.directory.numbers[NUMBER], part)
            await tell(world.gate, [Piece.of_record(json.loads(json.dumps(piece.record()))) for piece in pieces])
    await patience(world)
    assert await world.balance() == before
    await post(world, payload(**inbound()))
    assert (await world.send(template())).status == 200
    await world.books_kept()
    assert await world.differences() == []


async def test_a_window_of_whatsapp_does_not_last_for_ever(world: World) -> None:
    """An end in the year 9999 would make every message to that user free."""
    wamid = await sent(world)
    free = {"billable": False, "pricing_model": "PMP", "type": "free_entry_point", "category": "utility"}
    conversation = {"id": "c", "expiration_timestamp": YEAR_9999}
    late = {"timestamp": YEAR_9999, "pricing": free, "conversation": conversation}
    await post(world, payload(statuses=[{**status(wamid), **late}]))
    assert (await world.message(wamid))["state"] == "settled"
    assert (await world.send(template())).headers["X-Farebox-Class"] == "free"
    await world.admin("PUT", "/v1/clock", {"advance_s": 9 * 86_400})
    assert (await world.send(template())).headers["X-Farebox-Class"] == "paid"


@pytest.mark.parametrize("depth", [100, 900, 960, 990, 100_000])
async def test_nesting_is_relayed_or_refused(world: World, depth: int) -> None:
    """To one application and to two, for which it must be cut."""
    deep = dumped(payload(**inbound())).replace(b'"text": {', b'"x": ' + b"[" * depth + b"]" * depth + b', "text": {')
    assert (await post(world, deep))[0] in (200, 400)
    await world.add_number("200", app_url=f"{world.app_url}/other")
    both = payload(**inbound())
    both["entry"] += payload("200", **inbound())["entry"]
    deep = dumped(both).replace(b'"text": {', b'"x": ' + b"[" * depth + b"]" * depth + b', "text": {')
    assert (await post(world, deep))[0] in (200, 400)
