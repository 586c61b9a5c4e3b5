"""The alert rules fire when they should and only then, and rules and dashboard name figures that there are."""

import json
import re
from pathlib import Path

from farebox import metrics
from operate.tools import need, run

ROOT = Path(__file__).parent.parent.parent
RULES = ROOT / "config/prometheus/farebox.rules.yml"
CASES = Path(__file__).parent / "alerts.yml"
DASHBOARD = ROOT / "config/grafana/farebox.json"


def known_series() -> set[str]:
    names = {read.name for read in metrics.AT_SCRAPE}
    for collector in metrics.REGISTRY._collector_to_names:
        (family,) = collector.describe()
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        names |= {family.name + suffix for suffix in suffixes}
    return names


def dashboard_queries() -> list[str]:
    return [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]]


async def test_promtool_plays_every_alert() -> None:
    code, output = await run(need("promtool", package="prometheus"), "test", "rules", str(CASES))
    assert code == 0, output


def test_every_alert_has_its_case_and_says_what_to_do() -> None:
    rules, cases = RULES.read_text(), CASES.read_text()
    alerts = re.findall(r"- alert: (\w+)", rules)
    assert len(alerts) > 20
    for alert in alerts:
        assert f"- name: {alert}\n" in cases, f"{alert} has no case that fires"
        assert f"alertname: {alert}, exp_alerts: []" in cases, f"nothing says that {alert} is quiet on a good day"
    assert rules.count("runbook: ") == len(alerts)


def test_rules_and_dashboard_name_figures_that_there_are() -> None:
    known = known_series()
    named = set(re.findall(r"\bfarebox_\w+", " ".join([RULES.read_text(), *dashboard_queries()])))
    assert named <= known, named - known
