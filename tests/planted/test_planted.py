"""The planted bugs can still be planted, their tests still exist, and a few are planted for real in every run."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from planted.__main__ import README
from planted.bugs import Bug, StaleBugError, load
from planted.trial import ROOT, run

BUGS = load()


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_finds_its_one_place(bug: Bug, tmp_path: Path) -> None:
    copy = tmp_path / bug.file
    copy.parent.mkdir(parents=True)
    shutil.copyfile(ROOT / bug.file, copy)
    bug.plant(tmp_path)
    assert copy.read_text() != (ROOT / bug.file).read_text()
    with pytest.raises(StaleBugError):
        Bug(bug.name, "", bug.file, "a text that is nowhere", "", ()).plant(tmp_path)


def test_names_are_told_apart_and_every_bug_names_a_test() -> None:
    names = [bug.name for bug in BUGS]
    assert len(set(names)) == len(names) >= 15
    assert all(bug.tests for bug in BUGS)


def test_the_named_tests_exist() -> None:
    tests = sorted({test for bug in BUGS for test in bug.tests})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_table_shows_every_bug() -> None:
    lines = README.read_text().splitlines()
    shown = [line.split("|")[1:3] for line in lines if line.startswith("| ") and "::" in line]
    assert shown == [[f" {bug.name} ", f" {bug.breaks} "] for bug in BUGS], "run: make planted"


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.quick], ids=lambda bug: bug.name)
def test_a_planted_bug_turns_a_test_red(bug: Bug) -> None:
    trial = run(bug)
    assert trial.red_by is not None, f"no test notices it:\n{trial.output}"
