"""Figures in cells are what prometheus-client's own values would have been, in several processes and after a kill."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector

from farebox.cells import FOLDER, MAX_CHILDREN, Cell, children

AMOUNTS = st.sampled_from([0, 1, 2.5, 0.0034, 0.1, 10, 11, 1e9])
DEEDS = st.lists(
    st.tuples(st.sampled_from(["inc", "observe", "sum", "recent"]), st.sampled_from(["a", "b"]), AMOUNTS), max_size=30
)


@contextmanager
def figures_in(folder: Path, *, cells: bool = True) -> Iterator[None]:
    """Metrics that are made now keep their numbers in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER, str(folder))
        patch.setattr(Cell, "files", {})
        patch.setattr(values, "ValueClass", Cell if cells else values.MultiProcessValue())  # type: ignore[no-untyped-call]
        yield
        for file in Cell.files.values():
            file._f.close()
        if not cells:
            values.ValueClass.close_all_files()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with figures_in(tmp_path):
        yield tmp_path


def read(folder: Path) -> dict[tuple[str, str], float]:
    """What a scrape finds."""
    metrics = MultiProcessCollector(None, str(folder)).collect()  # type: ignore[no-untyped-call]
    return {(sample.name, str(sorted(sample.labels.items()))): sample.value for m in metrics for sample in m.samples}


def count(deeds: list[tuple[str, str, float]]) -> None:
    counter = Counter("c", "c", ("l",), registry=None)
    histogram = Histogram("h", "h", ("l",), buckets=(0.1, 1, 10), registry=None)
    total = Gauge("s", "s", ("l",), registry=None, multiprocess_mode="livesum")
    recent = Gauge("r", "r", ("l",), registry=None, multiprocess_mode="mostrecent")
    does: dict[str, Callable[[str, float], Any]] = {
        "inc": lambda label, amount: counter.labels(label).inc(amount),
        "observe": lambda label, amount: histogram.labels(label).observe(amount),
        "sum": lambda label, amount: total.labels(label).set(amount),
        "recent": lambda label, amount: recent.labels(label).set(amount),
    }
    for deed, label, amount in deeds:
        does[deed](label, amount)


@given(DEEDS)
def test_a_scrape_reads_what_it_would_without_cells(deeds: list[tuple[str, str, float]]) -> None:
    found = []
    for cells in (True, False):
        with TemporaryDirectory() as folder, figures_in(Path(folder), cells=cells):
            count(deeds)
            found.append(read(Path(folder)))
    assert found[0] == found[1]
    assert bool(found[0]) is bool(deeds)


def test_cells_that_were_handed_out_before_a_file_grew_are_in_it_still(folder: Path) -> None:
    counter = Counter("c", "c" * 500, ("l",), registry=None)
    first = counter.labels("0")
    for label in range(1, 1000):  # half a megabyte, where a file begins with 64 kB
        counter.labels(str(label)).inc(label)
    first.inc(7)
    counter.labels("999").inc()
    found = read(folder)
    assert found["c_total", "[('l', '0')]"] == 7
    assert found["c_total", "[('l', '500')]"] == 500
    assert found["c_total", "[('l', '999')]"] == 1000


WORKER = """
import os, signal
from farebox import metrics
from farebox.decisions import decided
for _ in range(3):
    decided("accepted", message_class="paid", category="utility")
    metrics.count_fare("USD", "utility", "Germany", 55_000, "service:2026-11")
    metrics.SEND_SECONDS.observe(0.02)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_workers_counted_is_there_though_they_were_killed(folder: Path) -> None:
    for _ in range(2):
        ended = subprocess.run([sys.executable, "-c", WORKER], check=False, capture_output=True)
        assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    found = read(folder)
    sends = "[('category', 'utility'), ('class', 'paid'), ('outcome', 'accepted')]"
    assert found["farebox_sends_total", sends] == 6
    fares = "[('category', 'utility'), ('currency', 'USD'), ('market', 'Germany')]"
    assert found["farebox_fares_total", fares] == pytest.approx(0.33)
    assert found["farebox_pool_units_total", "[('pool', 'service')]"] == 6
    assert found["farebox_send_seconds_count", "[]"] == 6
    assert found["farebox_send_seconds_bucket", "[('le', '0.01')]"] == 0
    assert found["farebox_send_seconds_bucket", "[('le', '0.025')]"] == 6


def test_children_at_hand_are_the_metrics_own_and_no_more_than_the_bound() -> None:
    counter = Counter("c", "c", ("l",), registry=None)
    child = children(counter)
    child("a").inc()
    assert child("a") is counter.labels("a")
    for label in range(MAX_CHILDREN + 10):
        child(str(label)).inc()
    assert child.cache_info().currsize == MAX_CHILDREN  # type: ignore[attr-defined]
    child("a").inc()
    assert counter.labels("a")._value.get() == 2
