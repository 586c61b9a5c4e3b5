"""Reads the books of real stores, as the invariants want them (core/books.py).

The ledger is read first, in one statement and so in one snapshot; then the wallets. On a number that is in use the two
may differ for a moment: whoever wants them at rest looks again.
"""

from collections.abc import Sequence
from dataclasses import replace

import asyncpg

from farebox.core.books import Books, HoldFacts, NumberFacts, PoolFacts, TopupFacts, WalletFacts
from farebox.core.hold import OPEN, State
from farebox.ledger import Ledger
from farebox.wallet import Position, Wallet

PAGE = 500  # numbers in one query


async def read_page(
    ledger: Ledger, wallet: Wallet, after: str = "", *, limit: int = PAGE, only: Sequence[str] | None = None
) -> list[NumberFacts]:
    """Return the sums of a page of numbers, in the order of their ids; `only`: of these."""
    rows = await ledger.fetch("books", after, limit, only)
    positions = await wallet.positions([row["number_id"] for row in rows])
    return [_number(row, position) for row, position in zip(rows, positions, strict=True)]


async def read_books(ledger: Ledger, wallet: Wallet, number_ids: Sequence[str]) -> Books:
    """Return everything about a few numbers, hold by hold: for tests and runs, not for a ledger of millions.

    The block level is taken to be the one that is set now.
    """
    numbers = await read_page(ledger, wallet, limit=len(number_ids), only=number_ids)
    rows = await ledger.fetch("books_holds", number_ids)
    topups = await ledger.fetch("books_topups", number_ids)
    return Books(
        numbers=tuple(
            _in_detail(
                number,
                [row for row in rows if row["number_id"] == number.number_id],
                [row for row in topups if row["number_id"] == number.number_id],
            )
            for number in numbers
        ),
        holds=tuple(_hold(row) for row in rows),
    )


def _number(row: asyncpg.Record, position: Position | None) -> NumberFacts:
    return NumberFacts(
        number_id=row["number_id"],
        currency=row["currency"],
        topups_micros=row["topups_micros"],
        settled_micros=row["settled_micros"],
        adjustments_micros=row["adjustments_micros"],
        refunds_micros=row["refunds_micros"],
        transfers_micros=row["transfers_micros"],
        disputes_micros=row["disputes_micros"],
        entries_micros=row["entries_micros"],
        balance_micros=row["balance_micros"],
        open_holds=row["open_holds"],
        held_micros=row["held_micros"],
        smallest_held_micros=row["smallest_held_micros"],
        epoch=row["epoch"],
        wallet=None
        if position is None
        else WalletFacts(
            epoch=position.epoch, available_micros=position.available_micros, held_micros=position.held_micros
        ),
        billed_micros=row["billed_micros"],
        topup_rows_micros=row["topup_rows_micros"],
        movement_rows_micros=row["movement_rows_micros"],
        cover=row["funds_rule"] == "cover",
    )


def _in_detail(number: NumberFacts, holds: list[asyncpg.Record], topups: list[asyncpg.Record]) -> NumberFacts:
    sends: dict[object, int] = {}  # by the hold that speaks for the send
    for hold in holds:
        speaker = hold["sent_with"] or hold["hold_id"]
        sends[speaker] = sends.get(speaker, 0) + hold["fare_micros"]
    used: dict[str, list[bool]] = {}  # pool -> for each unit whether only WhatsApp's word took it
    for hold in holds:
        if hold["pool"] is not None and hold["ended_by"] in (None, "deliver"):
            used.setdefault(hold["pool"], []).append(not hold["state_evidence"].endswith(f" in {hold['pool']}"))
    taken_back = -min(0, number.adjustments_micros) - min(0, number.transfers_micros)
    taken_back += number.refunds_micros + max(0, number.disputes_micros)
    return replace(
        number,
        topups=tuple(
            TopupFacts(
                reference=row["reference"],
                amount_micros=row["amount_micros"],
                entries=row["entries"],
                credited_micros=row["credited_micros"],
            )
            for row in topups
        ),
        pools=tuple(PoolFacts(name=name, used=len(told), told=sum(told)) for name, told in sorted(used.items())),
        block_at_micros=holds[0]["block_at_micros"] if holds else None,
        largest_fare_micros=max(sends.values(), default=0),
        recorded_below_micros=taken_back + sum(_beyond(hold) for hold in holds),
    )


def _beyond(hold: asyncpg.Record) -> int:
    """Return by how much a hold may lower available past the block level without its send being to blame."""
    fare_micros: int = hold["fare_micros"]
    billed_micros: int = hold["billed_micros"] or 0
    if hold["overdrawn"]:
        return max(fare_micros, billed_micros)
    return max(0, billed_micros - (0 if hold["late"] else fare_micros))


def _hold(row: asyncpg.Record) -> HoldFacts:
    return HoldFacts(
        hold_id=str(row["hold_id"]),
        number_id=row["number_id"],
        state=State(row["state"]),
        fare_micros=row["fare_micros"],
        billed_micros=None if State(row["state"]) in OPEN else row["billed_micros"],
        charges_micros=tuple(row["charges_micros"]),
        wamid=row["wamid"],
        late=row["late"],
    )
