"""A quote says what a send would do, and leaves no trace."""

import random
from datetime import date
from typing import Any
from uuid import uuid4

import pytest

from farebox.asks import Ask, Decision, Mode, NewWallet, Part, State
from farebox.core.markup import NO_MARKUP
from farebox.core.reply import OUT_OF_FUNDS
from farebox.core.tariff import Offer, When
from farebox.gate import Gate
from farebox.taking import key_of
from farebox.tariff_files import KINDS
from farebox.wallet import Position
from harness import GERMAN, NUMBER, USER, World, reaction, template, text

BRAZILIAN = "5511987654321"


async def quote(world: World, **body: Any) -> Any:
    return await world.admin("POST", "/v1/quotes", {"number": NUMBER, **body})


async def snapshot(world: World) -> Any:
    """Everything in both stores that a quote could have touched."""
    store = world.gate.wallet._redis
    wallets = {key: await store.hgetall(key) for key in await store.keys("*")}
    tables = [
        await world.gate.ledger._pool.fetch(f"SELECT * FROM {table}")
        for table in ("number", "balance", "hold", "entry", "open_window", "template")
    ]
    return wallets, tables


UTILITY = {"to": BRAZILIAN, "category": "utility", "window_open": True}
REPLY = {"to": BRAZILIAN, "kind": "text", "at": "2026-11-22T12:00"}
# what is asked -> regime, class, fare, condition that applies
QUOTES: list[tuple[dict[str, Any], tuple[str, str, str, str]]] = [
    ({**UTILITY, "at": "2026-09-30T23:59"}, ("pmp-2025-07", "free", "0.00", "always")),
    ({**UTILITY, "at": "2026-10-01T00:01"}, ("pmp-2026-10", "paid", "0.0068", "always")),
    ({**UTILITY, "at": "2026-10-01T02:59Z"}, ("pmp-2025-07", "free", "0.00", "always")),
    ({**UTILITY, "at": "2026-10-01T03:00Z"}, ("pmp-2026-10", "paid", "0.0068", "always")),
    ({**UTILITY, "at": "2026-09-30T23:59", "window_open": False}, ("pmp-2025-07", "paid", "0.0068", "always")),
    ({**UTILITY, "at": "2026-12-01T00:00", "regime": "pmp-2025-07"}, ("pmp-2025-07", "free", "0.00", "always")),
    ({**REPLY, "pool_used": 998}, ("pmp-2026-10", "free", "0.00", "pool")),
    ({**REPLY, "pool_used": 999}, ("pmp-2026-10", "free", "0.00", "pool")),
    ({**REPLY, "pool_used": 1000}, ("pmp-2026-10", "paid", "0.0068", "always")),
    ({**REPLY, "pool_used": 1001}, ("pmp-2026-10", "paid", "0.0068", "always")),
    ({**REPLY, "pool_used": 1001, "free_entry_point_open": True}, ("pmp-2026-10", "free", "0.00", "free_entry_point")),
    ({"to": "US.13491208655302741918", "category": "authentication"}, ("pmp-2026-10", "paid", "0.0034", "always")),
    (
        {"to": GERMAN, "category": "marketing", "regime": "cbp-2023-06", "conversations": [{"category": "marketing"}]},
        ("cbp-2023-06", "paid", "0.00", "conversation"),
    ),
    (
        {
            "to": GERMAN,
            "kind": "text",
            "regime": "cbp-2023-06",
            "conversations": [{"category": "marketing"}, {"category": "service", "class": "free", "delivered": False}],
        },
        ("cbp-2023-06", "free", "0.00", "conversation"),
    ),
    ({"to": GERMAN, "kind": "direct_utility"}, ("pmp-2026-10", "paid", "0.055", "always")),
    ({"message": reaction()}, ("pmp-2026-10", "free", "0.00", "always")),
    ({"message": template()}, ("pmp-2026-10", "paid", "0.0034", "always")),
]


