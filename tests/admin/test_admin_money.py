"""Top-ups, entries and balances, and the explanation of a message."""

import asyncio
from typing import Any
from urllib.parse import quote

import pytest
from admin_client import Api

from farebox.ledger import LedgerUnavailableError
from farebox.wallet import WalletUnavailableError
from harness import USER, World, template

TOPUPS = "/v1/numbers/1/topups"


async def balance(api: Api) -> tuple[str, str]:
    number = await api.ok("GET", "/v1/numbers/1")
    return number["balance"]["available"], number["balance"]["held"]


async def test_a_topup_is_booked_once_per_reference(api: Api) -> None:
    await api.add_number()
    body = {"amount": "10.00", "reference": "invoice 7", "method": "manual"}
    first = await api.ok("POST", TOPUPS, body, status=201)
    assert first["balance"] == {"available": "10.00", "held": "0.00", "pending": "0.00", "currency": "USD"}
    assert (first["amount"], first["currency"], first["reference"]) == ("10.00", "USD", "invoice 7")
    assert (first["state"], first["method"], first["phone_number_id"]) == ("succeeded", "manual", "1")
    assert await api.ok("POST", TOPUPS, body) == first
    assert await api.ok("POST", TOPUPS, body | {"amount": "10"}) == first
    said = await api.refused("POST", TOPUPS, body | {"amount": "10.01"}, status=409)
    assert said == (
        'reference: "invoice 7" is a top-up of 10.00 USD, not 10.01; give another payment another reference.'
    )
    assert await balance(api) == ("10.00", "0.00")


