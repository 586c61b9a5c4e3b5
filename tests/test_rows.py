"""Rows of the ledger as values."""

import subprocess
import sys
import uuid

from farebox import rows
from farebox.rows import new_hold_id


def test_hold_ids_sort_by_time() -> None:
    ids = [new_hold_id(ms) for ms in (1, 2, 1_700_000_000_000, 1_700_000_000_001)]
    assert ids == sorted(ids)
    assert all(id_.version == 7 and id_.variant == uuid.RFC_4122 for id_ in ids)


def test_no_two_hold_ids_are_the_same() -> None:
    many = 3 * rows._IDS_AT_ONCE
    assert len({new_hold_id(1) for _ in range(many)}) == many


PARTING = """
import os
from farebox.rows import new_hold_id

new_hold_id(1)  # more random bytes than its own are at hand now
read, write = os.pipe()
child = os.fork()
ids = " ".join(str(new_hold_id(1)) for _ in range(300))
if not child:
    os.write(write, ids.encode())
    os._exit(0)
os.waitpid(child, 0)
print(ids, os.read(read, 100_000).decode())
"""


def test_processes_that_part_make_ids_of_their_own() -> None:
    ended = subprocess.run([sys.executable, "-c", PARTING], check=True, capture_output=True, text=True)
    ids = ended.stdout.split()
    assert len(ids) == len(set(ids)) == 600
