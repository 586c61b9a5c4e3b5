"""Templates change: the registry follows webhooks and lists, keeps the history, and warns of what becomes dearer."""

from typing import Any

import pytest

from farebox import metrics
from farebox.core.webhook import TemplateChange
from farebox.simulator.templates import Template
from harness import NUMBER, WABA, World, template
from test_inbound import post

IMPENDING = {"new_category": "UTILITY", "correct_category": "MARKETING", "category_update_timestamp": 1795100000}
DONE = {"previous_category": "UTILITY", "new_category": "MARKETING"}
BACK = {"previous_category": "MARKETING", "new_category": "UTILITY"}


def update(field: str, time: int | None = None, **value: Any) -> dict[str, Any]:
    named = {"message_template_name": "order_update", "message_template_language": "en-US", **value}
    entry = {"id": WABA, "changes": [{"field": field, "value": named}]} | ({"time": time} if time else {})
    return {"object": "whatsapp_business_account", "entry": [entry]}


def moved(time: int | None = None, **value: Any) -> dict[str, Any]:
    return update("template_category_update", time, **value)


def status(event: str, time: int | None = None, **value: Any) -> dict[str, Any]:
    return update("message_template_status_update", time, event=event, **value)


def dearer(account: str = "acme") -> float:
    value: float = metrics.DEARER_TEMPLATES.labels(account)._value.get()
    return value


async def changes(world: World, query: str = "") -> list[tuple[Any, ...]]:
    shown = (await world.admin("GET", f"/v1/templates/changes?{query}"))["changes"]
    return [tuple(change[name] for name in ("what", "old", "new", "state", "source")) for change in reversed(shown)]


async def shown(world: World, name: str = "order_update") -> Any:
    (one,) = (await world.admin("GET", f"/v1/templates?waba_id={WABA}&name={name}"))["templates"]
    return one


WARNED = ("category", "utility", "marketing", "impending", "webhook")
MOVED = ("category", "utility", "marketing", "done", "webhook")
MOVED_BACK = ("category", "marketing", "utility", "done", "webhook")
PAUSED = ("status", "APPROVED", "PAUSED", "done", "webhook")
# Webhooks in order of arrival -> category and status at the end, the history, how often it warned, whether it does so.
HISTORIES: list[tuple[list[dict[str, Any]], tuple[str, str], list[tuple[Any, ...]], int, bool]] = [
    ([moved(**IMPENDING)], ("utility", "APPROVED"), [WARNED], 1, True),
    ([moved(**IMPENDING)] * 2, ("utility", "APPROVED"), [WARNED], 1, True),
    ([moved(**DONE)] * 2, ("marketing", "APPROVED"), [MOVED], 1, True),
    ([moved(1, **IMPENDING), moved(2, **DONE)], ("marketing", "APPROVED"), [WARNED, MOVED], 2, True),
    # Delivered again after the change was done: nothing goes back.
    (
        [moved(1, **IMPENDING), moved(2, **DONE), moved(1, **IMPENDING)],
        ("marketing", "APPROVED"),
        [WARNED, MOVED],
        2,
        True,
    ),
    ([moved(2, **DONE), moved(1, **IMPENDING)], ("marketing", "APPROVED"), [MOVED], 1, True),
    ([moved(1, **DONE), moved(2, **BACK)], ("utility", "APPROVED"), [MOVED, MOVED_BACK], 1, False),
    ([moved(1, **DONE), moved(2, **BACK), moved(1, **DONE)], ("utility", "APPROVED"), [MOVED, MOVED_BACK], 1, False),
    ([status("PAUSED")] * 2, ("utility", "PAUSED"), [PAUSED], 0, False),
    ([status("PAUSED", 2), status("APPROVED", 1)], ("utility", "PAUSED"), [PAUSED], 0, False),
    ([status("APPROVED", message_template_category="MARKETING")], ("marketing", "APPROVED"), [MOVED], 1, True),
    # One second, two webhooks: neither is older.
    ([moved(5, **DONE), status("PAUSED", 5)], ("marketing", "PAUSED"), [MOVED, PAUSED], 1, True),
    ([moved(correct_category="UTILITY", new_category="UTILITY")], ("utility", "APPROVED"), [], 0, False),
    ([moved(), status(""), update("message_template_quality_update")], ("utility", "APPROVED"), [], 0, False),
]


@pytest.mark.parametrize(("webhooks", "end", "history", "warnings", "warns"), HISTORIES)
async def test_webhooks_move_templates(
    world: World,
    webhooks: list[dict[str, Any]],
    end: tuple[str, str],
    history: list[tuple[Any, ...]],
    warnings: int,
    warns: bool,
) -> None:
    before = dearer()
    for webhook in webhooks:
        assert (await post(world, webhook))[0] == 200
    one = await shown(world)
    assert (one["category"], one["status"]) == end
    assert await changes(world) == history
    assert dearer() - before == warnings
    assert (one["warning"] is not None) == warns
    assert (one["last_change"] is not None) == bool(history)


