"""A gateway that charges cards at the Stripe of `stripe_front.py`, and what its tests ask about."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import past
from farebox import returns, topups
from farebox.config import Settings
from farebox.core.topup import Topup
from farebox.directory import Number
from farebox.gate import Gate, open_gate
from farebox.reconcile import compare
from stripe_front import GOOD, SECRET_KEY, WEBHOOK_SECRET, Front

TEN = 10_000_000


@asynccontextmanager
async def stripe_gate(settings: Settings, front: Front) -> AsyncIterator[Gate]:
    """Open a gateway with a number, at a Stripe that has charged nothing yet."""
    front.charges = 0
    front.kept.clear()
    changed = {
        "stripe_api_key": SECRET_KEY,
        "stripe_webhook_secret": WEBHOOK_SECRET,
        "stripe_url": front.url,
        "stripe_return_url": "https://shop.example/billing",
    }
    async with open_gate(Settings(**{**settings.model_dump(), **changed})) as opened:
        await past.add_number(opened)
        yield opened


def number(gate: Gate) -> Number:
    return gate.directory.numbers["1"]


async def save(gate: Gate, front: Front, card: str = GOOD) -> None:
    way, known = gate.payments["stripe"], await gate.ledger.fetch_one("card", "a", "stripe")
    saved = await way.save_card("a", "a@a.example", await front.card(card), known and known["customer"])
    fields = (saved.customer, saved.card, saved.brand, saved.last4, saved.expires)
    assert (saved.brand, saved.last4, str(saved.expires)) == ("visa", card[-4:], "2032-02-29")
    await gate.ledger.fetch("put_card", "a", "stripe", *fields, gate.clock.now_ms())


async def status_of(front: Front, topup: Topup) -> str:
    """How a payment stands at Stripe."""
    status, answer = await front.ask("GET", f"/v1/payment_intents/{topup.provider_id}")
    assert status == 200
    return str(json.loads(answer)["status"])


async def begun(gate: Gate, key: str = "k", why: str = returns.AUTO_RENEWAL) -> Topup:
    topup = await topups.begin(gate, number(gate), amount_micros=TEN, method="stripe", key=key, why=why)
    assert isinstance(topup, Topup)
    return topup


async def balance(gate: Gate) -> int:
    assert [text async for row in compare(gate.ledger, gate.wallet) for text in row.differences] == []
    row = await gate.ledger.fetch_one("ledger_money", ["1"])
    assert row is not None
    return int(row["balance_micros"])
