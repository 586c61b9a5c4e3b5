"""Which planted bugs the lives find: each is planted alone in a copy of the tree, until a life goes wrong.

The model of PostgreSQL stands in for `sql/queries.sql`, so bugs of that file are none of these lives' business; the
comparison with a real PostgreSQL in `tests/test_simulate.py` is what keeps the model to the file.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from planted.bugs import Bug, StaleBugError, load

ROOT = Path(__file__).parent.parent.parent
COPIED = ("src", "sql", "config", "tests")


def hunt(bug: Bug, seeds: int) -> str:
    """Plant a bug and return what became of the lives."""
    with tempfile.TemporaryDirectory(prefix="farebox-hunt-") as name:
        tree = Path(name)
        for folder in COPIED:
            shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
        try:
            bug.plant(tree)
        except StaleBugError as error:
            return f"stale: {error}"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree / "src"), str(tree / "tests")])}
        command = [sys.executable, "-m", "simulate", "--seeds", str(seeds)]
        lived = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tree, check=False)
    found = re.search(r"seed (\d+): (.*)", lived.stdout)
    if found:
        return f"seed {found[1]}: {found[2]}"
    return "not found" if lived.returncode == 0 else f"broken: {lived.stderr.strip().splitlines()[-1]}"


def main() -> None:
    """Hunt all bugs, or those whose name holds a word."""
    parser = argparse.ArgumentParser(prog="simulate.hunt", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000, help="lives for each bug (default: 2,000)")
    parser.add_argument("words", nargs="*", help="only bugs whose name holds one of these")
    options = parser.parse_args()
    for bug in load():
        if bug.file.startswith("src/") and (not options.words or any(word in bug.name for word in options.words)):
            print(f"{bug.name}: {hunt(bug, options.seeds)}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
