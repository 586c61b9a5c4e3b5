"""Our deliveries of a month beside Meta's own figures, cell by cell: day, market, category.

Meta bills by its figures; ours come from the webhooks that it sent. Both should agree, but for webhooks that were lost,
messages of another gateway on the same number, and prices. What does not agree is said with the likely reason.
Costs are Meta's own rates, without what an account adds to them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from farebox.core.markup import PPM, Markup
from farebox.core.money import format_micros

ROUNDING_MICROS = 10_000  # of a cell's cost: Meta's figures are approximate, and rounded to a cent in some currencies


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One day, market and category. Categories are Meta's words in small letters with underscores."""

    day: date
    market: str
    category: str

    def __str__(self) -> str:
        return f"{self.day} {self.market} {self.category}"


@dataclass(frozen=True, slots=True)
class Tally:
    """What one side counts: paid and free messages (or conversations), and their cost; None where it does not say."""

    paid: int = 0
    free: int = 0
    cost_micros: int | None = None
    open: int = 0  # ours only: sent on that day and not heard of yet
    late: int = 0  # ours only: charged after they had ended otherwise

    @property
    def total(self) -> int:
        """All of them."""
        return self.paid + self.free


NOTHING = Tally()


@dataclass(frozen=True, slots=True)
class Gap:
    """A cell that does not agree, and why that is likely so."""

    cell: Cell
    ours: Tally
    theirs: Tally
    text: str


def gaps(ours: Mapping[Cell, Tally], theirs: Mapping[Cell, Tally], quarantined: Mapping[date, int]) -> Iterator[Gap]:
    """Yield what does not agree. `quarantined`: deliveries by day whose message nobody here knows."""
    sums: dict[tuple[str, str], int] = {}
    for side, sign in ((ours, 1), (theirs, -1)):
        for cell, tally in side.items():
            sums[cell.market, cell.category] = sums.get((cell.market, cell.category), 0) + sign * tally.total
    for cell in sorted(ours.keys() | theirs.keys()):
        mine, meta = ours.get(cell, NOTHING), theirs.get(cell, NOTHING)
        if (mine.paid, mine.free) == (meta.paid, meta.free) and not _cost_differs(mine, meta):
            continue
        shifted = mine.total != meta.total and sums[cell.market, cell.category] == 0
        reasons = _reasons(mine, meta, shifted=shifted, quarantined=quarantined.get(cell.day, 0))
        text = f"{cell}: Meta counts {_said(meta)}, here {_said(mine)}: {' and '.join(reasons)}"
        yield Gap(cell, mine, meta, text)


def rate_part(billed_micros: int, messages: int, markup: Markup) -> int:
    """Return what Meta's rates were in bills that were not split: the mark-up taken off again, to the rounding."""
    net_micros = billed_micros * PPM // (PPM + markup.tax_ppm) - messages * markup.fixed_micros
    return net_micros * PPM // (PPM + markup.percent_ppm)


def _cost_differs(mine: Tally, meta: Tally) -> bool:
    if meta.cost_micros is None or mine.cost_micros is None:
        return False
    return abs(mine.cost_micros - meta.cost_micros) > ROUNDING_MICROS


def _reasons(mine: Tally, meta: Tally, *, shifted: bool, quarantined: int) -> list[str]:
    more = meta.total - mine.total
    if shifted:
        return ["the month's sums agree, so they were counted on another day"]
    if more > 0:
        known = [
            text
            for text, there in (
                (f"{mine.open} sent on that day are still open here, their webhook has not come", mine.open),
                (f"{quarantined} deliveries of that day are of messages not known here", quarantined),
            )
            if there
        ]
        return known or [f"{more} were sent past this gateway, or their webhooks were lost until their holds expired"]
    if more < 0:
        late = [f"{mine.late} were charged late, after Meta's figures were closed"] if mine.late else []
        return late or ["Meta's figures may be behind; if they stay so, these were charged and Meta does not bill them"]
    if mine.paid != meta.paid:
        count = abs(mine.paid - meta.paid)
        return [f"{count} {'free here are paid at Meta' if meta.paid > mine.paid else 'paid here are free at Meta'}"]
    return ["the price differs: another volume tier or rate card"]


def _said(tally: Tally) -> str:
    cost = "" if tally.cost_micros is None else f" at {format_micros(tally.cost_micros)}"
    return f"{tally.paid} paid{cost} and {tally.free} free"
