"""Where the books of one number do not agree, and why that is likely so, each in a sentence that a person can act on.

Which side is right is settled once, here:
  documents (holds, top-ups and movements, each with its evidence)  over  entries (append-only, each of one document)
  over the stored balance (the sum of the entries, kept beside them)  over the wallet (a copy, and disposable).
So what differs is mended from the left to the right: an entry that a document demands and that is not there is added as
a correction, a stored balance is set to its entries, a roll-up is counted anew, a wallet is rebuilt. Nothing that is in
the ledger is ever changed to fit what stands further right.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from farebox.core.books import NumberFacts, WalletFacts
from farebox.core.money import format_micros


class Kind(StrEnum):
    """What differs from what it must follow."""

    CHARGES = "charges"  # entries from holds
    TOPUPS = "topups"  # entries from top-ups
    MOVEMENTS = "movements"  # entries from refunds, transfers, adjustments and disputes
    BALANCE = "balance"  # the stored balance from the entries
    USAGE = "usage"  # the roll-up from the holds
    WALLET = "wallet"  # the wallet from stored balance and open holds


@dataclass(frozen=True, slots=True)
class Some:
    """Some holds: how many, and their fares together."""

    count: int = 0
    micros: int = 0

    def __str__(self) -> str:
        return f"{self.count} {'hold' if self.count == 1 else 'holds'} of {format_micros(self.micros)}"


@dataclass(frozen=True, slots=True)
class Traces:
    """What a wallet that differs was found to know and not to know, hold by hold."""

    unrecorded: Some = Some()  # the wallet has them, the ledger does not
    ended: Some = Some()  # open in the wallet, ended in the ledger
    lost: Some = Some()  # open in the ledger and of the wallet's epoch, not in the wallet
    topup: str | None = None  # the reference of a recent top-up of exactly what is missing


NO_TRACES = Traces()


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. `micros`: by how much the copy is above what it must follow; below zero where it is below."""

    number_id: str
    kind: Kind
    micros: int
    text: str


def differences(number: NumberFacts, traces: Traces = NO_TRACES) -> Iterator[Difference]:
    """Yield what does not agree, in the order in which it is mended."""
    if number.billed_micros is not None and number.settled_micros != number.billed_micros:
        micros = number.settled_micros - number.billed_micros
        text = (
            f"holds were billed {format_micros(number.billed_micros)}, entries charge "
            f"{format_micros(number.settled_micros)}: {_off(micros)}; {_mend(micros, 'hold', 'charge')}"
        )
        yield Difference(number.number_id, Kind.CHARGES, micros, text)
    if number.topup_rows_micros is not None and number.topups_micros != number.topup_rows_micros:
        micros = number.topups_micros - number.topup_rows_micros
        text = (
            f"top-ups sum to {format_micros(number.topup_rows_micros)}, entries credit "
            f"{format_micros(number.topups_micros)}: {_off(micros)}; {_mend(micros, 'top-up', 'credit')}"
        )
        yield Difference(number.number_id, Kind.TOPUPS, micros, text)
    if number.movement_rows_micros is not None and number.moved_micros != number.movement_rows_micros:
        micros = number.moved_micros - number.movement_rows_micros
        text = (
            f"refunds, transfers, adjustments and disputes sum to {format_micros(number.movement_rows_micros)}, "
            f"entries move {format_micros(number.moved_micros)}: {_off(micros)}; --repair adds what is missing"
        )
        yield Difference(number.number_id, Kind.MOVEMENTS, micros, text)
    if number.balance_micros != number.entries_micros:
        micros = number.balance_micros - number.entries_micros
        text = (
            f"the stored balance is {format_micros(number.balance_micros)}, "
            f"its entries sum to {format_micros(number.entries_micros)}: {_off(micros)}; somebody wrote past farebox, "
            "--repair sets the balance to its entries"
        )
        yield Difference(number.number_id, Kind.BALANCE, micros, text)
    if number.wallet is not None and _differs(number.wallet, number):
        micros = number.wallet.available_micros - number.available_micros
        yield Difference(number.number_id, Kind.WALLET, micros, _wallet(number, number.wallet, traces))


def wallet_differs(number: NumberFacts) -> bool:
    """Tell whether a wallet is there and shows other money than the ledger."""
    return number.wallet is not None and _differs(number.wallet, number)


@dataclass(frozen=True, slots=True)
class RollUp:
    """A row of the roll-up that differs from the holds that it sums up: messages and micro-units of both."""

    where: str
    messages: int
    micros: int
    hold_messages: int
    hold_micros: int


def usage_difference(number_id: str, rows: Sequence[RollUp]) -> Difference:
    """Say that the roll-up of a number differs; the first row stands for all."""
    first = rows[0]
    micros = sum(row.micros - row.hold_micros for row in rows)
    more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
    text = (
        f"the roll-up of {first.where} counts {first.messages} messages of {format_micros(first.micros)}, "
        f"the holds are {first.hold_messages} of {format_micros(first.hold_micros)}{more}: {_off(micros)}; "
        "reports are wrong by that, balances are not; --repair counts it anew"
    )
    return Difference(number_id, Kind.USAGE, micros, text)


def _differs(wallet: WalletFacts, number: NumberFacts) -> bool:
    return (wallet.available_micros, wallet.held_micros) != (number.available_micros, number.held_micros)


def _wallet(number: NumberFacts, wallet: WalletFacts, traces: Traces) -> str:
    figures = (
        f"the wallet has {format_micros(wallet.available_micros)} available and "
        f"{format_micros(wallet.held_micros)} held, the ledger {format_micros(number.available_micros)} and "
        f"{format_micros(number.held_micros)}"
    )
    causes = [
        text
        for text, there in (
            (f"{traces.unrecorded} taken by a worker that died before the ledger knew them", traces.unrecorded.count),
            (f"{traces.ended} ended in the ledger, and a worker died before it told the wallet", traces.ended.count),
            (f"{traces.lost} are not in the wallet: its store lost its last writes", traces.lost.count),
            (f"top-up {traces.topup} is booked and did not reach the wallet", traces.topup),
        )
        if there
    ]
    cause = " and ".join(causes) or "no hold or top-up explains it"
    return f"{figures}: {cause}; the sweep or --repair rebuilds the wallet"


def _mend(micros: int, document: str, entry: str) -> str:
    """Say what --repair does. An entry without a document is left: the document may be what was lost."""
    if micros < 0:
        return f"--repair adds a correction for each {document} whose {entry} is missing"
    return f"no {document} explains it, so --repair leaves it: look at the number's entries"


def _off(micros: int) -> str:
    return f"{format_micros(abs(micros))} too {'much' if micros > 0 else 'little'}"
