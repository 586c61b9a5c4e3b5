"""Where a worker's figures lie, and how a scrape reads those of all workers together.

prometheus-client keeps the figures of each process in files of one folder and adds them up. Its own value takes a lock,
asks for the process id and looks its place up whenever something is counted, some ten times a send; a `Cell` is a
double in that same file, added to where it lies. What was counted is in the file at once: a worker that is killed
loses nothing of it, and a scrape that another worker answers has it.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # as prometheus-client calls it; the parent process sets it for its workers
MAX_CHILDREN = 4_096  # of a metric that are kept at hand: currencies x categories x markets; a bound on memory
Metric = TypeVar("Metric", Counter, Histogram)


class File(MmapedDict):
    """A file of one process and one type of metric."""

    def cell(self, key: str) -> "memoryview[float]":
        """Return the value of a key and its time, where they lie.

        A file that grows is mapped anew, and the cells that were handed out stay in the mapping before: both are the
        same pages of the same file.
        """
        self.read_value(key)  # type: ignore[no-untyped-call]  # makes room for a new one
        at: int = self._positions[key]
        return memoryview(self._m)[at : at + 16].cast("d")


class Cell:
    """A number of a metric, as prometheus-client wants it (its `ValueClass`).

    Without a lock: nearly all counting is done by the event loop's thread, and between reading a double and writing it
    CPython does not pass on to another thread. A worker does not fork, so its files stay its own.
    """

    __slots__ = ("_cell",)
    files: ClassVar[dict[str, File]] = {}  # of this process, by type and mode

    def __init__(  # noqa: PLR0917  as prometheus-client calls it
        self,
        type_: str,
        metric: str,
        name: str,
        labels: Sequence[str],
        label_values: Sequence[str],
        documentation: str,
        multiprocess_mode: str = "",
    ) -> None:
        kind = f"{type_}_{multiprocess_mode}" if multiprocess_mode else type_
        if kind not in self.files:
            path = Path(os.environ[FOLDER]) / f"{kind}_{os.getpid()}.db"
            self.files[kind] = File(str(path))  # type: ignore[no-untyped-call]
        key = mmap_key(metric, name, list(labels), list(label_values), documentation)
        self._cell = self.files[kind].cell(key)

    def inc(self, amount: float) -> None:
        """Add."""
        self._cell[0] += amount

    def set(self, value: float, timestamp: float | None = None) -> None:
        """Set, at a time where the most recent value of all workers counts."""
        self._cell[0] = value
        self._cell[1] = timestamp or 0.0

    def get(self) -> float:
        """Return the number."""
        return self._cell[0]

    def get_exemplar(self) -> None:
        """Return nothing: what is read from files has no exemplars."""


def keep_in_cells() -> None:
    """Let metrics that are made from now on keep their numbers in cells, in a process that shares a folder of them."""
    if FOLDER in os.environ:
        values.ValueClass = Cell


def children(metric: Metric) -> Callable[..., Metric]:
    """Return what gives a metric's children by their labels, at a tenth of the cost of its own `labels`."""
    return lru_cache(MAX_CHILDREN)(metric.labels)


def exposition(own: CollectorRegistry, families: Sequence[GaugeMetricFamily] = ()) -> bytes:
    """Return the figures of all workers in Prometheus' text format, with `families` that were just read.

    A process without a folder has its `own` only.
    """
    registry = CollectorRegistry()
    if FOLDER in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(own)
    registry.register(_Families(families))
    return generate_latest(registry)


class _Families:
    """Figures that were just read, as a registry takes them."""

    def __init__(self, families: Sequence[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the figures."""
        return iter(self._families)