async def test_a_send_is_priced_by_the_category_in_force_and_a_warning_says_what_comes(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"display_phone_number": "+49 1511 2345678"})
    await world.fund("1.00")
    await post(world, moved(**IMPENDING))
    assert (await world.send(template())).headers["X-Farebox-Fare"] == "0.0034"
    warning = (await shown(world))["warning"]
    assert warning["due_at"] == "2026-11-19T14:53:20Z"
    assert warning["dearer"] == {
        "currency": "USD",
        "home": {"market": "Germany", "old_price": "0.055", "new_price": "0.1365"},
        "largest_rise": {"market": "Netherlands", "old_price": "0.05", "new_price": "0.1597"},
    }
    assert "will become dearer, from utility to marketing: 0.055 -> 0.1365 USD in Germany" in caplog.text
    await post(world, moved(**DONE))
    assert (await world.send(template())).headers["X-Farebox-Fare"] == "0.025"


async def test_the_list_moves_templates_and_announces_too(world: World) -> None:
    world.whatsapp.templates.add(WABA, Template("order_update", "MARKETING"))
    await world.gate.templates.sync()
    await world.gate.templates.sync()
    assert await changes(world) == [("category", "utility", "marketing", "done", "sync")]
    await post(world, moved(**DONE))  # the list was faster
    assert len(await changes(world)) == 1


def announced(**fields: Any) -> Template:
    return Template("order_update", "UTILITY", more=fields)


async def test_a_list_announces_what_whatsapp_holds_for_correct(world: World) -> None:
    world.whatsapp.templates.add(WABA, announced(correct_category="MARKETING"))
    for _ in range(2):
        await world.gate.templates.sync()
    assert await changes(world) == [("category", "utility", "marketing", "impending", "sync")]
    assert (await shown(world))["warning"]["due_at"] is None
    world.whatsapp.templates.add(WABA, announced())  # a list that is silent takes nothing back
    await world.gate.templates.sync()
    assert (await shown(world))["warning"] is not None
    world.whatsapp.templates.add(WABA, announced(correct_category="UTILITY"))
    await world.gate.templates.sync()
    assert (await shown(world))["warning"] is None


@pytest.mark.parametrize(
    ("refused", "bid", "announces"),
    [
        ((), 5000, True),
        (("optimization_spec",), None, True),
        (("correct_category",), 5000, False),
        (("optimization_spec", "correct_category"), None, False),
    ],
)
async def test_fields_that_the_upstream_refuses_are_not_asked_for(
    world: World, refused: tuple[str, ...], bid: int | None, announces: bool
) -> None:
    spec = {"bid_strategy": "LOWEST_COST_WITH_BID_CAP", "bid_amount": 5000}
    world.whatsapp.templates.add(WABA, announced(correct_category="MARKETING", optimization_spec=spec))
    world.whatsapp.templates.refused_fields = refused
    assert await world.gate.templates.sync() == 3
    one = await shown(world)
    assert one["bid_amount"] == bid
    assert (one["warning"] is not None) == announces


async def test_a_list_read_before_a_webhook_does_not_undo_it(world: World) -> None:
    registry = world.gate.templates.registry
    asked_after = await registry.last_change()
    await post(world, moved(**DONE))
    stale = world.gate.directory.templates[WABA, "summer_sale", "en_US"]
    said = TemplateChange(WABA, "order_update", "en_US", "utility", stale.status)
    await registry.take_over([said], source="sync", asked_after=asked_after)
    assert (await shown(world))["category"] == "marketing"
    await registry.take_over([said], source="sync", asked_after=await registry.last_change())
    assert (await shown(world))["category"] == "utility"


async def test_a_template_that_nobody_knew_comes_with_its_webhook(world: World) -> None:
    named = {"message_template_name": "brand_new"}
    await post(world, moved(**DONE, **named))
    assert (await shown(world, "brand_new"))["category"] == "marketing"
    assert await changes(world, "name=brand_new") == [MOVED]
    await post(world, status("PAUSED", message_template_name="no_category_known"))
    assert (await world.admin("GET", "/v1/templates?name=no_category_known"))["templates"] == []


async def test_another_accounts_webhook_moves_nothing(world: World) -> None:
    foreign = moved(**DONE)
    foreign["entry"][0]["id"] = "999"
    await post(world, foreign)
    assert (await shown(world))["category"] == "utility"


async def test_pages(world: World) -> None:
    names, after = [], ""
    while True:
        page = await world.admin("GET", f"/v1/templates?limit=1&after={after}")
        names += [one["name"] for one in page["templates"]]
        after = page["next"]
        if after is None:
            break
    assert names == ["login_code", "order_update", "summer_sale"]
    for webhook in (moved(**DONE), moved(**BACK), status("PAUSED")):
        await post(world, webhook)
    first = await world.admin("GET", "/v1/templates/changes?limit=2")
    assert [change["what"] for change in first["changes"]] == ["status", "category"]
    (last,) = (await world.admin("GET", f"/v1/templates/changes?limit=2&before={first['next']}"))["changes"]
    assert last["new"] == "marketing"
