"""What the audit of dependencies says: a vulnerability is never passed over, and one that was not made says so."""

import json

import pytest

from audit.__main__ import judge

WELL = {"name": "a", "version": "1", "vulns": []}
ILL = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([WELL], 0, "1 packages, none"),
        ([WELL, UNKNOWN], 0, "1 it does not know"),
        ([UNKNOWN, UNKNOWN], 0, "NOT DONE"),
        ([WELL, ILL, UNKNOWN], 1, "b 2: CVE-1, fixed in 3"),
    ],
)
def test_a_report(packages: list[object], code: int, said: str) -> None:
    judged, sentence = judge(json.dumps({"dependencies": packages}), "")
    assert judged == code
    assert said in sentence


def test_no_report() -> None:
    assert judge("", "requests.exceptions.ConnectionError: Failed to resolve")[0] == 0
    assert judge("", "No module named pip_audit")[0] == 1
