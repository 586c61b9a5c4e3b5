"""`farebox topup`, as a person calls it."""

import argparse
import json
from contextlib import asynccontextmanager

import pytest

import past
from farebox.commands import topup
from farebox.commands.opened import UsageError
from farebox.gate import Gate
from farebox.payments import open_methods


@pytest.fixture
async def shop(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Gate:
    methods = open_methods(gate.settings.model_copy(update={"sandbox_payments": True}))
    object.__setattr__(gate, "payments", methods)
    await past.add_number(gate)

    @asynccontextmanager
    async def opened(_: object, **_as: object):  # type: ignore[no-untyped-def]
        yield gate

    monkeypatch.setattr(topup, "opened_gate", opened)
    return gate


async def call(gate: Gate, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    topup.add(parser.add_subparsers())
    return await topup.run(gate.settings, parser.parse_args(["topup", *arguments]))


async def balance(gate: Gate) -> int:
    row = await gate.ledger.fetch_one("ledger_money", ["1"])
    assert row is not None
    return int(row["balance_micros"])


async def test_money_is_added_once_per_reference(shop: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    assert [await call(shop, "1", "20.00", "--reference", "bank 7") for _ in range(2)] == [0, 0]
    told = capsys.readouterr().out
    for line in ("number      1", "to pay      20.00 USD by manual", "reference   bank 7", "state       succeeded"):
        assert told.count(line) == 2, told
    assert await balance(shop) == 20_000_000
    with pytest.raises(UsageError, match=r"reference bank 7 is a top-up of 20\.00 USD"):
        await call(shop, "1", "21.00", "--reference", "bank 7")


async def test_a_preview_and_a_card_in_play_money(shop: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    assert await call(shop, "1", "20", "--method", "sandbox", "--preview", "--json") == 0
    seen = json.loads(capsys.readouterr().out)
    assert (seen["state"], seen["fee"], seen["charge"], await balance(shop)) == ("draft", "0.80", "20.80", 0)
    assert await call(shop, "1", "20", "--method", "sandbox") == 0
    assert await balance(shop) == 20_000_000
    assert await call(shop, "1", "5", "--method", "stripe") == 1
    assert (
        "method: stripe is not switched on; take manual or sandbox, or set it up in the settings."
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("2", "1"), "there is no number 2; there are 1"),
        (("1", "x"), '"x" is not an amount'),
        (("1", "0"), "more than"),
    ],
)
async def test_bad_usage(shop: Gate, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        await call(shop, *arguments)
