"""`farebox sweep`: one pass of the sweep, now. Works beside a running gateway, whose own passes wait meanwhile."""

import argparse
from pathlib import Path

from farebox.commands.opened import opened_gate
from farebox.config import Settings
from farebox.sweep import Sweep


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "sweep",
        help="make one pass of the sweep and say what it did",
        description="End holds past their time to live, try statuses again that came too early, and rebuild wallets "
        "that differ from the ledger. The gateway does this by itself; here it is done once, now.",
    )
    parser.add_argument("--data-dir", type=Path, help="folder of the embedded stores (.farebox)")
    return parser


async def run(settings: Settings, _: argparse.Namespace) -> int:
    """Make a pass and print what it did."""
    async with opened_gate(settings, acts_as="sweep") as gate:
        swept = await Sweep(gate).run(whole=True)
    if swept is None:
        print("another worker is sweeping at the moment; nothing was done here")  # noqa: T201
        return 0
    print(  # noqa: T201
        f"{swept.expired} holds ended, {swept.decided} early statuses decided, {swept.rebuilt} wallets rebuilt"
        + (f", {swept.failed} failed and were passed over; the log says why" if swept.failed else "")
    )
    return 0
