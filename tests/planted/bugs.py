"""What the bugs are, and how one is planted."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "bugs"


class StaleBugError(ValueError):
    """The source has moved on: the bug's text is not there, or not only once."""


@dataclass(frozen=True, slots=True)
class Bug:
    """A deliberate break of one place in the product."""

    name: str
    breaks: str  # the promise that it breaks, in a few words
    file: str
    find: str
    replace: str
    tests: tuple[str, ...]  # pytest ids, the fastest first; one of them must fail
    quick: bool = False  # one of the few that every test run plants for real

    def plant(self, root: Path) -> None:
        """Change the file in a tree; raises StaleBugError where its text is not there exactly once."""
        file = root / self.file
        text = file.read_text() if file.is_file() else ""
        if (count := text.count(self.find)) != 1:
            raise StaleBugError(f"{self.name!r}: its text occurs {count} times in {self.file}, it must be once")
        file.write_text(text.replace(self.find, self.replace))


def load() -> list[Bug]:
    """Read all bugs, file by file."""
    return [
        Bug(**{**table, "tests": tuple(table["tests"])})
        for file in sorted(FOLDER.glob("*.toml"))
        for table in tomllib.loads(file.read_text())["bug"]
    ]
