"""Top-ups step by step: preview, confirm, pending, its end; the saved card; the Tax ID that comes first."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from admin_client import Api

from farebox import topups
from farebox.config import Settings
from farebox.core.topup import State
from farebox.gate import Gate, open_gate
from farebox.payments.sandbox import CONFIRM, DECLINED, LATE, STUCK, Sandbox

TOPUPS = "/v1/numbers/1/topups"
HALF_AN_HOUR_MS = 30 * 60_000


@pytest.fixture
async def gate(settings: Settings) -> AsyncIterator[Gate]:
    async with open_gate(settings.model_copy(update={"sandbox_payments": True})) as opened:
        yield opened


@pytest.fixture
async def shop(api: Api) -> Api:
    await api.add_number()
    return api


def provider(api: Api) -> Sandbox:
    method = api.gate.payments["sandbox"]
    assert isinstance(method, Sandbox)
    return method


async def balance(api: Api) -> dict[str, str]:
    number = await api.ok("GET", "/v1/numbers/1")
    return {name: number["balance"][name] for name in ("available", "pending")}


async def preview(api: Api, amount: str = "20.00", method: str = "sandbox") -> Any:
    return await api.ok("POST", f"{TOPUPS}?preview=true", {"amount": amount, "method": method})


async def test_a_preview_says_what_the_confirm_does_and_the_confirm_does_it(shop: Api) -> None:
    seen = await preview(shop)
    assert (seen["state"], seen["amount"], seen["fee"], seen["charge"]) == ("draft", "20.00", "0.80", "20.80")
    assert seen["preview_id"] == seen["topup_id"]
    assert await balance(shop) == {"available": "0.00", "pending": "0.00"}
    assert (await shop.ok("GET", TOPUPS))["topups"] == []
    done = await shop.ok("POST", TOPUPS, {"preview_id": seen["preview_id"], "reference": "r"}, status=201)
    assert (done["state"], done["fee"], done["charge"], done["reference"]) == ("succeeded", "0.80", "20.80", "r")
    assert (done["preview_id"], done["preview_until"], done["why"]) == (None, None, "one-time")
    again = await shop.ok("POST", TOPUPS, {"preview_id": seen["preview_id"]}, status=201)
    assert again == done
    assert (await balance(shop), provider(shop).charges) == ({"available": "20.00", "pending": "0.00"}, 1)


async def test_a_preview_says_what_is_needed_by_consumption_and_by_a_plan(shop: Api) -> None:
    path, body = f"{TOPUPS}?preview=true", {"method": "sandbox"}
    said = await shop.refused("POST", path, body)
    assert said.startswith("amount: is missing, and an estimate needs 7 days with charges; name an amount, or what is ")
    planned = await shop.ok("POST", path, {**body, "planned": "DE:marketing:1000"})
    estimate = planned["estimate"]
    assert (estimate["consumption"], estimate["plan"]["cost"], estimate["suggested"]) == (None, "136.50", "137.00")
    assert (planned["amount"], planned["charge"], estimate["lasts_days"]) == ("137.00", "142.48", None)
    await shop.gate.ledger._pool.execute(
        "INSERT INTO usage (number_id, day, category, market, class, messages, billed_micros) "
        "SELECT '1', (now() AT TIME ZONE 'UTC')::date - d, 'marketing', 'Germany', 'paid', 1, 1440000 "
        "FROM generate_series(1, 14) AS d"
    )
    await shop.ok("POST", TOPUPS, {"amount": "4.50"}, status=201)
    await shop.ok("POST", TOPUPS, {"amount": "1.00", "awaited": True}, status=201)
    seen = await shop.ok("POST", path, {**body, "days": 10})
    consumption = seen["estimate"]["consumption"]
    assert (consumption["read_from_days"], consumption["expected"], consumption["low"]) == (14, "14.40", "14.40")
    assert (seen["estimate"]["pending"], consumption["missing"], seen["amount"]) == ("1.00", "8.90", "9.00")
    assert seen["estimate"]["lasts_days"] == 10
    assert (await shop.ok("POST", path, {**body, "amount": "5.00"}))["estimate"]["suggested"] == "38.00"
    assert "covers the plan" in await shop.refused("POST", path, {**body, "planned": "DE:marketing:1"})
    assert "lasts for 2 days already" in await shop.refused("POST", path, {**body, "days": 2})
    assert "?preview=true" in await shop.refused("POST", TOPUPS, {"amount": "5.00", "days": 2})
    done = await shop.ok("POST", TOPUPS, {"preview_id": seen["preview_id"]}, status=201)
    assert (done["amount"], done["estimate"]) == ("9.00", None)


async def test_price_and_fee_stand_between_preview_and_confirm(shop: Api) -> None:
    seen = await preview(shop)
    object.__setattr__(provider(shop), "_terms", provider(shop).terms("USD").__class__(percent_ppm=100_000))
    assert (await preview(shop))["fee"] == "2.00"
    done = await shop.ok("POST", TOPUPS, {"preview_id": seen["preview_id"]}, status=201)
    assert (done["fee"], done["charge"]) == ("0.80", "20.80")


async def test_what_would_exceed_the_largest_balance_is_refused_before_it_is_paid(shop: Api) -> None:
    seen = await preview(shop)
    await shop.ok("POST", TOPUPS, {"amount": "9007199254.00", "awaited": True}, status=201)  # on its way
    said = "amount: the balance would exceed the largest one, 9007199254.740991; ask for less."
    for path, body in (
        (TOPUPS, {"amount": "1.00", "method": "sandbox"}),
        (f"{TOPUPS}?preview=true", {"amount": "1.00", "method": "sandbox"}),
        (TOPUPS, {"preview_id": seen["preview_id"]}),
    ):
        assert await shop.refused("POST", path, body) == said
    assert provider(shop).charges == 0


async def test_a_confirm_at_once_charges_once(shop: Api) -> None:
    seen = await preview(shop)
    answers = await asyncio.gather(*(shop.ask("POST", TOPUPS, {"preview_id": seen["preview_id"]}) for _ in range(8)))
    assert {answer.json["state"] for answer in answers} == {"succeeded"}
    assert (await balance(shop), provider(shop).charges) == ({"available": "20.00", "pending": "0.00"}, 1)


async def test_a_preview_is_good_for_half_an_hour(shop: Api) -> None:
    old, older = await preview(shop), await preview(shop)
    await shop.gate.ledger.fetch("set_clock", HALF_AN_HOUR_MS)
    await shop.gate.clock.sync(shop.gate.ledger)
    for _ in range(2):
        said = await shop.refused("POST", TOPUPS, {"preview_id": old["preview_id"]}, status=409)
        assert said.startswith("preview_id: this number has no such preview that is younger than 30 minutes;")
        assert await topups.look_at_all(shop.gate) == 0
    assert (await shop.ok("GET", f"{TOPUPS}/{older['topup_id']}"))["state"] == "cancelled"
    await shop.add_number("2")
    seen = await preview(shop)
    await shop.refused("POST", "/v1/numbers/2/topups", {"preview_id": seen["preview_id"]}, status=409)


async def test_pending_is_shown_and_not_available(shop: Api) -> None:
    provider(shop).next.extend([STUCK, CONFIRM])
    await shop.ok("POST", TOPUPS, {"amount": "5.00", "method": "sandbox", "reference": "stuck"}, status=201)
    linked = await shop.ok("POST", TOPUPS, {"amount": "7.00", "method": "sandbox"}, status=201)
    assert linked["action_url"].startswith("https://pay.example/confirm/")
    assert linked["balance"] == {"available": "0.00", "held": "0.00", "pending": "12.00", "currency": "USD"}
    provider(shop).confirm(linked["topup_id"] and UUID(linked["topup_id"]))
    done = await shop.ok("POST", f"{TOPUPS}/{linked['topup_id']}/look")
    assert (done["state"], done["balance"]["available"], done["balance"]["pending"]) == ("succeeded", "7.00", "5.00")
    repeated = await shop.ok("POST", TOPUPS, {"amount": "5.00", "method": "sandbox", "reference": "stuck"})
    assert repeated["state"] == "pending"
    cancelled = await shop.ok("POST", f"{TOPUPS}/{repeated['topup_id']}/cancel")
    assert (cancelled["state"], cancelled["balance"]["pending"]) == ("cancelled", "0.00")
    said = await shop.refused("POST", f"{TOPUPS}/{done['topup_id']}/cancel", status=409)
    assert said == "The top-up is succeeded, so it can not be cancelled; refund it with POST /v1/numbers/1/refunds."


async def test_a_lost_event_is_found_by_the_pass(shop: Api) -> None:
    provider(shop).next.append(LATE)
    made = await shop.ok("POST", TOPUPS, {"amount": "5.00", "method": "sandbox"}, status=201)
    assert made["state"] == "pending"
    assert await topups.look_at_all(shop.gate) == 0  # the request may still be under way
    await shop.gate.ledger.fetch("set_clock", 2 * topups.LOOK_MS)
    await shop.gate.clock.sync(shop.gate.ledger)
    assert [await topups.look_at_all(shop.gate) for _ in range(2)] == [1, 0]
    assert await balance(shop) == {"available": "5.00", "pending": "0.00"}


async def test_a_payment_that_nobody_reached_for_a_day_is_not_charged_any_more(shop: Api) -> None:
    number = shop.gate.directory.numbers["1"]
    await topups.write_down(
        shop.gate, number, uuid4(), amount_micros=5_000_000, method="sandbox", key="k", why="one-time",
        state=State.PENDING,
    )  # fmt: skip
    await shop.gate.ledger.fetch("set_clock", 24 * 3_600_000)
    await shop.gate.clock.sync(shop.gate.ledger)
    assert await topups.look_at_all(shop.gate) == 1
    (found,) = (await shop.ok("GET", TOPUPS))["topups"]
    assert (found["state"], provider(shop).charges) == ("failed", 0)
    assert found["reason"].startswith("the provider was not reached; whether it charged is found there under ")


async def test_a_decline_is_an_answer(shop: Api) -> None:
    provider(shop).next.append(DECLINED)
    made = await shop.ok("POST", TOPUPS, {"amount": "5.00", "method": "sandbox"}, status=201)
    assert (made["state"], made["reason"]) == ("failed", "The card was declined: insufficient funds.")
    assert await balance(shop) == {"available": "0.00", "pending": "0.00"}


async def test_a_bank_transfer_that_is_awaited(shop: Api) -> None:
    body = {"amount": "100.00", "reference": "invoice 9", "awaited": True}
    made = await shop.ok("POST", TOPUPS, body, status=201)
    assert (made["state"], made["fee"], made["balance"]["pending"]) == ("pending", "0.00", "100.00")
    done = [await shop.ok("POST", f"{TOPUPS}/{made['topup_id']}/confirm") for _ in range(2)]
    assert done[0] == done[1]
    assert (done[0]["state"], await balance(shop)) == ("succeeded", {"available": "100.00", "pending": "0.00"})
    assert await shop.ok("POST", TOPUPS, body) == done[0]


REFUSED = [
    (
        {"amount": "5", "method": "stripe"},
        "method: stripe is not switched on; take manual or sandbox, or set it up in the settings.",
    ),
    ({"amount": "0.99", "method": "sandbox"}, "amount: must be 1.00 USD or more."),
    ({"amount": "1.001", "method": "sandbox"}, "amount: must be a multiple of 0.01 USD, the smallest sum that can be "),
    ({"amount": "1", "preview_id": "00000000-0000-0000-0000-000000000000"}, "preview_id: it fixes the amount, so "),
    ({"preview_id": "x"}, "preview_id: must be a UUID."),
]


async def test_what_is_refused_charges_nothing(shop: Api) -> None:
    for body, said in REFUSED:
        assert (await shop.refused("POST", TOPUPS, body)).startswith(said), body
    assert "has no top-up" in await shop.refused("GET", f"{TOPUPS}/17", status=404)
    assert (await balance(shop), provider(shop).charges) == ({"available": "0.00", "pending": "0.00"}, 0)


async def test_the_tax_id_comes_first_where_the_country_needs_one(shop: Api) -> None:
    old = await shop.ok("POST", TOPUPS, {"amount": "1.00", "reference": "before"}, status=201)
    seen = await preview(shop)
    await shop.ok("PATCH", "/v1/accounts/acme", {"country": "DE"})
    for path, body in (
        (TOPUPS, {"amount": "5.00"}),
        (TOPUPS, {"amount": "5.00", "method": "sandbox"}),
        (f"{TOPUPS}?preview=true", {"amount": "5.00", "method": "sandbox"}),
        (TOPUPS, {"preview_id": seen["preview_id"]}),
    ):
        assert await shop.refused("POST", path, body) == (
            "Account acme is in DE and has no Tax ID, without which no funds are added; "
            'set it with PATCH /v1/accounts/acme {"tax_id": "..."}.'
        )
    assert (await shop.ok("POST", TOPUPS, {"amount": "1.00", "reference": "before"})) == old  # a retry stays a retry
    await shop.ok("PATCH", "/v1/accounts/acme", {"tax_id": "DE136695976"})
    await shop.ok("POST", TOPUPS, {"preview_id": seen["preview_id"]}, status=201)
    await shop.ok("PATCH", "/v1/accounts/acme", {"tax_id": None, "country": "US"})
    await shop.ok("POST", TOPUPS, {"amount": "5.00"}, status=201)


async def test_cards_are_saved_shown_and_forgotten(shop: Api) -> None:
    cards = "/v1/accounts/acme/cards"
    saved = await shop.ok("PUT", f"{cards}/sandbox", {"token": "4242-2028-02"})
    assert saved == {"method": "sandbox", "brand": "play money", "last4": "4242", "expires": "2028-02-29"}
    assert (await shop.ok("GET", cards))["cards"] == [saved]
    assert (await shop.refused("PUT", f"{cards}/sandbox", {"token": "x"})).startswith("token: the sandbox takes a card")
    assert (
        await shop.refused("PUT", f"{cards}/manual", {"token": "x"})
        == "token: a bank transfer needs no card; top up without one."
    )
    assert (await shop.refused("PUT", f"{cards}/stripe", {"token": "x"})).startswith("method: stripe is not switched")
    assert "PUT /v1/accounts/b" in await shop.refused("PUT", "/v1/accounts/b/cards/sandbox", {"token": "x"}, status=404)
    await shop.ok("DELETE", f"{cards}/sandbox", status=204)
    said = await shop.refused("DELETE", f"{cards}/sandbox", status=404)
    assert said == "Account acme has no saved card of sandbox; GET /v1/accounts/acme/cards lists them."
    assert (await shop.refused("POST", f"{cards}/sandbox/link")).startswith(
        "method: the sandbox has no page for cards;"
    )


async def test_an_event_of_a_provider_needs_no_token_and_only_makes_us_look(shop: Api) -> None:
    provider(shop).next.extend([CONFIRM, DECLINED])
    made = await shop.ok("POST", TOPUPS, {"amount": "5.00", "method": "sandbox"}, status=201)
    name = f"sandbox_{UUID(made['topup_id']).hex}"

    async def told(about: str) -> tuple[int, Any]:
        answer = await shop.ask("POST", "/v1/payments/sandbox", token="", data=about.encode())
        return answer.status, answer.json

    assert await told(name) == (200, {"known": True})
    assert await balance(shop) == {"available": "0.00", "pending": "5.00"}
    provider(shop).confirm(UUID(made["topup_id"]))
    assert await told("sandbox_of_another") == (200, {"known": False})
    for _ in range(2):
        assert await told(name) == (200, {"known": True})
    assert await balance(shop) == {"available": "5.00", "pending": "0.00"}
    for method, status in (("stripe", 404), ("manual", 400)):
        assert "." in await shop.refused("POST", f"/v1/payments/{method}", token="", status=status)


async def test_a_receipt_says_who_paid_what(shop: Api) -> None:
    issuer = "Farebox Ltd | 1 Way | VAT GB980780684"
    object.__setattr__(shop.gate, "settings", shop.gate.settings.model_copy(update={"receipt_issuer": issuer}))
    details = {"country": "DE", "tax_id": "DE136695976", "legal_name": "A <b>&</b> B", "address": ["Weg 1", "Berlin"]}
    await shop.ok("PATCH", "/v1/accounts/acme", {**details, "tax_percent": "19"})
    made = await shop.ok("POST", TOPUPS, {"amount": "20.00", "method": "sandbox", "reference": "r"}, status=201)
    path = f"{TOPUPS}/{made['topup_id']}/receipt"
    receipt = await shop.ok("GET", path)
    money = [receipt[name] for name in ("amount", "fee", "tax", "charge", "refunded", "currency")]
    assert money == ["20.00", "0.80", "0.13", "20.80", "0.00", "USD"]
    assert receipt["issuer"] == ["Farebox Ltd", "1 Way", "VAT GB980780684"]
    payer = receipt["payer"]
    assert (payer["name"], payer["address"], payer["tax_id"]) == ("A <b>&</b> B", ["Weg 1", "Berlin"], "DE136695976")
    page = await shop.ask("GET", f"{path}.html")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html")
    text = page.body.decode()
    for piece in ("A &lt;b&gt;&amp;&lt;/b&gt; B", "Tax ID DE136695976", "20.80 USD", "of which tax 0.13 USD", "VAT GB"):
        assert piece in text, piece
    provider(shop).next.append(STUCK)
    stuck = await shop.ok("POST", TOPUPS, {"amount": "1.00", "method": "sandbox"}, status=201)
    said = await shop.refused("GET", f"{TOPUPS}/{stuck['topup_id']}/receipt", status=409)
    assert said == "The top-up is pending; there is a receipt once it has succeeded."
