"""Reads the golden corpus: cases as lines of text, each a row of cells that are played from left to right.

The words that cells may use are explained in corpus/README.txt; this module only cuts lines.
"""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"
OPEN = "# open:"  # in front of a case that is right and that the product does not yet fulfil
GIVEN = "given:"


@dataclass(frozen=True)
class Case:
    """One line: its place, the cells that hold for every case below its `given:`, its own, and why it is still open."""

    place: str
    given: tuple[str, ...]
    cells: tuple[str, ...]
    open: str | None


def cells_of(text: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in text.split("|") if cell.strip())


def cases_of(file: Path) -> list[Case]:
    """Read a file. An indented line goes on with the case above it."""
    logical: list[tuple[int, str]] = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if line[:1].isspace() and line.strip():
            start, text = logical[-1]
            logical[-1] = (start, f"{text} {line.strip()}")
        elif line.strip():
            logical.append((number, line.strip()))
    cases: list[Case] = []
    given: tuple[str, ...] = ()
    open_ = None
    for number, text in logical:
        if text.startswith(OPEN):
            open_ = text.removeprefix(OPEN).strip()
        elif text.startswith(GIVEN):
            given = cells_of(text.removeprefix(GIVEN))
        elif not text.startswith("#"):
            cases.append(Case(f"{file.stem}:{number}", given, cells_of(text), open_))
            open_ = None
    return cases


def all_cases() -> list[Case]:
    return [case for file in sorted(FOLDER.glob("*.txt")) if file.name != "README.txt" for case in cases_of(file)]
