"""README's tables say what the code says, and links in README and docs/ lead somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

from farebox import metrics
from farebox.config import PREFIX, Settings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text()
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def setting_rows() -> list[str]:
    return [
        f"| `{PREFIX}{name.upper()}` | {'' if field.default is None else f'`{field.default}`'} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]


def metric_rows() -> list[str]:
    rows = []
    for metric in metrics.REGISTRY._collector_to_names:
        (family,) = metric.describe()
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = ", ".join(metric._labelnames)  # type: ignore[attr-defined]
        rows.append(f"| `{name}` | {labels} | {family.documentation} |")
    rows += [f"| `{read.name}` | {', '.join(read.labels)} | {read.documentation} |" for read in metrics.AT_SCRAPE]
    return rows


def test_every_setting_has_its_row() -> None:
    for row in setting_rows():
        assert row in README, row
    assert README.count("| `FAREBOX_") == len(Settings.model_fields)


def test_every_metric_has_its_row() -> None:
    for row in metric_rows():
        assert row in README, row
    assert README.count("| `farebox_") == len(metric_rows())


def test_every_link_leads_somewhere() -> None:
    links = [(page, link) for page in PAGES for link in LINK.findall(page.read_text()) if "://" not in link]
    assert len(links) > 5, "the pages have links"
    for page, link in links:
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def anchors(page: Path) -> Iterator[str]:
    """The names that GitHub gives to a page's headings."""
    for heading in HEADING.findall(page.read_text()):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
