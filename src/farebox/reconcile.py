"""Compares what must be equal, number by number: documents, entries, stored balance, roll-ups, wallet.

What differs is explained (core/difference.py, which also says which side is right).
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from farebox.books import PAGE, read_page
from farebox.core.books import NumberFacts
from farebox.core.difference import (
    NO_TRACES,
    Difference,
    Kind,
    RollUp,
    Some,
    Traces,
    differences,
    usage_difference,
    wallet_differs,
)
from farebox.core.hold import OPEN
from farebox.core.money import format_micros
from farebox.gate import Gate
from farebox.ledger import Ledger
from farebox.wallet import Wallet

PAUSE_S = 0.2  # between two looks: a settlement takes milliseconds from the ledger to the wallet
LOOKS = 10  # of the command: on a busy number a look may meet another message that just settles
MAX_TRACED = 10_000  # holds of a wallet that are looked at to explain a difference; past that the sentence says less
RECENT_TOPUPS = 20  # those that a difference is compared with


@dataclass(frozen=True, slots=True)
class Comparison:
    """One number's books, and what does not agree in them."""

    facts: NumberFacts
    found: tuple[Difference, ...]

    @property
    def differences(self) -> list[str]:
        """Return what does not agree, each in a sentence."""
        return [difference.text for difference in self.found]

    @property
    def wallet_available_micros(self) -> int | None:
        """What the wallet shows; None where there is none (yet)."""
        return None if self.facts.wallet is None else self.facts.wallet.available_micros

    @property
    def wallet_held_micros(self) -> int | None:
        """What the wallet has set aside; None where there is none (yet)."""
        return None if self.facts.wallet is None else self.facts.wallet.held_micros


async def compare(
    ledger: Ledger, wallet: Wallet, *, looks: int = 1, only: Sequence[str] | None = None
) -> AsyncIterator[Comparison]:
    """Yield every number's comparison, or that of `only` some.

    Ledger and wallet are read one after the other, so a message that settles between the two differs for a moment.
    With several `looks` a number that differs is looked at again, and only what lasts is a difference.
    """
    rolled_up = await _roll_ups(ledger, only)
    after = ""
    while page := await read_page(ledger, wallet, after, limit=PAGE, only=only):
        for number in page:
            facts = number
            for _ in range(looks - 1):
                if not any(differences(facts)):
                    break
                await asyncio.sleep(PAUSE_S)
                (facts,) = await read_page(ledger, wallet, limit=1, only=[number.number_id])
            traces = await _traces(ledger, wallet, facts) if wallet_differs(facts) else NO_TRACES
            found = [*differences(facts, traces)]
            if rows := rolled_up.get(facts.number_id):
                found.append(usage_difference(facts.number_id, rows))
            yield Comparison(facts, tuple(found))
        after = page[-1].number_id


async def repair(gate: Gate, comparison: Comparison) -> list[str]:
    """Mend what differs in a number's books, in the order of core/difference.py; return what was done, in sentences."""
    number_id, done = comparison.facts.number_id, []
    rebuild = any(difference.kind is Kind.WALLET for difference in comparison.found)
    if any(difference.kind is not Kind.WALLET for difference in comparison.found):
        for row in await gate.ledger.fetch("repair_books", number_id, gate.clock.now_ms()):
            done.append(DONE[row["what"]].format(count=row["count"], amount=format_micros(row["micros"])))
            rebuild = rebuild or row["what"] == "balance"
    position = await gate.wallet.position(number_id)
    if rebuild and position is not None:
        await gate.rebuild(gate.directory.numbers[number_id], stale_epoch=position.epoch)
        done.append("its wallet was rebuilt from the ledger")
    return done


DONE = {
    "charges": "{count} corrections charge {amount} that holds were billed",
    "topups": "{count} corrections credit {amount} of top-ups",
    "movements": "{count} entries were added as their movements say: {amount} together",
    "balance": "its stored balance was set to the sum of its entries: it moved by {amount}",
    "usage": "{count} rows of its roll-up were counted anew: they moved by {amount}",
}


async def _roll_ups(ledger: Ledger, only: Sequence[str] | None) -> dict[str, list[RollUp]]:
    """Return the rows of the roll-up that differ, by number. One statement, so nothing is half settled in it."""
    one = only[0] if only is not None and len(only) == 1 else None
    found: dict[str, list[RollUp]] = {}
    for row in await ledger.fetch("usage_against_holds", one):
        where = f"{row['day']} {row['market']} {row['category']} ({row['class']})"
        sums = (row["usage_messages"], row["usage_micros"], row["hold_messages"], row["hold_micros"])
        found.setdefault(row["number_id"], []).append(RollUp(where, *sums))
    return found


async def _traces(ledger: Ledger, wallet: Wallet, number: NumberFacts) -> Traces:
    """Look at the holds and top-ups that explain why a wallet differs."""
    assert number.wallet is not None, "only a wallet that is there differs"
    listed = await wallet.holds(number.number_id, MAX_TRACED)
    known = {hold.hold_id: hold for hold in await ledger.find_holds(map(UUID, listed), [])}
    unrecorded = [fare for hold_id, fare in listed.items() if UUID(hold_id) not in known]
    ended = [fare for hold_id, fare in listed.items() if (hold := known.get(UUID(hold_id))) and hold.state not in OPEN]
    rows = await ledger.fetch("open_holds_of_epoch", number.number_id, number.wallet.epoch, MAX_TRACED)
    lost = [row["fare_micros"] for row in rows if str(row["hold_id"]) not in listed]
    missing = number.balance_micros - number.wallet.available_micros - number.wallet.held_micros
    topups = await ledger.fetch("topups", [number.number_id], RECENT_TOPUPS)
    complete = len(listed) < MAX_TRACED
    return Traces(
        unrecorded=_some(unrecorded),
        ended=_some(ended),
        lost=_some(lost) if complete else Some(),  # not seen is not lost where not everything was looked at
        topup=next(
            (row["reference"] for row in topups if row["credited_at"] and row["amount_micros"] == missing), None
        ),
    )


def _some(fares: Sequence[int]) -> Some:
    return Some(len(fares), sum(fares))
