"""Where a gateway under load spends its time: the top lines of a flame graph, by py-spy.

make bench-profile

Looks into a running worker two hundred times a second from outside, so that it hardly slows what it looks at. Writes
tests/benchmarks/results/profile.md; `--keep FILE` also keeps all stacks, one a line, for a flame graph.
"""

import argparse
import asyncio
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from benchmarks.designs import cpu
from benchmarks.load import Load, closed_loop
from benchmarks.processes import tree
from benchmarks.report import say, table, today
from benchmarks.stage import open_stage

PAGE = Path(__file__).parent / "results" / "profile.md"
CONNECTIONS = 128
WARM_S = 3
SECONDS = 10
LOOKS_A_SECOND = 200
TOP = 30
ROOTS = ("src/farebox/", "site-packages/", "lib/python3")  # what stands before these in a file's name is this machine's


def look_into(pid: int, output: Path) -> list[str]:
    """Return the command that writes down the stacks of a process."""
    beside = Path(sys.executable).with_name("py-spy")
    program = str(beside) if beside.is_file() else shutil.which("py-spy")
    assert program is not None, "py-spy is not here: make bench-profile installs it"
    # A thread that waits for work has no part in this, nor has a loop that waits for news: they do not hold the lock.
    how = ["--gil", "--format", "raw", "--rate", str(LOOKS_A_SECOND), "--duration", str(SECONDS - 1)]
    return [program, "record", "--pid", str(pid), "--output", str(output), *how]


def frames(stack: str) -> list[str]:
    """Return the functions of a stack, the innermost last, each as `name (file)`."""
    found = []
    for frame in stack.split(";"):
        name, _, place = frame.rpartition(" (")
        file = place.rpartition(":")[0] or place.rstrip(")")
        for root in ROOTS:
            _, cut, rest = file.partition(root)
            file = ("farebox/" + rest if "farebox" in root else rest) if cut else file
        found.append(f"{name} ({file})")
    return found


def count(lines: Iterable[str]) -> tuple[Counter[str], Counter[str], int]:
    """Return how often each function was at work itself, how often it was on the stack, and the stacks in all."""
    own, whole, total = Counter[str](), Counter[str](), 0
    for line in lines:
        stack, _, times = line.rpartition(" ")
        functions = frames(stack)
        own[functions[-1]] += int(times)
        for function in set(functions):
            whole[function] += int(times)
        total += int(times)
    return own, whole, total


def page(stacks: list[str], load: Load) -> list[str]:
    """Return the lines of the page."""
    own, whole, total = count(stacks)

    def rows(counted: Counter[str]) -> list[tuple[str, str]]:
        return [(f"`{name}`", f"{100 * times / total:.1f} %") for name, times in counted.most_common(TOP)]

    ours = Counter({name: times for name, times in whole.items() if "(farebox/" in name and "__main__" not in name})
    return [
        "# Where a gateway under load spends its time",
        "",
        f"Written by `make bench-profile` on {today()}. {cpu()}; one worker, {CONNECTIONS} connections, "
        f"{load.a_second:,.0f} sends a second; {total:,} stacks that held the interpreter's lock.",
        "A process that is looked at stops where it next asks the system for something, so functions that do (write to "
        "a socket, make a random number, ask for the running loop) look larger than they are, the others smaller.",
        "",
        "## By itself",
        "",
        *table(("function", "share"), rows(own)),
        "",
        "## With all that it calls, of farebox",
        "",
        *table(("function", "share"), rows(ours)),
    ]


async def run(output: Path) -> Load:
    """Load a gateway and look into its worker."""
    async with open_stage() as stage:
        gateway = await stage.gateway()
        await closed_loop(gateway.url, connections=CONNECTIONS, seconds=WARM_S, pids={})
        worker = [*tree(gateway.pid)][1]
        loading = asyncio.create_task(closed_loop(gateway.url, connections=CONNECTIONS, seconds=SECONDS, pids={}))
        looking = await asyncio.create_subprocess_exec(
            *look_into(worker, output), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await looking.communicate()
        load = await loading
        assert looking.returncode == 0, f"py-spy could not look into the worker: {said.decode()[-500:]}"
        return load


def main() -> None:
    """Profile and write the page."""
    parser = argparse.ArgumentParser(prog="bench-profile")
    parser.add_argument("--keep", type=Path, default=None)
    options = parser.parse_args()
    output = options.keep or PAGE.with_suffix(".stacks")
    load = asyncio.run(run(output))
    lines = page(output.read_text().splitlines(), load)
    if options.keep is None:
        output.unlink()
    PAGE.write_text("\n".join(lines) + "\n")
    say("\n".join(lines))


if __name__ == "__main__":
    main()