async def test_the_same_reference_at_once_is_one_topup(api: Api) -> None:
    await api.add_number()
    body = {"amount": "0.000001", "reference": "r"}
    answers = await asyncio.gather(*(api.ask("POST", TOPUPS, body) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
    assert len({answer.json["topup_id"] for answer in answers}) == 1
    assert await balance(api) == ("0.000001", "0.00")


async def test_a_reference_is_made_where_none_is_given(api: Api) -> None:
    await api.add_number()
    first, second = [await api.ok("POST", TOPUPS, {"amount": "1.00"}, status=201) for _ in range(2)]
    assert first["reference"] != second["reference"]
    listed = (await api.ok("GET", TOPUPS))["topups"]
    assert {topup["reference"] for topup in listed} == {first["reference"], second["reference"]}
    assert "balance" not in listed[0]
    assert await balance(api) == ("2.00", "0.00")
    assert len((await api.ok("GET", f"{TOPUPS}?limit=1"))["topups"]) == 1


BAD_TOPUPS = [
    ({}, "amount: is missing; name it, or ask with ?preview=true what is needed and confirm that preview."),
    ({"amount": 10}, 'amount: must be a decimal string like "10.00"; a JSON number may lose digits.'),
    ({"amount": 10.5}, 'amount: must be a decimal string like "10.00"; a JSON number may lose digits.'),
    ({"amount": True}, 'amount: must be a decimal string like "10.00"; a JSON number may lose digits.'),
    ({"amount": "0"}, "amount: must be more than 0.00."),
    ({"amount": "-0"}, "amount: must be more than 0.00."),
    ({"amount": "-5.00"}, "amount: must be more than 0.00."),
    ({"amount": "1.0000001"}, 'amount: "1.0000001" is not an amount;'),
    ({"amount": "1e2"}, 'amount: "1e2" is not an amount;'),
    ({"amount": " 1"}, 'amount: " 1" is not an amount;'),
    ({"amount": "NaN"}, 'amount: "NaN" is not an amount;'),
    ({"amount": ""}, 'amount: "" is not an amount;'),
    ({"amount": "9" * 500}, f'amount: "{"9" * 40}" is not an amount;'),
    ({"amount": "9007199254.740992"}, 'amount: "9007199254.740992" is larger than the largest amount,'),
    ({"amount": "1", "reference": ""}, "reference: must not be empty."),
    ({"amount": "1", "reference": "r" * 201}, "reference: must have at most 200 characters."),
    ({"amount": "1", "reference": "\0"}, "reference: must not contain control characters."),
    ({"amount": "1", "reference": 7}, "reference: must be a string."),
    ({"amount": "1", "method": "card"}, "method: must be 'manual', 'stripe' or 'sandbox'."),
    ({"amount": "1", "currency": "EUR"}, "currency: there is no such field; the fields are amount, reference,"),
]


async def test_topups_that_are_refused(api: Api) -> None:
    await api.add_number()
    for body, said in BAD_TOPUPS:
        assert (await api.refused("POST", TOPUPS, body)).startswith(said)
        assert await balance(api) == ("0.00", "0.00")


async def test_the_largest_balance(api: Api) -> None:
    await api.add_number()
    await api.ok("POST", TOPUPS, {"amount": "9007199254.740991"}, status=201)
    said = await api.refused("POST", TOPUPS, {"amount": "0.000001", "reference": "one more"})
    assert said == "amount: the balance would exceed the largest one, 9007199254.740991; ask for less."
    assert await balance(api) == ("9007199254.740991", "0.00")
    assert len((await api.ok("GET", TOPUPS))["topups"]) == 1


async def test_a_number_that_does_not_exist_has_no_money(api: Api) -> None:
    for method, path, body in (
        ("GET", TOPUPS, None),
        ("POST", TOPUPS, {"amount": "1.00"}),
        ("GET", "/v1/numbers/1/entries", None),
    ):
        assert "PUT /v1/numbers/1" in await api.refused(method, path, body, status=404)


async def test_a_number_made_by_another_worker_can_be_topped_up(api: Api) -> None:
    await api.add_number()
    api.gate.directory.numbers = {}
    await api.ok("POST", TOPUPS, {"amount": "1.00"}, status=201)


async def test_a_topup_of_unknown_fate_tells_the_reference_to_repeat_it_with(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.add_number()
    credit = type(api.gate.funds).credit

    async def booked_and_cut_off(*arguments: Any, **named: Any) -> bool:
        await credit(*arguments, **named)
        raise LedgerUnavailableError("cut off")

    monkeypatch.setattr(type(api.gate.funds), "credit", booked_and_cut_off)
    answered = await api.ask("POST", TOPUPS, {"amount": "3.00"})
    assert (answered.status, answered.headers["Retry-After"]) == (503, "1")
    reference = answered.detail.split('"reference": "')[1].split('"')[0]
    monkeypatch.undo()
    again = await api.ok("POST", TOPUPS, {"amount": "3.00", "reference": reference})
    assert again["balance"]["available"] == "3.00"


async def test_without_its_wallet_a_number_shows_the_ledgers_balance(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.add_number()
    await api.ok("POST", TOPUPS, {"amount": "5.00"}, status=201)
    await api.gate.wallet._redis.flushall()
    assert await balance(api) == ("5.00", "0.00")

    async def away(*_: object) -> None:
        raise WalletUnavailableError("away")

    monkeypatch.setattr(type(api.gate.wallet), "position", away)
    assert await balance(api) == ("5.00", "0.00")


async def test_low_balance_is_below_the_mark(api: Api) -> None:
    await api.add_number(low_balance_at="5.00")
    low = []
    for amount in ("4.999999", "0.000001"):
        await api.ok("POST", TOPUPS, {"amount": amount}, status=201)
        low.append((await api.ok("GET", "/v1/numbers/1"))["low_balance"])
    assert low == [True, False]


async def test_entries_come_newest_first_and_page_by_page(api: Api) -> None:
    await api.add_number()
    for amount in ("1.00", "2.00", "3.00"):
        await api.ok("POST", TOPUPS, {"amount": amount, "reference": amount}, status=201)
    first = await api.ok("GET", "/v1/numbers/1/entries?limit=2")
    assert [entry["amount"] for entry in first["entries"]] == ["3.00", "2.00"]
    entry = first["entries"][0]
    assert (entry["kind"], entry["currency"], entry["reference"], entry["hold_id"]) == ("topup", "USD", "3.00", None)
    assert entry["at"].endswith("Z")
    last = await api.ok("GET", f"/v1/numbers/1/entries?limit=2&before={first['next']}")
    assert ([entry["amount"] for entry in last["entries"]], last["next"]) == (["1.00"], None)
    for query in ("before=0", "before=x", "before=9223372036854775808", "limit=1000"):
        await api.refused("GET", f"/v1/numbers/1/entries?{query}")


async def test_a_message_is_explained(world: World) -> None:
    await world.fund("10.00")
    answer = await world.send(template())
    hold_id, wamid = answer.headers["X-Farebox-Hold"], answer.json["messages"][0]["id"]
    open_ = await world.message(hold_id)
    assert open_["state"] in ("accepted", "settled")
    await world.books_kept()
    told = await world.message(hold_id)
    assert told == await world.message(quote(wamid, safe=""))
    assert told == await world.message(wamid)
    said = {name: told[name] for name in ("state", "class", "category", "market", "fare", "billed", "currency")}
    assert said == {
        "state": "settled",
        "class": "paid",
        "category": "utility",
        "market": "North America",
        "fare": "0.0034",
        "billed": "0.0034",
        "currency": "USD",
    }
    assert (told["wamid"], told["hold_id"], told["ended_by"], told["late"]) == (wamid, hold_id, "deliver", False)
    assert told["recipient"] == "*" * (len(USER) - 4) + USER[-4:]
    assert told["rate_source"].startswith("rates/pmp_usd_2026-10-01.csv:")
    assert told["why"]
    assert told["template"] == "order_update en_US"
    assert told["webhook"]["pricing"]["category"] == "utility"
    assert told["webhook"]["at"].endswith("Z")
    assert told["created_at"] < told["ended_at"] < told["expires_at"]
    number = await world.admin("GET", f"/v1/numbers/{told['phone_number_id']}")
    assert number["balance"] == {"available": "9.9966", "held": "0.00", "pending": "0.00", "currency": "USD"}
    entries = (await world.admin("GET", f"/v1/numbers/{told['phone_number_id']}/entries"))["entries"]
    settled = entries[0]
    assert (settled["kind"], settled["amount"], settled["hold_id"]) == ("settle", "-0.0034", hold_id)
    assert (settled["wamid"], settled["topup_id"], settled["reference"]) == (wamid, None, None)


async def test_a_held_fare_is_shown_with_and_without_wallet(world: World) -> None:
    await world.fund("10.00")
    world.whatsapp.set_webhook("http://127.0.0.1:9/")  # nothing is heard of the message
    await world.send(template())
    held = {"available": "9.9966", "held": "0.0034"}
    assert await world.balance() == held
    await world.gate.wallet._redis.flushall()
    assert await world.balance() == held


UNKNOWN_MESSAGES = ["wamid.HBgL==", "0" * 32, "a%2Fb", "%F0%9F%98%80"]


async def test_an_unknown_message(api: Api) -> None:
    for message_id in UNKNOWN_MESSAGES:
        assert "X-Farebox-Hold" in await api.refused("GET", f"/v1/messages/{message_id}", status=404)


BAD_MESSAGE_IDS = ["%00", "x" * 257, "a%0Ab"]


async def test_ids_of_messages_that_are_refused(api: Api) -> None:
    for message_id in BAD_MESSAGE_IDS:
        assert (await api.refused("GET", f"/v1/messages/{message_id}")).startswith("message_id: ")
