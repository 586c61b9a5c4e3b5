"""The metrics that are read when somebody asks: what the stores know, and whether they answer."""

import asyncio
from collections.abc import Awaitable, Iterable

from prometheus_client.core import GaugeMetricFamily

from farebox.core.money import MICROS_PER_UNIT
from farebox.directory import Number
from farebox.gate import Gate
from farebox.ledger import LedgerUnavailableError
from farebox.metrics import (
    AVAILABLE,
    BALANCE,
    HELD,
    MAX_ACCOUNTS,
    MAX_NUMBERS,
    OTHER,
    PENDING,
    STORE_UP,
    Read,
)
from farebox.wallet import WalletUnavailableError

STORE_TIMEOUT_S = 2  # Prometheus gives up after 10 s by default; a store that takes this long is as good as away
_AWAY = (LedgerUnavailableError, WalletUnavailableError, TimeoutError)


async def read_figures(gate: Gate) -> list[GaugeMetricFamily]:
    """Return the figures that are read now. What a store that is away would say is left out."""
    wallet, ledger = await asyncio.gather(_up(gate.wallet.ping()), _up(gate.ledger.fetch("any_number")))
    families = [STORE_UP.family([(["wallet"], wallet), (["ledger"], ledger)])]
    try:
        async with asyncio.timeout(STORE_TIMEOUT_S):
            if ledger:
                families.append(await _balances(gate))
            if ledger and wallet and gate.settings.metrics_per_number:
                families += await _of_numbers(gate)
    except _AWAY:
        pass  # the next scrape shows it as away
    return families


async def _up(question: Awaitable[object]) -> int:
    try:
        async with asyncio.timeout(STORE_TIMEOUT_S):
            await question
    except _AWAY:
        return 0
    return 1


async def _balances(gate: Gate) -> GaugeMetricFamily:
    rows = await gate.ledger.fetch("balances_by_account", MAX_ACCOUNTS, OTHER)
    return BALANCE.family(
        ((row["account_id"], row["currency"]), row["balance_micros"] / MICROS_PER_UNIT) for row in rows
    )


async def _of_numbers(gate: Gate) -> list[GaugeMetricFamily]:
    """Return available, held and pending of the first numbers; a wallet that is about to be rebuilt is left out."""
    numbers = [gate.directory.numbers[id_] for id_ in sorted(gate.directory.numbers)[:MAX_NUMBERS]]
    ids = [number.number_id for number in numbers]
    positions = await gate.wallet.positions(ids)
    pending = {row["number_id"]: row["pending_micros"] for row in await gate.ledger.fetch("pending_topups", ids)}
    known = [(number, position) for number, position in zip(numbers, positions, strict=True) if position is not None]
    return [
        _money(AVAILABLE, ((number, position.available_micros) for number, position in known)),
        _money(HELD, ((number, position.held_micros) for number, position in known)),
        _money(PENDING, ((number, pending.get(number.number_id, 0)) for number in numbers)),
    ]


def _money(read: Read, amounts: Iterable[tuple[Number, int]]) -> GaugeMetricFamily:
    return read.family(
        ((number.number_id, number.account_id, number.currency), micros / MICROS_PER_UNIT) for number, micros in amounts
    )
