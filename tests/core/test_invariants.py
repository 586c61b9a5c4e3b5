"""Each invariant, on sound books and on books that break it."""

from dataclasses import replace
from typing import Any

import pytest

from farebox.core.books import (
    AlertFacts,
    Books,
    HoldFacts,
    MessageFacts,
    NumberFacts,
    PoolFacts,
    ReportFacts,
    RunFacts,
    TakeFacts,
    TopupFacts,
    WalletFacts,
)
from farebox.core.hold import State
from farebox.core.invariants import OF_BOOKS, OF_RUN, violations

FARE = 3_400
POOL = "service:2026-11"

WALLET = WalletFacts(epoch=4, available_micros=990_000 - FARE, held_micros=FARE, pools={POOL: 2})
NUMBER = NumberFacts(
    number_id="1",
    topups_micros=1_000_000,
    settled_micros=10_000,
    entries_micros=990_000,
    balance_micros=990_000,
    open_holds=2,
    held_micros=FARE,
    smallest_held_micros=0,
    epoch=4,
    wallet=WALLET,
    billed_micros=10_000,
    topup_rows_micros=1_000_000,
    topups=(TopupFacts(reference="r", amount_micros=1_000_000, entries=1, credited_micros=1_000_000),),
    pools=(PoolFacts(name=POOL, size=2, used=2),),
    block_at_micros=0,
    largest_fare_micros=10_000,
)
OPEN = HoldFacts(hold_id="a", number_id="1", state=State.ACCEPTED, fare_micros=FARE, wamid="w-a")
FREE = HoldFacts(hold_id="b", number_id="1", state=State.RESERVED, fare_micros=0)
CHARGED = HoldFacts(
    hold_id="c",
    number_id="1",
    state=State.SETTLED,
    fare_micros=FARE,
    billed_micros=10_000,
    charges_micros=(10_000,),
    wamid="w-c",
)
FAILED = HoldFacts(
    hold_id="d", number_id="1", state=State.RELEASED, fare_micros=FARE, billed_micros=0, charges_micros=(), wamid="w-d"
)
HOLDS = (OPEN, FREE, CHARGED, FAILED)
BOOKS = Books(numbers=(NUMBER,), holds=HOLDS)
DELIVERED = MessageFacts(wamid="w-c", hold_id="c", statuses=frozenset({"sent", "read"}), due_micros=10_000, late=False)
RUN = RunFacts(
    messages=(
        MessageFacts(wamid="w-a", hold_id="a", statuses=frozenset({"sent"})),
        MessageFacts(wamid="w-b", hold_id="b"),  # its answer was lost, so only the hold id leads to it
        DELIVERED,
        MessageFacts(wamid="w-d", statuses=frozenset({"failed"})),
        MessageFacts(wamid="w-e", needs_hold=False),
    ),
    left=frozenset("abcd"),
    takes=(TakeFacts(number_id="1", available_after_micros=-1, fare_micros=FARE),),
    refusals=(((0, 5), (0, 5)),),
    relayed=((b"{}", b"{}"),),
    refusal_texts=(("S", "S"),),
    sentence="S",
    rebuilt=(("1", WALLET, replace(WALLET, epoch=5, pools={POOL: 2, "service:2026-12": 0})),),
    acknowledged_topups=(("1", "r", 1_000_000),),
    reports=(ReportFacts(name="usage", reported=3, ledger=3),),
    alerts=(AlertFacts(number_id="1", crossings=1, alerts=1),),
    outcomes=(({"a": ("settled", 1)}, {"a": ("settled", 1)}),),
    recovery_ms=59_000,
    log_lines=("number 1 was rebuilt",),
    secrets=frozenset({"secret-token", ""}),
)


def test_sound_books_break_nothing() -> None:
    assert violations(BOOKS, RUN) == []
    assert violations(BOOKS) == []
    assert sorted(OF_BOOKS | OF_RUN) == list(range(1, 19))


def broken_by(books: Books, run: RunFacts = RUN) -> set[int]:
    return {violation.invariant for violation in violations(books, run)}


@pytest.mark.parametrize(
    ("invariants", "change"),
    [
        ({1, 14}, {"topups_micros": 1_000_001}),
        ({1, 8}, {"settled_micros": 9_999}),
        ({1}, {"adjustments_micros": 5}),
        ({1}, {"refunds_micros": 5}),
        ({2}, {"entries_micros": 989_999}),
        ({3}, {"held_micros": FARE + 1}),
        ({3}, {"open_holds": 1}),
        ({3}, {"wallet": replace(WALLET, available_micros=990_000)}),
        ({3}, {"wallet": replace(WALLET, available_micros=990_001, held_micros=-1)}),
        ({8}, {"billed_micros": 10_001}),
        ({10}, {"wallet": replace(WALLET, pools={POOL: 1})}),
        ({10}, {"pools": (PoolFacts(name=POOL, size=1, used=2),)}),
        ({14}, {"topup_rows_micros": 999_999}),
        ({14}, {"topups": (TopupFacts(reference="r", amount_micros=1_000_000, entries=2, credited_micros=2_000_000),)}),
        ({14}, {"topups": ()}),
        ({14}, {"movement_rows_micros": 1}),
    ],
)
def test_figures_of_a_number_that_do_not_agree(invariants: set[int], change: dict[str, Any]) -> None:
    assert broken_by(replace(BOOKS, numbers=(replace(NUMBER, **change),))) == invariants


