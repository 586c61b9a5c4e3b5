"""Rows of the ledger as values."""

import uuid

from farebox.rows import new_hold_id


def test_hold_ids_sort_by_time() -> None:
    ids = [new_hold_id(ms) for ms in (1, 2, 1_700_000_000_000, 1_700_000_000_001)]
    assert ids == sorted(ids)
    assert all(id_.version == 7 and id_.variant == uuid.RFC_4122 for id_ in ids)
