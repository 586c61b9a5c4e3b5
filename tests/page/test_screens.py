"""Every screen without a browser: what it says, what its forms do, who may."""

import csv
import io
import json
import re
from decimal import Decimal

import pytest

from farebox.web.screens import settings
from farebox.web.users import Role, put_user
from harness import GERMAN, NUMBER, World, template
from page.people import Reader

SCREENS = ("/", "/usage", "/charges", "/settings", "/funds", "/billing", "/movements", "/messages", "/drift",
           "/quarantine", "/audit", f"/statements/{NUMBER}/2026-01", f"/movements/day?number={NUMBER}&day=2026-01-02",
           f"/funds?number={NUMBER}&step=amount")  # fmt: skip
PASSWORD = "correct horse battery"


@pytest.mark.parametrize("language", ["en-GB", "de-DE", "fr"])
async def test_every_screen_shows_an_empty_account(world: World, reader: Reader, language: str) -> None:
    reader.language = language
    for path in SCREENS:
        seen = await reader.get(path)
        assert "<h1>" in seen.text
        assert "None" not in re.sub(r"<[^>]*>", "", seen.text)


async def test_no_account_at_all(world: World, reader: Reader) -> None:
    await world.gate.ledger._pool.execute("UPDATE number SET account_id = 'acme'")
    for path in ("/", "/usage", "/charges", "/settings", "/funds", "/billing", "/movements", "/messages"):
        await reader.get(f"{path}?account=other")


async def test_what_a_viewer_may_not_do(world: World) -> None:
    await put_user(world.gate.ledger, "vera", PASSWORD, Role.VIEWER)
    vera = Reader(world)
    await vera.sign_in("vera", PASSWORD)
    for path in SCREENS:
        assert (await vera.ask("GET", path)).status == (403 if path.startswith("/funds") else 200)
    for path in ("/funds/review", "/funds/confirm", f"/settings/{NUMBER}", "/billing", "/quarantine/1"):
        await vera.post(path, status=403)


async def test_finance_adds_funds_and_an_operator_sees_them_arrive(world: World, reader: Reader) -> None:
    await put_user(world.gate.ledger, "fin", PASSWORD, Role.FINANCE)
    fin = Reader(world)
    await fin.sign_in("fin", PASSWORD)
    assert "is no amount" in (await fin.post("/funds/review", status=422, number=NUMBER, amount="ten")).text
    review = await fin.post("/funds/review", status=200, number=NUMBER, amount="1,234.50", method="manual")
    fields = dict(re.findall(r'name="(number|preview|method|amount)" value="([^"]+)"', review.text))
    assert fields["amount"] == "1234.50"
    seen = await fin.post("/funds/confirm", **fields, arrived="yes")  # not his to say
    again = await fin.post("/funds/confirm", **fields)
    place = seen.headers["Location"]
    assert again.headers["Location"] == place
    assert "on its way" in (await fin.get(place)).text
    assert (await world.balance())["available"] == "0.00"
    assert "$1,234.50" in (await fin.get("/")).text  # pending
    await fin.post(place, status=403, deed="arrived")
    await reader.post(place, deed="arrived")
    assert "The money is available" in (await fin.get(place)).text
    assert (await world.balance())["available"] == "1234.50"
    who = {row["who"] for row in (await world.admin("GET", "/v1/audit?kind=topup"))["audit"]}
    assert {"user fin", "user olga"} <= who


async def test_an_operator_who_saw_the_money_books_it_at_once(world: World, reader: Reader) -> None:
    reader.language = "de-DE"
    review = await reader.post("/funds/review", status=200, number=NUMBER, amount="1.234,50", method="manual")
    fields = dict(re.findall(r'name="(number|preview|method|amount)" value="([^"]+)"', review.text))
    for _ in range(2):
        await reader.post("/funds/confirm", **fields, arrived="yes")
    assert (await world.balance())["available"] == "1234.50"


async def test_settings_are_changed_in_place(world: World, reader: Reader) -> None:
    form = {"low_balance_at": "5.00", "block_at": "0.10", "mode": "shadow", "funds_rule": "cover"}
    await reader.post(f"/settings/{NUMBER}", **form)
    number = await world.admin("GET", f"/v1/numbers/{NUMBER}")
    assert {name: number[name] for name in form} == form
    assert "is no amount" in (await reader.post(f"/settings/{NUMBER}", status=422, **form | {"block_at": "x"})).text
    await reader.post(f"/settings/{NUMBER}", status=422, **form | {"mode": "free"})
    assert "is no whole number" in (await reader.post(f"/settings/{NUMBER}", status=422, **form, throughput="x")).text
    await reader.post(f"/settings/{NUMBER}", **form | {"low_balance_at": "", "throughput": "80"})
    assert (await world.admin("GET", f"/v1/numbers/{NUMBER}"))["throughput"] == 80
    await reader.post(f"/settings/{NUMBER}", **form | {"low_balance_at": ""})
    assert (await world.admin("GET", f"/v1/numbers/{NUMBER}"))["low_balance_at"] is None