@pytest.mark.parametrize(("asked", "wanted"), QUOTES)
async def test_quotes(world: World, asked: dict[str, Any], wanted: tuple[str, str, str, str]) -> None:
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"timezone": "America/Sao_Paulo"})
    answer = await quote(world, **asked)
    assert (answer["regime"], answer["class"], answer["fare"], answer["term"]["when"]) == wanted
    assert answer["term"] in answer["alternatives"]
    assert [term["applies"] for term in answer["alternatives"]].count(True) == 1
    assert answer["would_be"] == ("refused" if wanted[1] == "paid" else "accepted")
    assert answer["sentence"] == (OUT_OF_FUNDS if wanted[1] == "paid" else None)


async def test_a_quote_explains_itself(world: World) -> None:
    await world.fund("1.00")
    at = {"timezone": "America/Sao_Paulo"}
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", at)
    answer = await quote(world, **UTILITY, at="2026-10-01T00:01")
    assert (answer["market"], answer["country"], answer["day"]) == ("Brazil", "BR", "2026-10-01")
    assert answer["term"]["rate_source"].startswith("rates/pmp_usd_2026-10-01.csv:")
    assert answer["state"]["window_until"] == "2026-10-02T03:01:00Z"
    assert (answer["would_be"], answer["state"]["available"]) == ("accepted", "1.00")
    free = await quote(world, **UTILITY, at="2026-09-30T23:59")
    assert free["evidence"]["window_until"] == "2026-10-02T02:59:00Z"
    reply = await quote(world, **REPLY, pool_used=998)
    assert (reply["evidence"]["unit"], reply["state"]["pool_used"]) == (999, 998)
    authentication = await quote(world, to="US.1", category="authentication")
    assert "phone numbers only" in " ".join(authentication["notes"])
    unknown = await quote(world, to=GERMAN, template="never_heard_of")
    assert unknown["category"] == "marketing"
    assert "dearest" in unknown["notes"][0]


SENDS = [
    (template(), {}),
    (template("summer_sale", GERMAN), {}),
    (text(), {}),
    (reaction(), {}),
    (template("summer_sale", GERMAN), {"regime": "cbp-2023-06"}),
    (text(GERMAN), {"regime": "cbp-2023-06"}),
    (template("order_update", GERMAN), {"mode": "shadow"}),
]


@pytest.mark.parametrize(("message", "changes"), SENDS)
@pytest.mark.parametrize("funds", ["", "1.00"])
async def test_a_send_does_what_its_quote_said(
    world: World, message: dict[str, Any], changes: dict[str, str], funds: str
) -> None:
    if funds:
        await world.fund(funds)
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", changes)
    await world.send(reaction())  # makes the wallet, which a quote would otherwise do
    await world.books_kept()
    for _ in range(2):  # the second meets the conversation that the first has opened
        before = await snapshot(world)
        said = await quote(world, message=message)
        assert await snapshot(world) == before
        answer = await world.send(message)
        await world.books_kept()
        assert said["would_be"] == ("accepted" if answer.status == 200 else "refused")
        assert said["class"] == answer.headers["X-Farebox-Class"]
        if answer.status == 200:
            assert said["fare"] == answer.headers["X-Farebox-Fare"]
            explained = await world.message(answer.headers["X-Farebox-Hold"])
            assert (explained["why"], explained["rate_source"]) == (said["term"]["why"], said["term"]["rate_source"])


MISTAKES = [
    ({"to": USER}, 422, "exactly one of"),
    ({"category": "utility"}, 422, "must have either message"),
    ({"to": USER, "category": "utility", "kind": "text"}, 422, "exactly one of"),
    ({"message": text(), "kind": "text"}, 422, "exactly one of"),
    ({"message": text(), "to": USER}, 422, "either message"),
    ({"message": {"to": USER, "type": "template"}}, 422, "message: template is missing"),
    ({"message": {"status": "read", "message_id": "x"}}, 422, "marking as read"),
    ({"to": "", "kind": "text"}, 422, "to: must not be empty"),
    ({"to": USER, "kind": "text", "regime": "nix"}, 422, "there is no tariff nix"),
    ({"to": USER, "kind": "text", "at": "soon"}, 422, "at: "),
    ({"to": USER, "kind": "text", "at": "1999-01-01T00:00"}, 422, "between 2000 and 2100"),
    ({"to": USER, "kind": "text", "pool_used": -1}, 422, "pool_used: must be 0 or more"),
    ({"to": USER, "kind": "text", "number": "999"}, 404, "no number 999"),
]


