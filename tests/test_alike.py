"""What statuses say is found out once for all that are alike: nothing else may change what one of them says."""

import random
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from factory import make_number
from farebox.assets import asset
from farebox.bookkeeping import alike
from farebox.core.fare import Verdict, verdict
from farebox.core.hold import State
from farebox.core.webhook import KNOWN_TYPES, Pricing, Status
from farebox.rows import KnownHold
from farebox.tariffs import Tariffs

NOW = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()) * 1000
CATEGORIES = (
    "utility",
    "marketing",
    "marketing_lite",
    "service",
    "group_utility",
    "referral_conversion",
    "of_tomorrow",
)
USERS = ("16505551234", "16505550000", "4915112345678", "IN.2323", "")
MARKETS = ("North America", "Germany")


def any_status(chance: random.Random) -> Status:
    """Any status, of few values where a verdict may ask for it, of many where it must not."""
    pricing = Pricing(
        chance.choice(sorted(KNOWN_TYPES)),
        chance.choice(CATEGORIES),
        billable=chance.random() < 0.9,
        cost_amount=chance.choice(("", "", "0.03", "900")),
        cost_currency=chance.choice(("USD", "EUR")),
    )
    return Status(
        wamid=str(chance.random()),
        status=chance.choice(("delivered", "delivered", "read", "failed", "sent")),
        users=tuple(chance.sample(USERS, chance.choice((0, 1, 1, 2)))),
        at_ms=chance.randrange(NOW),
        reference=str(chance.random()),
        pricing=pricing if chance.random() < 0.9 else None,
        conversation_until_ms=chance.choice((None, chance.randrange(NOW))),
        error_code=chance.choice((None, chance.randrange(1000))),
        conversation_id=chance.choice(("", "", str(chance.random()))),
    )


def any_hold(chance: random.Random) -> KnownHold:
    """Any hold, likewise."""
    texts: dict[str, Any] = {name: str(chance.random()) for name in ("number_id", "regime", "recipient")}
    maybe: dict[str, Any] = {name: chance.choice((None, str(chance.random()))) for name in ("wamid", "pool", "opens")}
    flags: dict[str, Any] = {
        name: chance.random() < 0.5 for name in ("delivered", "in_free_entry_point", "opened_free_entry_point", "bid")
    }
    return KnownHold(
        hold_id=uuid4(),
        state=chance.choice(list(State)),
        message_class=chance.choice(("free", "paid")),
        fare_micros=chance.choice((0, 3_400, 25_000)),
        category=chance.choice(CATEGORIES[:4]),
        market=chance.choice(MARKETS),
        created_ms=chance.randrange(NOW),
        sent_with=chance.choice((None, UUID(int=1))),
        key_id=chance.choice((None, UUID(int=2))),
        **texts,
        **maybe,
        **flags,
    )


def test_statuses_that_are_alike_say_the_same() -> None:
    chance, tariffs = random.Random(1), Tariffs(asset("config/tariffs"))
    repeated = 0
    for tariff in (None, *(tariffs.at(make_number(regime), NOW) for regime in ("auto", "cbp-2023-06", "pmp-2025-07"))):
        found: dict[tuple[object, ...], Verdict | None] = {}
        for _ in range(20_000):
            status, hold = any_status(chance), any_hold(chance)
            said, key = verdict(status, hold, tariff=tariff), alike(status, hold, tariff)
            repeated += key in found
            assert found.setdefault(key, said) == said
    assert repeated > 4_000
