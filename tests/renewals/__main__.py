"""Runs a storm and prints its table: `python -m renewals --crossings 10000`."""

import argparse
import asyncio
import logging
import tempfile
import time
from pathlib import Path

from factory import FAST
from farebox.config import Settings
from farebox.core.money import format_micros
from farebox.core.renewal import MAX_DECLINES
from farebox.embedded import EmbeddedStores
from farebox.migrate import migrate
from renewals.storm import CAPPED_AT, CHARGE, KINDS, Storm, storm


def table(it: Storm, seconds: float) -> str:
    """Return what was seen."""
    seen, drawn = it.seen, it.provider.drawn
    cap = CAPPED_AT * CHARGE + CHARGE // 2
    rows = [
        ("crossings of a threshold, rule on", seen["crossings"], ""),
        ("payments for them", seen["paid on"], "one each"),
        ("crossings, rule off", seen["crossings off"], ""),
        ("payments for them", seen["paid off"], "none"),
        (
            "charged of a capped number, at most",
            format_micros(seen["most of a capped number"]),
            f"cap {format_micros(cap)}",
        ),
        ("tries with a card that is always declined", seen["tries of a declined number"], f"at most {MAX_DECLINES}"),
        ("concurrent sends", seen["sends"], ""),
        ("looks by the gateways at the same time", seen["looks"], "beside those that sends asked for"),
        ("payments declined", drawn.get("declined", 0), "tried again later"),
        ("payments late, silent or stuck", sum(drawn.get(name, 0) for name in ("late", "silent", "stuck")), ""),
        ("events lost / doubled", f"{seen['lost']} / {seen['doubled']}", ""),
        ("charged by the provider's own books", format_micros(seen["charged"]), "= credited + fees, by number"),
        ("differences of wallets and ledger, and all else", len(it.wrong), "none"),
        ("seconds", f"{seconds:.0f}", ""),
    ]
    return "\n".join(["| what | seen | must be |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)])


async def run(crossings: int, seed: int, folder: Path) -> int:
    """Run a storm on stores of its own; return how much was wrong."""
    started = time.monotonic()
    async with EmbeddedStores(folder, postgres_settings=FAST) as stores:
        await migrate(stores.database_url)
        settings = Settings(database_url=stores.database_url, redis_url=stores.redis_url, data_dir=folder / "data")
        it = await storm(settings, crossings=crossings, seed=seed, kinds=KINDS)
    print("\n" + table(it, time.monotonic() - started))  # noqa: T201
    for wrong in it.wrong[:20]:
        print("WRONG:", wrong)  # noqa: T201
    return len(it.wrong)


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(prog="renewals", description=__doc__)
    parser.add_argument("--crossings", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    logging.getLogger("farebox").setLevel(logging.ERROR)  # a provider that does not answer is meant here
    with tempfile.TemporaryDirectory(prefix="farebox-renewals-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the stores' user must be able to enter
        raise SystemExit(1 if asyncio.run(run(asked.crossings, asked.seed, folder)) else 0)


if __name__ == "__main__":
    main()