async def test_alert_levels_are_set_in_place(world: World, reader: Reader) -> None:
    form = {"block_at": "0.00", "mode": "enforce", "funds_rule": "above_zero"}
    await reader.post(f"/settings/{NUMBER}", **form, alert_amounts="1,000.00; 50", alert_days="3;7")
    levels = (await world.admin("GET", f"/v1/numbers/{NUMBER}/alert-levels"))["levels"]
    assert {level["amount"] for level in levels} == {"1000.00", "50.00", None}
    assert {level["days"] for level in levels} == {3, 7, None}
    assert "3 days" in (await reader.get("/settings")).text
    for wrong in ({"alert_amounts": "1;x", "alert_days": ""}, {"alert_amounts": "", "alert_days": "soon"}):
        await reader.post(f"/settings/{NUMBER}", status=422, **form, **wrong)
    await reader.post(f"/settings/{NUMBER}", **form)  # not said: left alone
    assert len((await world.admin("GET", f"/v1/numbers/{NUMBER}/alert-levels"))["levels"]) == 4


async def test_settings_of_many_numbers_come_in_pages(
    world: World, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "PAGE", 1)
    await world.add_number("201")
    first, second = (await reader.get("/settings")).text, (await reader.get("/settings?from=1")).text
    assert (f'id="n{NUMBER}"' in first, 'id="n201"' in first, "?from=1" in first) == (True, False, True)
    assert (f'id="n{NUMBER}"' in second, 'id="n201"' in second, "?from=0" in second) == (False, True, True)
    assert 'id="n201"' in (await reader.get("/settings?renewal=201")).text
    assert f'id="n{NUMBER}"' in (await reader.get("/settings?from=x")).text


async def test_spend_limits_are_set_and_shown_with_what_is_used(world: World, reader: Reader) -> None:
    await world.fund("10.00")
    path = f"/settings/{NUMBER}/limits"
    await reader.post(path, **{"day-all": "1.00", "month-marketing": "20"})
    await world.send(template("summer_sale", to=GERMAN))
    await world.books_kept()
    limits = (await world.admin("GET", f"/v1/numbers/{NUMBER}/limits"))["limits"]
    assert [(one["period"], one["category"], one["limit"]) for one in limits] == [
        ("day", "all", "1.00"),
        ("month", "marketing", "20.00"),
    ]
    assert "$0.1365 used, $0.8635 left" in (await reader.get(path)).text
    assert f'href="{path}"' in (await reader.get("/settings")).text
    wrong = (await reader.post(path, status=422, **{"day-all": "much"})).text
    assert "is no amount" in wrong
    assert 'value="much"' in wrong
    await reader.post(path, **{"day-all": "2.00"})
    assert len((await world.admin("GET", f"/v1/numbers/{NUMBER}/limits"))["limits"]) == 1


async def test_channels_and_what_was_told(world: World, reader: Reader) -> None:
    await world.fund("10.00")
    await world.admin("PUT", f"/v1/numbers/{NUMBER}/alert-levels", {"amounts": ["50.00"]})
    assert "Nobody yet" in (await reader.get("/alerts")).text
    form = {"kind": "webhook", "target": "https://example.com/alerts", "name": "Books"}
    made = (await reader.post("/alerts/channels", status=200, **form)).text
    (secret,) = re.findall(r'<code class="secret">([^<]+)</code>', made)
    shown = (await reader.get("/alerts")).text
    assert "https://example.com/alerts" in shown
    assert secret not in shown
    assert "must be" in (await reader.post("/alerts/channels", status=422, **form | {"target": "nowhere"})).text
    (channel,) = (await world.admin("GET", "/v1/accounts/acme/channels"))["channels"]
    await reader.post(f"/alerts/channels/{channel['channel_id']}/remove")
    assert (await world.admin("GET", "/v1/accounts/acme/channels"))["channels"] == []


async def test_a_tax_id_is_checked(world: World, reader: Reader) -> None:
    assert (await reader.post("/billing", status=422, country="DE", tax_id="DE123")).text.count("DE123") >= 1
    await reader.post("/billing", country="de", tax_id="DE136695976", legal_name="Acme GmbH", address="Weg 1\nBerlin")
    account = await world.admin("GET", "/v1/accounts/acme")
    assert (account["country"], account["tax_id"], account["address"]) == ("DE", "DE136695976", ["Weg 1", "Berlin"])


