"""Looks the installed packages up in the advisory database; exit 1 where one has a known vulnerability.

Where the database can not be asked this says so and exits 0: a network that is away is no vulnerability. Nothing else
does: a package index that knows no advisories answers as if there were none, and that is said as well.
"""

# ruff: noqa: T201  it is a command

import json
import subprocess
import sys
from typing import Any

TIMEOUT_S = 15  # for one answer of the database
COMMAND = (sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner=off", "--format=json")
UNREACHABLE = ("ConnectionError", "Could not connect", "Timeout", "timed out", "Max retries exceeded")


def judge(report: str, said: str) -> tuple[int, str]:
    """Return exit code and sentence for what pip-audit wrote to its two outputs."""
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except ValueError:
        if any(word in said for word in UNREACHABLE):
            return 0, "NOT DONE: the advisory database could not be reached. Run `make audit` where it can be."
        return 1, f"pip-audit failed:\n{said}"
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'none'}"
        for package in packages
        for flaw in package.get("vulns", [])
    ]
    if found:
        return 1, "\n  ".join([f"{len(found)} known vulnerabilities:", *found])
    unknown = sum("skip_reason" in package for package in packages)
    if unknown == len(packages):
        return 0, f"NOT DONE: the advisory database knows none of the {unknown} packages here, so nothing was checked."
    more = f"; {unknown} it does not know" if unknown else ""
    return 0, f"{len(packages) - unknown} packages, none with a known vulnerability{more}"


def main() -> None:
    """Ask, and say what came of it."""
    asked = subprocess.run([*COMMAND, f"--timeout={TIMEOUT_S}"], capture_output=True, text=True, check=False)
    code, sentence = judge(asked.stdout, asked.stderr)
    print(f"audit: {sentence}")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
