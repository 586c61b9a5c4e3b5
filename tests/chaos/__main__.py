"""`make chaos CYCLES=100`: every fault in turn under load; a table, and an end that is not 0 where a promise broke."""

import argparse
import asyncio
import secrets
import sys

from chaos.cycle import HEAD, run_cycle, run_out
from chaos.faults import FAULTS
from chaos.load import Load
from chaos.stage import Stage

LOG_BYTES = 20_000  # of the gateway's log, shown after a violation


def say(text: object) -> None:
    print(text, flush=True)  # noqa: T201  a row as soon as it is known


async def run(cycles: int, seed: int, chosen: list[str]) -> int:
    violations = 0
    async with Stage.open(seed) as stage:
        load = Load(stage)
        say(f"seed {seed}\n{HEAD}")
        for cycle in range(cycles):
            outcome = await run_cycle(stage, load, chosen[cycle % len(chosen)])
            violations += len(outcome.violations)
            say(outcome)
            if outcome.violations:
                say(stage.logged()[-LOG_BYTES:])
        left = await run_out(stage)
        violations += len(left)
        say("\n".join(left) or "every hold has come to its end")
    say(f"{cycles} cycles, {violations} violations")
    return 1 if violations else 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Faults under load, real processes.")
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--only", default="", help="faults that contain this text")
    options = parser.parse_args()
    chosen = [name for name in FAULTS if options.only in name]
    sys.exit(asyncio.run(run(options.cycles, options.seed, chosen)) if chosen else 2)


if __name__ == "__main__":
    main()
