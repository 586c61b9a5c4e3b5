"""Auto-renewal and payments by card on the page, with a provider of play money."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from farebox.config import Settings
from farebox.web.users import Role, put_user
from harness import NUMBER, World
from page.people import Reader

PASSWORD = "correct horse battery"
RULE = {"mode": "manual", "threshold": "10.00", "amount": "50.00", "monthly_cap": "200.00", "method": "sandbox"}
PATH = f"/settings/{NUMBER}/auto-renewal"


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    async with World.open(settings.model_copy(update={"sandbox_payments": True})) as opened:
        yield opened


@pytest.fixture
async def fin(world: World) -> Reader:
    await put_user(world.gate.ledger, "fin", PASSWORD, Role.FINANCE)
    made = Reader(world)
    await made.sign_in("fin", PASSWORD)
    return made


async def test_a_rule_is_set_and_switched_off(world: World, fin: Reader) -> None:
    await world.fund("100.00")
    await fin.post(PATH, **RULE)
    rule = await world.admin("GET", f"/v1/numbers/{NUMBER}/auto-renewal")
    assert {name: rule[name] for name in RULE} == RULE
    assert "adds $50.00 below $10.00" in (await fin.get("/settings")).text
    await fin.post(PATH, mode="off")
    assert (await world.admin("GET", f"/v1/numbers/{NUMBER}/auto-renewal"))["mode"] == "off"


async def test_what_is_no_rule_is_said_in_the_form(world: World, fin: Reader) -> None:
    wrong = await fin.post(PATH, status=422, **RULE | {"monthly_cap": ""})
    assert "monthly_cap: must be given" in wrong.text
    assert 'value="50.00"' in wrong.text
    assert "is no amount" in (await fin.post(PATH, status=422, **RULE | {"threshold": "soon"})).text
    assert (await world.admin("GET", f"/v1/numbers/{NUMBER}/auto-renewal"))["mode"] == "off"


async def test_a_viewer_sets_no_rule(world: World) -> None:
    await put_user(world.gate.ledger, "vera", PASSWORD, Role.VIEWER)
    vera = Reader(world)
    await vera.sign_in("vera", PASSWORD)
    await vera.post(PATH, status=403, **RULE)
    assert "Set auto-renewal" not in (await vera.get("/settings")).text


@pytest.mark.parametrize(("amount", "state"), [("25.00", "The money is available"), ("24.08", "on its way")])
async def test_paying_by_card(world: World, fin: Reader, amount: str, state: str) -> None:
    review = await fin.post("/funds/review", status=200, number=NUMBER, amount=amount, method="sandbox")
    fields = dict(re.findall(r'name="(number|preview|method|amount)" value="([^"]+)"', review.text))
    place = (await fin.post("/funds/confirm", **fields)).headers["Location"]
    assert state in (await fin.get(place)).text
    assert (await fin.post("/funds/confirm", **fields)).headers["Location"] == place
    shown = await world.admin("GET", f"/v1/numbers/{NUMBER}")
    there, awaited = (amount, "0.00") if amount == "25.00" else ("0.00", amount)
    assert (shown["balance"]["available"], shown["balance"]["pending"]) == (there, awaited)
    if amount != "25.00":
        await fin.post(place, deed="look")
        await fin.post(place, deed="cancel")
        assert "cancelled" in (await fin.get(place)).text


async def test_a_card_is_saved_and_removed(world: World, fin: Reader) -> None:
    await fin.post("/billing/cards/sandbox", token="4242-2030-12")
    assert "•••• 4242" in (await fin.get("/billing")).text
    assert "token" in (await fin.post("/billing/cards/sandbox", status=422, token="x")).text
    await fin.post("/billing/cards/sandbox/remove")
    assert (await world.admin("GET", "/v1/accounts/acme/cards"))["cards"] == []
    assert "No card is saved." in (await fin.get("/billing")).text


async def test_a_card_is_entered_at_its_provider(world: World, fin: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/billing/cards/sandbox/link"
    assert "method: " in (await fin.post(path, status=422)).text  # play money has no such page

    async def make_link(*_: object) -> SimpleNamespace:
        return SimpleNamespace(url="https://pay.example.com/s?a=1&b=2", expires_at=datetime(2026, 11, 28, tzinfo=UTC))

    monkeypatch.setattr("farebox.cards.make_link", make_link)
    shown = (await fin.post(path, status=200)).text
    assert 'href="https://pay.example.com/s?a=1&amp;b=2"' in shown
