"""Plants every bug and shows which test turns red.

make planted             all of them
make planted BUGS=fence  only those whose name contains the word

Exits with 1 if a bug stays green.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from planted.bugs import Bug, load
from planted.trial import Trial, run, run_unbroken

AT_A_TIME = os.cpu_count() or 1  # each trial has stores of its own
README = Path(__file__).parent / "README.md"
HEAD = """# Planted bugs

Written by `make planted`. Each bug is planted alone in a copy of the tree (`bugs/*.toml` says where and what); the test
beside it turned red, and is green without it.

| bug | what it breaks | red by |
|---|---|---|
"""


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def row(bug: Bug, red_by: str) -> str:
    """Return a bug's line of the table in README.md."""
    return f"| {bug.name} | {bug.breaks} | `{red_by.removeprefix('tests/')}` |\n"


def try_all(bugs: list[Bug]) -> dict[str, Trial]:
    """Plant all bugs, some at a time, and say what became of each as it is known."""
    trials: dict[str, Trial] = {}
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        futures = {threads.submit(run, bug): bug for bug in bugs}
        for future in as_completed(futures):
            bug, trial = futures[future], future.result()
            trials[bug.name] = trial
            red = f"red by {trial.red_by}" if trial.red_by else "STAYS GREEN"
            say(f"[{len(trials):>2} of {len(bugs)}] {bug.name}: {red} ({trial.seconds:.0f} s)")
    return trials


def main(words: list[str]) -> int:
    """Plant bugs, print the table, and write it down if it is whole."""
    bugs = load()
    chosen = [bug for bug in bugs if all(word in bug.name for word in words)]
    tests = sorted({test for bug in chosen for test in bug.tests})
    say(f"{len(chosen)} bugs; first their {len(tests)} tests without any bug ...")
    unbroken = run_unbroken(tests)
    if unbroken.red_by is not None:
        say(f"{unbroken.output}\n{unbroken.red_by} is red without any bug: nothing can be said")
        return 1
    trials = try_all(chosen)
    rows = [(bug, trials[bug.name]) for bug in chosen]
    wide = max((len(bug.name) for bug in chosen), default=0)
    say("")
    for bug, trial in rows:
        say(f"{bug.name:{wide}}  {trial.seconds:4.0f} s  {trial.red_by or 'STAYS GREEN: ' + bug.breaks}")
    green = [bug for bug, trial in rows if trial.red_by is None]
    if green:
        say(f"\n{len(green)} bugs stay green: write the test that notices them")
        return 1
    if chosen == bugs:
        README.write_text(HEAD + "".join(row(bug, trial.red_by or "") for bug, trial in rows))
        say(f"\nall {len(bugs)} bugs turn a test red; {os.path.relpath(README)} has the table")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
