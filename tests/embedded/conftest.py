"""Folders that the stores can reach, and a pair of stores to share."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from farebox.embedded import EmbeddedStores


@contextmanager
def open_folder() -> Iterator[Path]:
    """Make a folder that everybody can enter. Pytest's own are closed, to which a root in a container finds no way."""
    with tempfile.TemporaryDirectory(prefix="farebox-test-") as name:
        Path(name).chmod(0o711)
        yield Path(name).resolve()


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as made:
        yield made


@pytest.fixture(scope="module")
async def stores() -> AsyncIterator[EmbeddedStores]:
    """The stores as they run in production: durable. The tests that share them change nothing."""
    with open_folder() as made:
        async with EmbeddedStores(made) as running:
            yield running
