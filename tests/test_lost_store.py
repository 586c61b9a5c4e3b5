"""A store lost with all wallets: one send finds out, and the others are written before they are asked for."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks.population import FUNDS_MICROS, id_of, populate
from farebox import rebuild
from farebox.asks import Gap, NewWallet, Position
from farebox.config import Settings
from farebox.gate import Gate
from farebox.ledger import Ledger, LedgerUnavailableError
from farebox.rebuild import Rebuild
from farebox.wallet import Wallet, WalletUnavailableError

NUMBERS = 5
USER = "16505551234"


@pytest.fixture
async def lost(settings: Settings, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate whose numbers all had wallets, in a store that is empty now; one of the numbers has a window open."""
    monkeypatch.setattr(rebuild, "AHEAD_AFTER_S", 0)
    monkeypatch.setattr(rebuild, "MEND_PAUSE_S", 0)
    monkeypatch.setattr(rebuild, "AHEAD_CHUNK", 2)
    assert settings.database_url is not None
    await populate(settings.database_url, NUMBERS, app_url="http://127.0.0.1:9")
    await gate.directory.load(gate.ledger)
    assert await gate.rebuild.ahead() == NUMBERS
    await gate.ledger._pool.execute(
        "INSERT INTO open_window (number_id, user_id, kind, ends_at_ms) VALUES ($1, $2, 'csw', $3)",
        id_of(2), USER, int(time.time() * 1000) + 3_600_000,
    )  # fmt: skip
    await gate.wallet._redis.flushall()
    return gate


async def all_there(gate: Gate) -> bool:
    positions = await gate.wallet.positions([id_of(which) for which in range(1, NUMBERS + 1)])
    return all(position is not None and position.available_micros == FUNDS_MICROS for position in positions)


async def test_the_first_send_that_misses_its_wallet_has_all_others_written(lost: Gate) -> None:
    await lost.rebuild(lost.directory.numbers[id_of(1)], stale_epoch=None)
    await lost.rebuild.settled()
    assert await all_there(lost)
    known = await lost.wallet.state(id_of(2), USER)
    assert known.recipient["csw"]  # type: ignore[union-attr]
    positions = await lost.wallet.positions([id_of(2)])
    assert positions[0] is not None
    assert positions[0].filled


async def test_who_writes_while_the_wallet_is_written_is_not_lost(lost: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window that was once open opens again after the ledger was read: that waits for no rebuild."""
    window = [id_of(1)], [USER], ["csw"]
    await lost.ledger.fetch("open_windows", *window, [1], [None])
    written, ends_ms = Wallet.rebuild, int(time.time() * 1000) + 3_600_000

    async def writes_meanwhile(self: Wallet, wallets: Sequence[NewWallet]) -> None:
        await lost.ledger.fetch("open_windows", *window, [ends_ms], [None])
        await lost.wallet.open_windows(id_of(1), [(USER, "csw", ends_ms, None)])
        await written(self, wallets)

    monkeypatch.setattr(Wallet, "rebuild", writes_meanwhile)
    await lost.rebuild(lost.directory.numbers[id_of(1)], stale_epoch=None)
    assert await lost.wallet.state(id_of(1), USER) is Gap.UNREAD, "as a send finds it, which then has it read"


@pytest.mark.parametrize(
    ("owner", "name", "error"),
    [
        (Wallet, "rebuild", WalletUnavailableError("late")),
        (Wallet, "positions", WalletUnavailableError("late")),
        (Ledger, "numbers_locked", LedgerUnavailableError("late")),
    ],
    ids=["rebuild", "positions", "numbers_locked"],
)
async def test_a_store_that_is_late_once_in_the_pass_does_not_end_it(
    lost: Gate, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, error: Exception
) -> None:
    real, calls = getattr(owner, name), 0

    def late(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:  # the first is the send's own; this one is of the pass
            raise error
        return real(*arguments, **named)

    await lost.rebuild(lost.directory.numbers[id_of(1)], stale_epoch=None)
    monkeypatch.setattr(owner, name, late)
    calls = 1
    await lost.rebuild.settled()
    assert calls > 2, "the pass asked again"
    assert await all_there(lost)


async def test_users_are_read_after_the_last_wallet_is_written(lost: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then a send reads the one it needs; the wallets of other numbers can not be sent from at all."""
    order: list[str] = []
    write, fill = Rebuild._write, Rebuild.fill

    async def writes(*arguments: Any) -> None:
        await write(*arguments)
        order.append("write")

    def fills(*arguments: Any) -> None:
        order.append("fill")
        fill(*arguments)

    monkeypatch.setattr(Rebuild, "_write", writes)
    monkeypatch.setattr(Rebuild, "fill", fills)
    await asyncio.create_task(lost.rebuild.ahead())
    assert order == ["write"] * (len(order) - 1) + ["fill"]


async def test_a_wallet_with_any_number_of_counts_is_written(gate: Gate) -> None:
    """Lua hands only some thousands of values to a command at once."""
    counts = {f"held:key:{which}": str(which) for which in range(5_000)}
    await gate.wallet.rebuild([NewWallet("1", Position(7, 2, 1, filled=True), counts)])
    written = await gate.wallet._redis.hgetall("farebox:{1}:wallet")
    assert {name: value for name, value in written.items() if name in counts} == counts
    assert await gate.wallet.position("1") == Position(7, 2, 1, filled=True)
