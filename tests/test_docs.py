"""README's tables say what the code says."""

from pathlib import Path

from farebox import metrics
from farebox.config import PREFIX, Settings

README = (Path(__file__).parent.parent / "README.md").read_text()


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
