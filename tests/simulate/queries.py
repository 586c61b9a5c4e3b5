"""The named queries of `sql/queries.sql` that a simulated life asks, and the rows that they lock."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from simulate import queries_holds as holds
from simulate import queries_statuses as statuses
from simulate import queries_wallets as wallets
from simulate.tables import Database, Row

_LOCKED = {
    "record_holds": 1, "end_holds": 3, "credit_topup": 1, "carry_conversation": 3, "lock_numbers": 0,
    "lock_idle_numbers": 0, "next_epochs": 0, "adopt_hold": 1,
}  # fmt: skip
LOCKING_FOR_LONG = frozenset({"lock_numbers", "lock_idle_numbers"})  # FOR UPDATE: kept to the end of the transaction
PASSING_LOCKED = "lock_idle_numbers"  # SKIP LOCKED
_QUERIES: dict[str, Callable[..., Iterable[Row]]] = {
    query.__name__: query
    for query in (
        holds.record_holds, holds.accept_holds, holds.holds_by_reference, holds.end_holds, holds.next_rider,
        holds.carry_conversation, holds.note_delivery, holds.expired_holds, holds.overdue, holds.credit_topup,
        wallets.lock_numbers, wallets.number_epoch, wallets.next_epochs, wallets.wallet_truths, wallets.busy_numbers,
        wallets.expected_positions, wallets.windows_of, wallets.conversations_of, wallets.users_in_windows,
        wallets.users_in_conversations, wallets.open_windows, wallets.close_windows, wallets.close_window_of,
        wallets.forget_windows, statuses.put_unmatched, statuses.take_unmatched, statuses.drop_unmatched,
        statuses.adopt_hold, statuses.put_quarantine, statuses.now,
    )
} | {
    "lock_idle_numbers": wallets.lock_numbers, "make_partitions": statuses.nothing,
    "forget_quarantine": statuses.nothing, "forget_keys": statuses.nothing,
}  # fmt: skip


def locks(query: str, arguments: Sequence[Any]) -> set[str]:
    """Return the numbers whose rows a statement locks."""
    place = _LOCKED.get(query)
    if place is None:
        return set()
    named = arguments[place]
    return {named} if isinstance(named, str) else set(named)


def run(database: Database, query: str, arguments: Sequence[Any], undo: list[Callable[[], None]]) -> list[Row]:
    """Run a statement; what it wrote and may have to be taken back goes to `undo`."""
    database.undo = undo
    return list(_QUERIES[query](database, *arguments))
