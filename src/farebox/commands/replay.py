"""`farebox replay`: tells again what is in quarantine, as if its webhooks came now."""

import argparse
import sys
from pathlib import Path

from farebox import quarantine
from farebox.commands.opened import UsageError, opened_gate
from farebox.config import Settings
from farebox.intake import tell_again

PAGE = 500  # rows read at a time


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "replay",
        help="tell again what webhooks said and the books could not take",
        description="Take pieces of webhooks out of quarantine and keep the books of them again; repeating is safe. "
        "Exit 1 if one stays in quarantine, with the reason.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--id", type=int, metavar="N", help="this one, as GET /v1/quarantine numbers them")
    which.add_argument("--all", action="store_true", help="everything that is open")
    parser.add_argument("--data-dir", type=Path, help="folder of the embedded stores (.farebox)")
    return parser


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Tell pieces again and print what came of each."""
    told = staying = 0
    async with opened_gate(settings, acts_as="replay") as gate:
        if options.id is not None:
            row = await quarantine.find(gate.ledger, options.id)
            if row is None:
                raise UsageError(f"nothing is open in quarantine under {options.id}; GET /v1/quarantine lists what is")
            rows = [row]
        else:
            rows = await quarantine.open_after(gate.ledger, 0, PAGE)
        while rows:
            for row in rows:
                reason = await tell_again(gate, row)
                told, staying = told + 1, staying + (reason is not None)
                if reason is not None:
                    print(f"{row.quarantine_id} stays ({row.piece.kind.value} of {row.piece.about}): {reason}")  # noqa: T201
                elif options.id is None and sys.stderr.isatty():
                    print(f"\r{told} told", end="", file=sys.stderr)  # noqa: T201
            rows = (
                [] if options.id is not None else await quarantine.open_after(gate.ledger, rows[-1].quarantine_id, PAGE)
            )
    print(f"{told} told again, {staying} stay in quarantine")  # noqa: T201
    return 1 if staying else 0
