"""One trial: a copy of the tree with a bug in it (or none), and what the tests say."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from planted.bugs import Bug

ROOT = Path(__file__).parent.parent.parent
TREE = ("src", "sql", "config", "tests", "pyproject.toml")
TEST_TIMEOUT_S = 60  # of one test: a bug may also show as a test that waits for ever
TRIAL_TIMEOUT_S = 600  # of all tests of a bug, on a machine that is busy with other things
FAILED = re.compile(r"^FAILED (\S+?)(?:\[| - |$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Trial:
    """What the tests said. `red_by` is the test that failed, None where none did."""

    red_by: str | None
    seconds: float
    output: str


def run(bug: Bug) -> Trial:
    """Plant a bug and run its tests until the first one fails."""
    with _copy() as root:
        bug.plant(root)
        return _tested(root, bug.tests)


def run_unbroken(tests: Iterable[str]) -> Trial:
    """Run tests on a copy with no bug in it: only what is green here says anything when it is red there."""
    with _copy() as root:
        return _tested(root, tests)


@contextmanager
def _copy() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="farebox-planted-") as name:
        root = Path(name)
        for part in TREE:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
            else:
                shutil.copy2(ROOT / part, root / part)
        yield root


def _tested(root: Path, tests: Iterable[str]) -> Trial:
    options = ("-x", "-q", "--tb=short", "-rf", "-p", "no:cacheprovider", f"--timeout={TEST_TIMEOUT_S}")
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TRIAL_TIMEOUT_S,
        check=False,
    )
    failed = FAILED.search(done.stdout)
    # 0: all passed, 1: some failed, or could not be set up. Without a verdict of a test nothing is proven.
    if done.returncode not in (0, 1) or (done.returncode == 1 and failed is None):
        raise RuntimeError(f"the tests did not run ({done.returncode}):\n{done.stdout}{done.stderr}")
    return Trial(failed.group(1) if failed else None, time.perf_counter() - started, done.stdout + done.stderr)
