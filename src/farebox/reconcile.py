"""Compares what must be equal, number by number: entries, stored balance, open holds, wallet."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg

from farebox.core.money import format_micros
from farebox.ledger import Ledger
from farebox.wallet import Wallet

PAGE = 500  # numbers in one query
PAUSE_S = 0.2  # between two looks: a settlement takes milliseconds from the ledger to the wallet
LOOKS = 10  # of the command: on a busy number a look may meet another message that just settles


@dataclass(frozen=True, slots=True)
class Comparison:
    """One number's figures in micro-units; the wallet's are None where it has no wallet (yet)."""

    number_id: str
    currency: str
    entries_micros: int
    balance_micros: int
    held_micros: int
    wallet_available_micros: int | None
    wallet_held_micros: int | None

    @property
    def differences(self) -> list[str]:
        """Return what does not agree, each in a sentence."""
        found = []
        if self.entries_micros != self.balance_micros:
            found.append(
                f"the entries sum to {format_micros(self.entries_micros)}, "
                f"the stored balance is {format_micros(self.balance_micros)}"
            )
        if self.wallet_available_micros is not None and self.wallet_held_micros is not None:
            wallet_micros = self.wallet_available_micros + self.wallet_held_micros
            if wallet_micros != self.balance_micros:
                found.append(
                    f"the wallet has {format_micros(wallet_micros)} (available + held), "
                    f"the ledger {format_micros(self.balance_micros)}"
                )
            elif self.wallet_held_micros != self.held_micros:
                found.append(
                    f"the wallet holds {format_micros(self.wallet_held_micros)}, "
                    f"the ledger's open holds are {format_micros(self.held_micros)}"
                )
        return found


async def compare(ledger: Ledger, wallet: Wallet, *, looks: int = 1) -> AsyncIterator[Comparison]:
    """Yield every number's figures.

    Ledger and wallet are read one after the other, so a message that settles between the two differs for a moment.
    With several `looks` a number that differs is looked at again, and only what lasts is a difference.
    """
    after = ""
    while rows := await ledger.fetch("ledger_position", after, PAGE):
        for row in rows:
            comparison = await _compare(row, wallet)
            for _ in range(looks - 1):
                if not comparison.differences:
                    break
                await asyncio.sleep(PAUSE_S)
                (again,) = await ledger.fetch("ledger_position", after, 1)
                comparison = await _compare(again, wallet)
            yield comparison
            after = row["number_id"]


async def _compare(row: asyncpg.Record, wallet: Wallet) -> Comparison:
    position = await wallet.position(row["number_id"])
    return Comparison(
        number_id=row["number_id"],
        currency=row["currency"],
        entries_micros=row["entries_micros"],
        balance_micros=row["balance_micros"],
        held_micros=row["held_micros"],
        wallet_available_micros=None if position is None else position.available_micros,
        wallet_held_micros=None if position is None else position.held_micros,
    )
