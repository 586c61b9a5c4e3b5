"""What was measured, as tables: printed, kept beside the code, and compared with what was kept before."""

import json
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).parent / "results" / "bench.md"
RECORD = PAGE.with_suffix(".json")
README = Path(__file__).parents[2] / "README.md"
PLACE = ("<!-- bench -->", "<!-- /bench -->")
MAX_GROWTH = 0.15  # of CPU per message against the record; the rest is what two runs of the same code differ by


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table of Markdown, all but the first column to the right."""
    lines = [head, ("---", *("---:" for _ in head[1:])), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


@dataclass(frozen=True)
class Figure:
    """A figure with a bar and a goal, each None where there is none."""

    name: str
    rounds: list[float]
    bar: float | None
    goal: float | None
    more_is_better: bool = True

    def row(self) -> tuple[str, ...]:
        """Return the row of the first table."""
        middle = statistics.median(self.rounds)
        reached = "" if self.bar is None and self.goal is None else "missed"
        for what, limit in (("bar", self.bar), ("goal", self.goal)):
            if limit is not None and (middle >= limit if self.more_is_better else middle <= limit):
                reached = what
        spread = [_digits(value) for value in (min(self.rounds), middle, max(self.rounds))]
        return (
            self.name,
            *spread,
            *("" if limit is None else _digits(limit) for limit in (self.bar, self.goal)),
            reached,
        )


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


@dataclass(frozen=True)
class Section:
    """What one benchmark found."""

    title: str
    figures: list[Figure]
    details: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cpu: Mapping[str, float] = field(default_factory=dict)  # CPU per message in units of the bare proxy's, by what
    failed: bool = False
    machine: str = ""
    load: float = 0.0  # of the machine before, which changes with each run of the same one
    at: str = ""


def regressions(before: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """Return a sentence for each CPU per message that grew by more than what is allowed."""
    return [
        f"CPU per message of {what}: {now[what]:.2f} times the bare proxy's, {was:.2f} in the record: "
        f"{now[what] / was - 1:+.0%}"
        for what, was in before.items()
        if what in now and now[what] > was * (1 + MAX_GROWTH)
    ]


def alike(one: Section, other: Section) -> bool:
    """Tell whether two were measured on machines alike: on another, ours and the bare proxy do not slow down alike."""
    return one.machine == other.machine


def recorded() -> dict[str, Section]:
    """Return the sections of the record, by name."""
    if not RECORD.is_file():
        return {}
    return {
        name: Section(**{**kept, "figures": [Figure(**figure) for figure in kept["figures"]]})
        for name, kept in json.loads(RECORD.read_text()).items()
    }


def record(sections: Mapping[str, Section]) -> None:
    """Write the record and the page, and what README quotes of it."""
    RECORD.parent.mkdir(exist_ok=True)
    RECORD.write_text(json.dumps({name: asdict(section) for name, section in sections.items()}, indent=1) + "\n")
    PAGE.write_text("\n".join(page(sections)) + "\n")
    quote(sections)


def quoted(sections: Mapping[str, Section]) -> list[str]:
    """Return the lines that README quotes."""
    figures = [figure for section in sections.values() for figure in section.figures]
    return table(("", "median of the rounds"), ((figure.name, figure.row()[2]) for figure in figures))


def quote(sections: Mapping[str, Section]) -> None:
    """Put the figures into README, where it has a place for them."""
    before, start, rest = README.read_text().partition(PLACE[0])
    _, end, after = rest.partition(PLACE[1])
    README.write_text("".join((before, start, "\n", "\n".join(quoted(sections)), "\n", end, after)))


def today() -> str:
    """Return the day."""
    return datetime.now(UTC).date().isoformat()


def page(sections: Mapping[str, Section]) -> list[str]:
    """Return the lines of the page."""
    head = ("figure", "min", "median", "max", "bar", "goal", "reached")
    lines = [
        "# What enforcement costs",
        "",
        "Written by `make bench`. Read the ratios: absolute figures are those of one machine on one day.",
        "",
    ]
    lines += table(head, (figure.row() for section in sections.values() for figure in section.figures))
    for section in sections.values():
        lines += ["", f"## {section.title}", "", f"{section.at}, {section.machine}, load before {section.load:.1f}."]
        lines += section.notes
        if section.details:
            lines += ["", *section.details]
        if section.cpu:
            costs = ((what, f"{value:.2f}") for what, value in section.cpu.items())
            lines += ["", *table(("CPU per message", "times the bare proxy's"), costs)]
    return lines
