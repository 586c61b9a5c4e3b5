"""Runs many lives on all cores, or one with every event: `python -m simulate --seeds 10000`, `--seed 1234`."""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator

from simulate.life import live

CHUNK = 20  # lives that a process takes at once
LIVES_PER_PROCESS = 5_000  # then it is started anew, so that nothing piles up over a million of them


def chunks(first: int, count: int) -> Iterator[range]:
    """Cut the seeds into what a process takes at once."""
    for start in range(first, first + count, CHUNK):
        yield range(start, min(start + CHUNK, first + count))


def live_some(seeds: range) -> tuple[int, list[str]]:
    """Live some lives; return how many, and what was wrong."""
    return len(seeds), [wrong for seed in seeds if (wrong := live(seed)) is not None]


def run(first: int, count: int, *, keep_going: bool) -> int:
    """Live lives on all cores; return how many went wrong."""
    started, done, failed = time.monotonic(), 0, 0
    live_some(range(0))
    with multiprocessing.Pool(os.cpu_count(), maxtasksperchild=LIVES_PER_PROCESS // CHUNK) as pool:
        for lived, wrongs in pool.imap_unordered(live_some, chunks(first, count)):
            done += lived
            for wrong in wrongs:
                failed += 1
                print(wrong.splitlines()[0] if keep_going else wrong, flush=True)  # noqa: T201
            if failed and not keep_going:
                pool.terminate()
                break
            seconds = time.monotonic() - started
            line = f"{done:,} of {count:,} lives, {failed} wrong, {done / seconds:.0f} a second "
            print(f"\r{line}", end="", file=sys.stderr)  # noqa: T201
    print(file=sys.stderr)  # noqa: T201
    return failed


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seed", type=int, help="live this one life and print every event of it")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many lives (default: 10,000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--keep-going", action="store_true", help="print one line for each life that went wrong")
    options = parser.parse_args()
    if options.seed is not None:
        told = live(options.seed, whole_trace=True)
        print(told)  # noqa: T201
        return int(told is not None and told.startswith("seed "))
    failed = run(options.first, options.seeds, keep_going=options.keep_going)
    if not failed:
        print(f"{options.seeds:,} lives from seed {options.first:,} on: nothing went wrong")  # noqa: T201
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
