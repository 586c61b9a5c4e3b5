"""`farebox reconcile`: compares the books of every number, explains what differs, and mends it where it is asked to."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farebox.commands.against_meta import against_meta
from farebox.commands.opened import UsageError, opened_gate
from farebox.config import Settings
from farebox.core.money import format_micros
from farebox.gate import Gate
from farebox.reconcile import LOOKS, Comparison, compare, repair

TIMEOUT_S = 60  # the sums of a large ledger take longer than a send may wait


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "reconcile",
        help="compare holds, entries, balances, roll-ups and wallets; exit 1 if they differ",
        description="Compare holds, top-ups, entries, stored balances, roll-ups and wallets of every number, and say "
        "what differs, by how much and why that is likely so. Exit 1 if something differs (at the end).",
    )
    parser.add_argument("--number", action="append", help="only this number; may be repeated")
    parser.add_argument(
        "--repair", action="store_true", help="mend what differs (the ledger only by new entries), then compare again"
    )
    parser.add_argument(
        "--meta", action="store_true", help="compare a month with WhatsApp's own figures instead, by day and market"
    )
    parser.add_argument("--month", help="the month of --meta, like 2026-11 (the running one, without today)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--data-dir", type=Path, help="folder of the embedded stores (.farebox)")
    return parser


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Compare, mend, compare again; print what was found."""
    if options.month and not options.meta:
        raise UsageError("--month goes with --meta")
    if options.repair and options.meta:
        raise UsageError("--repair mends our own books; what Meta counts can not be mended here")
    async with opened_gate(settings, timeout_s=TIMEOUT_S, acts_as="reconcile") as gate:
        unknown = sorted(set(options.number or ()) - set(gate.directory.numbers))
        if unknown:
            raise UsageError(f"no number is known as {', '.join(unknown)}")
        if options.meta:
            return await against_meta(gate, options)
        compared, found = await _look(gate, options.number)
        repaired: list[dict[str, str]] = []
        if options.repair and found:
            for comparison in found:
                number_id = comparison.facts.number_id
                repaired += [{"number": number_id, "what": what} for what in await repair(gate, comparison)]
            _, found = await _look(gate, [comparison.facts.number_id for comparison in found])
    if options.json:
        print(json.dumps(_json(compared, found, repaired), indent=2))  # noqa: T201
    else:
        for each in repaired:
            print(f"number {each['number']}: {each['what']}")  # noqa: T201
        for comparison in found:
            for text in comparison.differences:
                print(f"number {comparison.facts.number_id} ({comparison.facts.currency}): {text}")  # noqa: T201
        print(f"{compared} numbers compared, {len(found)} differ")  # noqa: T201
    return 1 if found else 0


async def _look(gate: Gate, only: Sequence[str] | None) -> tuple[int, list[Comparison]]:
    """Return how many numbers were compared, and those that differ; a person sees how far it is."""
    compared, found = 0, []
    async for comparison in compare(gate.ledger, gate.wallet, looks=LOOKS, only=only):
        compared += 1
        if comparison.found:
            found.append(comparison)
        if sys.stderr.isatty():
            print(f"\r{compared} of {len(only or gate.directory.numbers)} numbers", end="", file=sys.stderr)  # noqa: T201
    if sys.stderr.isatty():
        print(end="\r\x1b[K", file=sys.stderr)  # noqa: T201
    return compared, found


def _json(compared: int, found: list[Comparison], repaired: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "compared": compared,
        "differ": len(found),
        "repaired": repaired,
        "numbers": [
            {
                "number": comparison.facts.number_id,
                "currency": comparison.facts.currency,
                "balance": format_micros(comparison.facts.balance_micros),
                "entries": format_micros(comparison.facts.entries_micros),
                "held": format_micros(comparison.facts.held_micros),
                "open_holds": comparison.facts.open_holds,
                "differences": [
                    {"kind": each.kind, "amount": format_micros(each.micros), "text": each.text}
                    for each in comparison.found
                ],
            }
            for comparison in found
        ],
    }
