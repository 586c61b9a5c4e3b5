"""Meta's figures beside ours: what agrees, what does not, and why."""

from datetime import date

import pytest

from farebox.core.against_meta import Cell, Tally, gaps, rate_part
from farebox.core.markup import Markup

DAY = date(2026, 11, 3)
CELL = Cell(DAY, "Germany", "utility")


def told(ours: Tally, theirs: Tally, quarantined: int = 0) -> list[str]:
    return [gap.text for gap in gaps({CELL: ours}, {CELL: theirs}, {DAY: quarantined})]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Tally(3, 1, 165_000), Tally(3, 1, 165_000)),
        (Tally(3, 1, 165_000), Tally(3, 1, None)),  # Meta hides costs from partners
        (Tally(3, 1, 165_000), Tally(3, 1, 175_000)),  # rounding
        (Tally(0, 0, 0, open=4), Tally()),
    ],
)
def test_what_agrees(ours: Tally, theirs: Tally) -> None:
    assert told(ours, theirs) == []


@pytest.mark.parametrize(
    ("ours", "theirs", "quarantined", "piece"),
    [
        (Tally(3, 1, open=2), Tally(5, 1), 0, "2 sent on that day are still open here"),
        (Tally(3, 1), Tally(5, 1), 2, "2 deliveries of that day are of messages not known here"),
        (Tally(3, 1), Tally(5, 1), 0, "2 were sent past this gateway, or their webhooks were lost"),
        (Tally(5, 1), Tally(3, 1), 0, "Meta's figures may be behind"),
        (Tally(5, 1, late=2), Tally(3, 1), 0, "2 were charged late"),
        (Tally(3, 3), Tally(5, 1), 0, "2 free here are paid at Meta"),
        (Tally(5, 1), Tally(3, 3), 0, "2 paid here are free at Meta"),
        (
            Tally(3, 1, 165_000),
            Tally(3, 1, 175_001),
            0,
            "at 0.175001 and 1 free, here 3 paid at 0.165 and 1 free: the pr",
        ),
    ],
)
def test_what_does_not_agree_and_why(ours: Tally, theirs: Tally, quarantined: int, piece: str) -> None:
    (text,) = told(ours, theirs, quarantined)
    assert text.startswith("2026-11-03 Germany utility: Meta counts ")
    assert piece in text


def test_a_delivery_counted_on_another_day() -> None:
    next_day = Cell(date(2026, 11, 4), "Germany", "utility")
    found = list(gaps({CELL: Tally(1)}, {next_day: Tally(1)}, {}))
    assert [gap.cell for gap in found] == [CELL, next_day]
    assert all("counted on another day" in gap.text for gap in found)


@pytest.mark.parametrize("markup", [Markup(), Markup(40_000, 0, 190_000), Markup(100_000, 500, 0)])
def test_the_markup_comes_off_again(markup: Markup) -> None:
    billed = 1_000 * markup.fare_micros(55_000)
    assert abs(rate_part(billed, 1_000, markup) - 1_000 * 55_000) <= 1_000