@pytest.mark.parametrize(("asked", "status", "said"), MISTAKES)
async def test_a_mistake_is_named(world: World, asked: dict[str, Any], status: int, said: str) -> None:
    answer = await world.admin("POST", "/v1/quotes", {"number": NUMBER, **asked}, expect=status)
    assert said in answer["detail"]


async def test_a_quote_of_a_number_that_never_sent(world: World) -> None:
    await world.fund("1.00")
    assert (await quote(world, message=template()))["would_be"] == "accepted"
    assert await world.differences() == []


ROUNDS = 300


async def test_a_judgement_is_what_a_take_would_do_in_any_state(gate: Gate) -> None:
    """Random offers of every regime in random states: dry and in earnest the script says the same."""
    dice = random.Random(20261001)
    conditions = set()
    for number in range(ROUNDS):
        offer = random_offer(gate, dice)
        state = random_state(dice, offer)
        ask = Ask(
            number_id=str(number),
            parts=(Part(str(uuid4()), USER, offer.category, offer.wire),),
            block_at_micros=dice.choice((0, 1_000)),
            cover=dice.random() < 0.5,
            mode=Mode.DRY,
            now_ms=NOW_MS,
        )
        judgement = await gate.wallet.judge(ask, state)
        await gate.wallet.rebuild([NewWallet(str(number), Position(1, 0, 0), {})])  # of this life of the store
        for name, fields in (("wallet", state.wallet), (f"user:{USER}", state.recipient)):
            if fields:
                await gate.wallet._redis.hset(key_of(str(number), name), mapping={**fields})
        taken = await gate.wallet.take(ask._replace(mode=Mode.ENFORCE))
        assert isinstance(taken, Decision)
        dry, part = judgement.decision, judgement.part
        assert (dry.taken, dry.parts) == (taken.taken, taken.parts)
        assert dry.available_micros - (offer.terms[part.term].fare_micros if dry.taken else 0) == taken.available_micros
        assert part.term == [seen.holds for seen in judgement.terms].index(True)
        conditions.add(offer.terms[part.term].rule.when)
    assert conditions == set(When), "the dice have thrown everything"
    assert not await gate.wallet._redis.keys("*:quote:*")


NOW_MS = 1_795_000_000_000


def random_offer(gate: Gate, dice: random.Random) -> Offer:
    tariff = gate.tariffs.of(dice.choice(gate.tariffs.names), date.max)
    card = dice.choice(tariff.cards["USD"])
    kind = dice.choice(sorted(KINDS))
    return tariff.offer(card, kind=kind, category=kind, market="Germany", month="2026-11", markup=NO_MARKUP)


def random_state(dice: random.Random, offer: Offer) -> State:
    around = lambda: str(NOW_MS + dice.choice((-1, 0, 1, 3_600_000)))  # noqa: E731
    recipient = {name: around() for name in ("csw", "fep", "fep_offer") if dice.random() < 0.3}
    for category in ("marketing", "utility", "service", "authentication", "user_initiated"):
        if dice.random() < 0.3:
            recipient[f"conv:{category}"] = f"{dice.choice(('0', around()))}:{dice.choice('01')}:{uuid4()}"
    if recipient:
        recipient["epoch"] = "1"
    wallet = {"epoch": "1", "available": str(dice.choice((-5, 0, 1, 1_000, 500_000))), "held": "0"}
    for term in offer.terms:
        if term.pool:
            wallet[f"pool:{term.pool}"] = str(dice.choice((0, 999, 1_000, 1_001)))
    return State(wallet, recipient)
