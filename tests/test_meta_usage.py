"""A month beside the figures of the simulated WhatsApp, which counts for itself."""

import argparse
import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from farebox import meta_usage
from farebox.commands import reconcile
from farebox.commands.opened import UsageError
from farebox.meta_usage import Compared, MetaUnavailableError, compare_with_meta
from farebox.simulator.behaviour import Behaviour
from harness import GERMAN, NUMBER, USER, World, template, text

DAY_S = 86_400


async def compared(world: World, month: date | None = None) -> Compared:
    return await compare_with_meta(world.gate, world.gate.directory.numbers[NUMBER], month)


async def to(world: World, now: str) -> None:
    await world.admin("PUT", "/v1/clock", {"now": now})


async def three_days(world: World, first: str = "2026-11-03T12:00:00Z") -> None:
    """Two categories in two markets on three days, a free message, and one that fails."""
    await to(world, first)
    await world.fund("5.00")
    for _ in range(3):
        await world.whatsapp.write_in(USER)
        for message in (template(), template(), template("summer_sale", GERMAN), text()):
            assert (await world.send(message)).status == 200
        await world.books_kept()
        await world.admin("PUT", "/v1/clock", {"advance_s": DAY_S})
    world.whatsapp.behave(Behaviour(times=1, statuses=("sent", "failed")))
    await world.send(template())
    await world.books_kept()


async def test_a_month_that_agrees(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meta_usage, "PAGE_POINTS", 2)  # several pages
    await three_days(world)
    message = world.whatsapp.sent[0]
    another = replace(message.number, display_number="4930123456")  # of the same account
    price = world.whatsapp.billing.forecast(message)
    world.whatsapp.analytics.record(another, message.user, price, world.whatsapp.clock.now() - DAY_S)
    found = await compared(world)
    assert found.gaps == ()
    assert (found.from_, found.until, found.cells) == (date(2026, 11, 1), date(2026, 11, 6), 9)
    assert (found.ours.paid, found.ours.free, found.ours.cost_micros) == (9, 3, 3 * (2 * 3_400 + 136_500))
    assert (found.theirs.paid, found.theirs.free, found.theirs.cost_micros) == (9, 3, None)
    monkeypatch.setattr(meta_usage, "MAX_PAGES", 2)
    with pytest.raises(MetaUnavailableError, match="have more than 2 pages"):
        await compared(world)


async def test_a_delivery_that_nobody_told_us_of(world: World) -> None:
    await three_days(world)
    world.whatsapp.behave(Behaviour(times=1, statuses=()))
    await world.send(template())
    lost = world.whatsapp.sent[-1]  # WhatsApp delivers it, and the webhook never comes
    world.whatsapp.billing.charge(lost, lost.user)
    await world.admin("PUT", "/v1/clock", {"advance_s": DAY_S})
    (gap,) = (await compared(world)).gaps
    assert (gap.theirs.paid, gap.ours.paid, gap.ours.open) == (1, 0, 1)
    assert "2026-11-06 North America utility: Meta counts 1 paid and 0 free, here 0 paid" in gap.text
    assert "1 sent on that day are still open here" in gap.text


async def test_costs_are_compared_without_the_markup(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.admin("PATCH", "/v1/accounts/acme", {"markup_percent": "10", "tax_percent": "19"})
    await world.gate.directory.load_numbers(world.gate.ledger)
    await three_days(world)
    points = world.whatsapp.analytics.points
    rates = {"UTILITY": 0.0034, "MARKETING": 0.1365, "SERVICE": 0}

    def with_costs(*arguments: Any) -> dict[str, Any]:
        page = points(*arguments)
        for point in page["data"][0]["data_points"]:
            point["cost"] = point["volume"] * rates[point["pricing_category"]]
        return page

    monkeypatch.setattr(world.whatsapp.analytics, "points", with_costs)
    assert (await compared(world)).gaps == ()
    rates["MARKETING"] = 0.15
    gaps = (await compared(world)).gaps
    assert [gap.cell.category for gap in gaps] == ["marketing"] * 3
    assert "1 paid at 0.15 and 0 free, here 1 paid at 0.1365 and 0 free: the price differs" in gaps[0].text


async def test_conversations_are_compared_where_they_were_charged(world: World) -> None:
    await three_days(world, "2024-11-05T12:00:00Z")
    await world.whatsapp.write_in("5511987654321")
    assert (await world.send(text("5511987654321"))).status == 200  # opens a free service conversation
    await world.books_kept()
    await world.admin("PUT", "/v1/clock", {"advance_s": DAY_S})
    assert "FREE_TIER" in str(world.whatsapp.analytics._volume)
    found = await compared(world)
    assert found.gaps == ()
    assert (found.ours.paid, found.theirs.paid) == (6, 6)  # of two utility messages a day the second rides


async def test_what_can_not_be_compared_is_one_sentence(world: World) -> None:
    await to(world, "2026-11-03T12:00:00Z")
    with pytest.raises(MetaUnavailableError, match="no day of 2026-12 is over yet"):
        await compared(world, date(2026, 12, 1))
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"upstream_token": "of-somebody-else"})
    await world.gate.directory.load_numbers(world.gate.ledger)
    with pytest.raises(MetaUnavailableError, match=r"^WhatsApp refuses the figures of \d+, HTTP 401: "):
        await compared(world)
    await world.gate.ledger._pool.execute("INSERT INTO dropped_month VALUES ('2026-10-01', now())")
    with pytest.raises(MetaUnavailableError, match="the holds of 2026-10 were put away"):
        await compared(world, date(2026, 10, 1))
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"waba_id": ""})
    await world.gate.directory.load_numbers(world.gate.ledger)
    with pytest.raises(MetaUnavailableError, match="only a number of the Cloud API"):
        await compared(world)


async def test_the_command(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    def options(**given: object) -> argparse.Namespace:
        asked = {"number": None, "repair": False, "json": False, "meta": True, "month": "2026-11"}
        return argparse.Namespace(**{**asked, **given})

    await three_days(world)
    settings = world.gate.settings
    assert await reconcile.run(settings, options()) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line == (
        f"number {NUMBER} (USD), 2026-11-01 to 2026-11-06 (not included): Meta 9 paid and 3 free, "
        "here 9 paid at 0.4299 and 3 free; 0 of 9 days, markets and categories differ"
    )
    world.whatsapp.analytics._volume.clear()
    assert await reconcile.run(settings, options(json=True)) == 1
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["numbers"][0]["differences"]) == 9
    assert shown["numbers"][0]["differences"][0]["ours"] == {"paid": 1, "free": 0, "cost": "0.1365"}
    for wrong in ({"month": "November"}, {"meta": False}, {"repair": True}):
        with pytest.raises(UsageError):
            await reconcile.run(settings, options(**wrong))
