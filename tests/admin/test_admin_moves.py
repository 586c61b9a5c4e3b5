"""Refunds, transfers and adjustments by the API: with a reason, once per reference, in entries and audit log."""

import pytest
from admin_client import Api

ONE = "/v1/numbers/1"
WHY = {"reason": "the shop has closed"}


@pytest.fixture
async def shop(api: Api) -> Api:
    await api.add_number("1")
    await api.add_number("2")
    await api.add_number("3", currency="COP")
    await api.ok("POST", f"{ONE}/topups", {"amount": "10.00", "reference": "r"}, status=201)
    return api


async def available(api: Api, number_id: str = "1") -> str:
    number = await api.ok("GET", f"/v1/numbers/{number_id}")
    text: str = number["balance"]["available"]
    return text


async def test_funds_move_between_numbers(shop: Api) -> None:
    body = {"to": "2", "amount": "4.00", "reference": "t", **WHY}
    first = await shop.ok("POST", f"{ONE}/transfers", body, status=201)
    assert (first["kind"], first["amount"], first["balance"]["available"]) == ("transfer", "-4.00", "6.00")
    assert await shop.ok("POST", f"{ONE}/transfers", body) == first
    assert (await available(shop), await available(shop, "2")) == ("6.00", "4.00")
    (there, *_) = (await shop.ok("GET", "/v1/numbers/2/entries"))["entries"]
    assert (there["kind"], there["amount"], there["reason"]) == ("transfer", "4.00", "the shop has closed")
    (noted,) = (await shop.ok("GET", "/v1/audit?kind=movement"))["audit"]
    assert (noted["what"], noted["after"]["amount_micros"], noted["who"]) == ("created", -4_000_000, "admin token")


async def test_unused_funds_go_back(shop: Api) -> None:
    (topup,) = (await shop.ok("GET", f"{ONE}/topups"))["topups"]
    body = {"amount": "3.00", "topup_id": topup["topup_id"], **WHY}
    done = await shop.ok("POST", f"{ONE}/refunds", body, status=201)
    assert (done["amount"], done["balance"]["available"]) == ("-3.00", "7.00")
    (topup,) = (await shop.ok("GET", f"{ONE}/topups"))["topups"]
    assert (topup["state"], topup["refunded"]) == ("succeeded", "3.00")
    await shop.ok("POST", f"{ONE}/refunds", {"amount": "7.00", **WHY}, status=201)
    said = await shop.refused("POST", f"{ONE}/refunds", {"amount": "0.01", **WHY}, status=409)
    assert said.startswith("Only 0.00 USD is available: what is held for messages on their way is not;")


async def test_a_person_adjusts_with_a_reason(shop: Api) -> None:
    await shop.ok("POST", f"{ONE}/adjustments", {"amount": "2.50", **WHY}, status=201)
    await shop.ok("POST", f"{ONE}/adjustments", {"amount": "-12.50", **WHY}, status=201)
    await shop.refused("POST", f"{ONE}/adjustments", {"amount": "-0.01", **WHY}, status=409)
    done = await shop.ok("POST", f"{ONE}/adjustments", {"amount": "-0.01", "below_zero": True, **WHY}, status=201)
    assert done["balance"]["available"] == "-0.01"


async def test_a_closed_number_gets_nothing(shop: Api) -> None:
    moved = {"to": "2", "amount": "1.00", "reference": "before", **WHY}
    first = await shop.ok("POST", f"{ONE}/transfers", moved, status=201)
    await shop.ok("POST", "/v1/numbers/2/close", {"funds": "keep", **WHY})
    said = "Number 2 is closed and gets no funds; open it with POST /v1/numbers/2/open, or name another."
    for path, body in (
        (f"{ONE}/transfers", {"to": "2", "amount": "1.00", **WHY}),
        ("/v1/numbers/2/adjustments", {"amount": "1.00", **WHY}),
    ):
        assert await shop.refused("POST", path, body, status=409) == said
    assert (await available(shop), await available(shop, "2")) == ("9.00", "1.00")
    assert await shop.ok("POST", f"{ONE}/transfers", moved) == first  # a retry stays a retry
    await shop.ok("POST", "/v1/numbers/2/adjustments", {"amount": "-0.25", **WHY}, status=201)
    await shop.ok("POST", "/v1/numbers/2/transfers", {"to": "1", "amount": "0.75", **WHY}, status=201)
    assert (await available(shop), await available(shop, "2")) == ("9.75", "0.00")


REFUSED = [
    ("adjustments", {"amount": "9007199254.74", **WHY}, 422, "amount: the balance would exceed the largest one, "),
    ("transfers", {"to": "1", "amount": "1", **WHY}, 422, "to: is the same number; name another one."),
    ("transfers", {"to": "3", "amount": "1", **WHY}, 422, "to: number 3 is of account acme in COP; funds move between"),
    ("transfers", {"to": "9", "amount": "1", **WHY}, 404, "There is no number 9;"),
    ("transfers", {"to": "2", "amount": "10.01", **WHY}, 409, "Only 10.00 USD is available:"),
    ("transfers", {"to": "2", "amount": "1"}, 422, "reason: is missing."),
    ("adjustments", {"amount": "1", "reason": ""}, 422, "reason: must not be empty."),
    ("adjustments", {"amount": "0.00", **WHY}, 422, "amount: must not be 0.00."),
    ("refunds", {"amount": "-1", **WHY}, 422, "amount: must be more than 0.00."),
    (
        "refunds",
        {"amount": "1", "topup_id": "00000000-0000-0000-0000-000000000000", **WHY},
        404,
        "Number 1 has no top-up",
    ),
]


async def test_what_is_refused_moves_nothing(shop: Api) -> None:
    for kind, body, status, said in REFUSED:
        assert (await shop.refused("POST", f"{ONE}/{kind}", body, status=status)).startswith(said), body
    await shop.ok("POST", f"{ONE}/adjustments", {"amount": "1", "reference": "x", **WHY}, status=201)
    said = await shop.refused("POST", f"{ONE}/refunds", {"amount": "1", "reference": "x", **WHY}, status=409)
    assert said == 'reference: "x" is an adjustment of 1.00 USD; give another movement another reference.'
    assert (await available(shop), await available(shop, "2")) == ("11.00", "0.00")
