"""Every line of the golden corpus, played against real stores and the real send and bookkeeping."""

import itertools
from collections.abc import AsyncIterator

import pytest

from corpus_files import Case, all_cases
from corpus_play import Play
from corpus_stage import Stage, open_stage
from farebox.embedded import EmbeddedStores

CASES = all_cases()
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def stage(stores: EmbeddedStores, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One gateway for all lines: each has a number of its own."""
    async with open_stage(stores, tmp_path_factory.mktemp("corpus")) as opened:
        yield opened


def _parameters() -> list[object]:
    return [
        pytest.param(
            case,
            id=case.place,
            marks=[pytest.mark.xfail(reason=case.open, strict=True)] if case.open else [],
        )
        for case in CASES
    ]


@pytest.mark.parametrize("case", _parameters())
async def test_line(stage: Stage, case: Case) -> None:
    play = Play(stage, f"{next(_numbers):010d}")
    await play.run(case)
    await play.check_books()


def test_there_are_enough_lines() -> None:
    assert len(CASES) >= 300