def test_a_unit_beyond_the_pool_is_right_where_whatsapp_says_so() -> None:
    told = PoolFacts(name=POOL, size=1, used=2, told=1)
    assert broken_by(replace(BOOKS, numbers=(replace(NUMBER, pools=(told,)),))) == set()


@pytest.mark.parametrize(
    ("available", "recorded", "cover", "sound"),
    [
        (-9_999, 0, False, True),
        (-10_000, 0, False, False),
        (-10_000, 1, False, True),  # a bill was a millionth dearer than its hold
        (-1, 0, True, False),
        (0, 0, True, True),
    ],
)
def test_the_block_level(available: int, recorded: int, *, cover: bool, sound: bool) -> None:
    balance = available + FARE
    number = replace(
        NUMBER,
        topups_micros=balance + 10_000,
        topup_rows_micros=None,
        topups=(),
        entries_micros=balance,
        balance_micros=balance,
        wallet=replace(WALLET, available_micros=available),
        recorded_below_micros=recorded,
        cover=cover,
    )
    assert broken_by(replace(BOOKS, numbers=(number,)), RunFacts()) == (set() if sound else {4})


def test_in_flight_a_wallet_may_show_too_little_and_never_too_much() -> None:
    for available, invariants in ((NUMBER.available_micros - 1, set()), (NUMBER.available_micros + 1, {3})):
        number = replace(NUMBER, wallet=replace(WALLET, available_micros=available, held_micros=0))
        assert broken_by(Books(numbers=(number,), at_rest=False), RunFacts()) == invariants
        stale = replace(number, epoch=5)  # nothing that is taken from it is ever recorded
        assert broken_by(Books(numbers=(stale,), at_rest=False), RunFacts()) == set()


@pytest.mark.parametrize(
    ("invariants", "holds"),
    [
        ({3, 5, 6}, (OPEN, CHARGED, FAILED)),  # a message without a hold
        ({5}, (*HOLDS, replace(FAILED, hold_id="x"))),  # a message with two
        ({5, 8}, (OPEN, FREE, replace(CHARGED, charges_micros=(10_000, 10_000)), FAILED)),
        ({5, 8}, (OPEN, FREE, replace(CHARGED, charges_micros=()), FAILED)),
        ({5}, (OPEN, FREE, CHARGED, replace(FAILED, charges_micros=(1,)))),
        ({5}, (replace(OPEN, billed_micros=0), FREE, CHARGED, FAILED)),
        ({8}, (OPEN, FREE, replace(CHARGED, state=State.RELEASED, billed_micros=0, charges_micros=()), FAILED)),
        ({8}, (OPEN, FREE, CHARGED, replace(FAILED, state=State.EXPIRED))),
        ({8}, (OPEN, FREE, replace(CHARGED, late=True), FAILED)),
    ],
)
def test_holds_that_do_not_fit_what_whatsapp_says(invariants: set[int], holds: tuple[HoldFacts, ...]) -> None:
    assert broken_by(replace(BOOKS, holds=holds)) == invariants


def test_a_delivery_waits_for_its_price() -> None:
    unpriced = MessageFacts(wamid="w-a", statuses=frozenset({"delivered"}), priced=False)
    assert broken_by(BOOKS, RunFacts(messages=(unpriced,))) == set()
    assert broken_by(BOOKS, RunFacts(messages=(replace(unpriced, priced=True),))) == {8}


@pytest.mark.parametrize(
    ("invariant", "change"),
    [
        (4, {"takes": (TakeFacts(number_id="1", available_after_micros=-FARE, fare_micros=FARE),)}),
        (4, {"takes": (TakeFacts(number_id="1", available_after_micros=-1, fare_micros=FARE, cover=True),)}),
        (6, {"left": frozenset({"never-recorded"})}),
        (7, {"outcomes": (({"a": ("settled", 1)}, {"a": ("released", 0)}),)}),
        (7, {"outcomes": (({"a": ("settled", 1)}, {}),)}),
        (9, {"refusals": (((0, 5), (0, 4)),)}),
        (11, {"relayed": ((b"{}", b"{ }"),)}),
        (12, {"refusal_texts": (("S", "s"),)}),
        (12, {"refusal_texts": ((),)}),
        (13, {"rebuilt": (("1", WALLET, WALLET),)}),
        (13, {"rebuilt": (("1", WALLET, replace(WALLET, epoch=5, pools={})),)}),
        (13, {"rebuilt": (("1", WALLET, replace(WALLET, epoch=5, users={"u": {"csw": "1"}})),)}),
        (14, {"acknowledged_topups": (("1", "lost", 5),)}),
        (15, {"alerts": (AlertFacts(number_id="1", crossings=1, alerts=2),)}),
        (16, {"reports": (ReportFacts(name="usage", reported=3, ledger=4),)}),
        (17, {"recovery_ms": 60_001}),
        (17, {"unresolved": ("a",)}),
        (18, {"log_lines": ("authorised by secret-token",)}),
    ],
)
def test_what_was_seen_from_outside(invariant: int, change: dict[str, Any]) -> None:
    found = violations(BOOKS, replace(RUN, **change))
    assert [violation.invariant for violation in found] == [invariant]
    assert "secret-token" not in str(found[0])
    assert str(found[0]).startswith(f"invariant {invariant}, ")
