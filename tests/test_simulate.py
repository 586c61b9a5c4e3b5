"""Whole lives under faults (`simulate`), and its model of PostgreSQL against a real one."""

import json
import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from farebox.sql import queries
from simulate.statements import TAKEN_BACK, Recorded, statements_of

ROOT = Path(__file__).parent.parent
SEEDS = os.environ.get("SEEDS", "1000")  # CI asks for 10,000
COMPARED = (1, 2, 4, 7, 11, 13, 21, 26)  # of these lives every statement is put to a real database
AT_LEAST = 1_000  # statements
ENOUGH = 20  # of their messages are charged, and as many cost nothing in the end
MADE_ANEW = {"now", "make_partitions", "forget_quarantine", "forget_keys"}  # answers that no two databases give alike
KEPT = ("state", "class", "fare_micros", "billed_micros", "wamid", "late", "pool", "epoch", "ended_by", "recipient",
        "opens", "rides")  # fmt: skip


def simulate(*arguments: str, hash_seed: str = "0") -> "subprocess.CompletedProcess[str]":
    """Run it in a process of its own: it takes the product's clock and chance into its hands."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-m", "simulate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)


@pytest.mark.timeout(1_800)
def test_nothing_goes_wrong_in_any_life() -> None:
    lived = simulate("--seeds", SEEDS)
    assert lived.returncode == 0, lived.stdout or lived.stderr
    assert "nothing went wrong" in lived.stdout


def test_a_seed_replays_exactly() -> None:
    first, second = (simulate("--seed", "17", hash_seed=hash_seed).stdout for hash_seed in ("1", "2"))
    assert len(first.splitlines()) > 100
    assert first == second


async def test_the_model_of_postgres_answers_as_a_real_one(database_url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        lives = pool.map(statements_of, COMPARED)
    assert sum(len(life.statements) for life in lives) > AT_LEAST
    ended = Counter(hold["state"] for life in lives for hold in life.holds.values())
    assert min(ended["settled"], ended["released"]) > ENOUGH, "messages leave, and some fail"
    store = await asyncpg.connect(database_url)
    try:
        await store.execute(
            "INSERT INTO account (account_id, name, currency, created_at) VALUES ('a', 'A', 'USD', now())"
        )
        for life in lives:
            await replay(store, life)
            await store.execute(
                "SET session_replication_role = replica; "
                "TRUNCATE number, balance, hold, entry, topup, usage, "
                "open_window, conversation, unmatched_status, message_claim CASCADE; "
                "SET session_replication_role = DEFAULT; ALTER SEQUENCE wallet_epoch RESTART"
            )
    finally:
        await store.close()


async def replay(store: "asyncpg.Connection[Any]", life: Recorded) -> None:
    for number_id in life.numbers:
        await store.execute(
            "INSERT INTO number (number_id, account_id, currency, created_at) VALUES ($1, 'a', 'USD', now())", number_id
        )
        await store.execute("INSERT INTO balance VALUES ($1)", number_id)
    for place, (query, arguments, answered) in enumerate(life.statements):
        if query == TAKEN_BACK:
            for number_id, epoch in arguments[0].items():
                await store.execute("UPDATE number SET epoch = $2 WHERE number_id = $1", number_id, epoch)
        elif query not in MADE_ANEW:
            rows = await store.fetch(queries()[query], *arguments)
            if query == "lock_idle_numbers":  # here nobody else holds a lock
                rows = [row for row in rows if dict(row) in answered]
            assert comparable(rows) == comparable(answered), f"statement {place}, {query}: {arguments}"
    balances = await store.fetch("SELECT number_id, balance_micros FROM balance")
    assert {row["number_id"]: row["balance_micros"] for row in balances} == life.balances
    for row in await store.fetch("SELECT * FROM hold"):
        wanted = life.holds.pop(row["hold_id"])
        assert {name: row[name] for name in KEPT} == {name: wanted[name] for name in KEPT}
    assert not life.holds


def comparable(rows: Any) -> list[str]:
    """Rows in one order; a JSON text by what it says."""
    plain = [
        {**row, **({"payload": json.loads(row["payload"])} if "payload" in row else {})} for row in map(dict, rows)
    ]
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in plain)
