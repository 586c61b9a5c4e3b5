"""The benchmarks themselves: what they fill ledgers with is sound, their load is counted, and regressions show."""

import asyncio
import json
from typing import Any

import pytest

from benchmarks import generator, load, profile
from benchmarks.growth import FILL, fill
from benchmarks.peers.upstream import Upstream
from benchmarks.population import FUNDS_MICROS, id_of, populate
from benchmarks.report import PLACE, README, Figure, Section, alike, quoted, recorded, regressions
from farebox.config import Settings
from farebox.gate import Gate
from farebox.reconcile import compare


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


async def test_a_population_has_books_that_agree_and_wallets_that_can_be_built(settings: Settings, gate: Gate) -> None:
    assert settings.database_url is not None
    await populate(settings.database_url, 3, app_url="http://127.0.0.1:9")
    await gate.directory.load(gate.ledger)
    assert await gate.rebuild.ahead() == 3
    assert [text async for row in compare(gate.ledger, gate.wallet) for text in row.differences] == []
    position = await gate.wallet.position(id_of(2))
    assert position is not None
    assert position.available_micros == FUNDS_MICROS


@pytest.mark.parametrize("what", FILL)
async def test_what_growth_fills_in_is_what_the_ledger_holds(settings: Settings, gate: Gate, what: str) -> None:
    assert settings.database_url is not None
    await populate(settings.database_url, 1, app_url="http://127.0.0.1:9")
    await fill(settings.database_url, what, 0, 6)
    await fill(settings.database_url, what, 6, 10)
    tables = {"open windows": ("open_window", 10), "open holds": ("hold", 10), "ledger rows": ("hold", 5)}
    table, rows = tables[what]
    assert await gate.ledger._pool.fetchval(f"SELECT count(*) FROM {table}") == rows


def test_the_upstream_answers_every_request_however_the_bytes_come() -> None:
    run = generator.Run("h", numbers=3, serial=0)
    requests = b"".join(run.request() for _ in range(3))
    for size in (1, 7, 100, len(requests)):
        upstream, wire = Upstream(), Wire()
        upstream.connection_made(wire)  # type: ignore[arg-type]
        for at in range(0, len(requests), size):
            upstream.data_received(requests[at : at + size])
        answers = [part.partition(b"\r\n\r\n")[2] for part in wire.written.split(b"HTTP/1.1 200 OK")[1:]]
        wamids = {json.loads(answer)["messages"][0]["id"] for answer in answers}
        assert len(wamids) == 3


@pytest.mark.parametrize("order", [{}, {"rate": 100}])
async def test_our_generator_counts_what_was_answered(order: dict[str, Any]) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        closed = {"url": url, "connections": 4, "seconds": 0.2, "numbers": 1}
        answers, seconds, p50_ms, p99_ms, failures = await load._ours({**closed, **order})
    assert failures == 0
    assert 0 < p50_ms <= p99_ms
    assert seconds > 0
    assert answers == 20 if order else answers > 4


def test_more_cpu_a_message_is_a_regression_and_less_is_none() -> None:
    before = {"gateway": 2.0, "gone": 1.0}
    assert regressions(before, {"gateway": 2.29}) == []
    assert regressions(before, {"gateway": 1.0, "new": 9.0}) == []
    (said,) = regressions(before, {"gateway": 2.4})
    assert "+20%" in said


def test_only_what_was_measured_on_machines_alike_is_compared() -> None:
    record = Section("s", [], machine="one CPU, Python 3.11.7", load=0.1)
    assert alike(record, Section("s", [], machine="one CPU, Python 3.11.7", load=2.5))
    assert not alike(record, Section("s", [], machine="another CPU, Python 3.11.7", load=0.1))


def test_a_figure_says_which_bar_it_reaches() -> None:
    assert [Figure("f", [value], 1, 2).row()[-1] for value in (0.9, 1, 2)] == ["missed", "bar", "goal"]
    assert [Figure("f", [value], 2, 1, more_is_better=False).row()[-1] for value in (3, 2, 1)] == [
        "missed",
        "bar",
        "goal",
    ]


def test_a_profile_counts_a_function_once_a_stack() -> None:
    inner = "/venv/lib/python3.11/site-packages/asyncpg/pool.py"
    stacks = [f"run (asyncio/runners.py:1);send (/x/src/farebox/a.py:1);send (/x/src/farebox/a.py:2);f ({inner}:9) 3"]
    own, whole, total = profile.count([*stacks, "run (asyncio/runners.py:1) 1"])
    assert (own["f (asyncpg/pool.py)"], own["run (asyncio/runners.py)"]) == (3, 1)
    assert (whole["send (farebox/a.py)"], whole["run (asyncio/runners.py)"], total) == (3, 4, 4)


def test_the_readme_quotes_the_record() -> None:
    said = README.read_text().partition(PLACE[0])[2].partition(PLACE[1])[0].strip()
    kept = recorded()
    assert said == ("\n".join(quoted(kept)) if kept else "Not measured yet.")