async def test_messages_are_found_and_explain_themselves(world: World, reader: Reader) -> None:
    await world.fund("1.00")
    sent = await world.send({**template("summer_sale", to=GERMAN), "biz_opaque_callback_data": "order-77"})
    await world.books_kept()
    await world.sweep.run()  # where the status was faster than the note of its wamid
    hold = sent.headers["X-Farebox-Hold"]
    wamid = sent.json["messages"][0]["id"]
    for asked in ("5678", GERMAN, "%2B" + GERMAN, "order-77"):
        assert f"/messages/{hold}" in (await reader.get(f"/messages?q={asked}")).text
    for asked in (wamid, hold):
        assert (await reader.get(f"/messages?q={asked}", status=303)).headers["Location"] == f"/messages/{hold}"
    assert "Nothing was found" in (await reader.get("/messages?q=0000")).text
    page = (await reader.get(f"/messages/{hold}")).text
    assert "$0.1365 were charged" in page
    assert GERMAN not in page
    reader.language = "de-DE"
    page = (await reader.get(f"/messages/{hold}")).text
    assert "eine Marketing-Vorlage kostet den Marketing-Preis des Marktes" in page
    assert "So wurden 0,1365\xa0$ berechnet." in page
    assert GERMAN not in (await reader.get("/messages")).text
    await reader.get("/messages/00000000-0000-0000-0000-000000000000", status=404)


async def test_the_statement_adds_up_and_says_what_the_ledger_says(world: World, reader: Reader) -> None:
    await world.fund("1.00")
    await world.admin("POST", f"/v1/numbers/{NUMBER}/topups", {"amount": "2.00", "reference": "=cmd|' /C calc'!A0"})
    for _ in range(3):
        await world.send(template("summer_sale", to=GERMAN))
    await world.books_kept()
    month = (await reader.get("/movements")).text.partition(f"/statements/{NUMBER}/")[2][:7]
    told = json.loads((await reader.get(f"/statements/{NUMBER}/{month}?as=json")).text)
    assert (told["start"], told["added"], told["charged"], told["end"]) == ("0.00", "3.00", "0.4095", "2.5905")
    assert told["end"] == (await world.balance())["available"]
    seen = await reader.get(f"/statements/{NUMBER}/{month}?as=csv")
    rows = list(csv.DictReader(io.StringIO(seen.text)))
    assert sum(Decimal(row["amount"]) for row in rows if row["amount"]) == Decimal("2.5905")
    assert (rows[0]["kind"], rows[-1]["kind"], rows[-1]["balance"]) == ("start", "end", "2.5905")
    assert not any(cell.startswith("=") for row in rows for cell in row.values())
    day = next(row["day"] for row in rows if row["kind"] == "messages")
    page = (await reader.get(f"/movements/day?number={NUMBER}&day={day}")).text
    entries = re.sub("<[^>]*>", "", page)  # what is finer than a cent is set smaller
    assert "$2.5905" in entries
    assert entries.count("-$0.1365") == 3
    assert "Statement of" in (await reader.get(f"/statements/{NUMBER}/{month}")).text


async def test_what_is_not_there(reader: Reader) -> None:
    for path in ("/movements?number=77", f"/statements/{NUMBER}/2999-01", "/statements/77/2026-01"):
        assert "That did not work" in (await reader.get(path, status=404)).text
    for path in (f"/statements/{NUMBER}/nonsense", "/movements/day?day=x", "/quarantine?before=x", "/audit?before=0"):
        await reader.get(path, status=422)


async def test_the_account_and_the_language_are_remembered(world: World, reader: Reader) -> None:
    await world.admin("PUT", "/v1/accounts/beta", {"name": "Beta", "currency": "USD"})
    assert "Acme" in (await reader.get("/")).text
    await reader.get("/?account=beta&language=de")
    page = (await reader.get("/")).text
    assert '<option value="beta" selected>' in page
    assert '<html lang="de' in page


async def test_the_page_and_the_metrics_show_the_same_money(world: World, reader: Reader) -> None:
    await world.fund("12.50")
    await world.send(template("summer_sale", to=GERMAN))
    await world.books_kept()
    async with world.session.get(world.admin_url + "/metrics") as answer:
        metrics = await answer.text()
    (balance,) = re.findall(r'farebox_balance\{account="acme",currency="USD"\} ([0-9.]+)', metrics)
    live = json.loads((await reader.get("/live")).text)["texts"]
    assert live[f"balance:{NUMBER}"] == f"${balance}"
    usage = await world.admin("GET", "/v1/usage")
    assert sum(Decimal(period["charged"]) for period in usage["usage"]) == Decimal("12.50") - Decimal(balance)
