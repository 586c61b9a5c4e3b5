"""`farebox reconcile --meta`: a month of every number beside Meta's own figures, and why they differ where they do."""

import argparse
import json
import re
import sys
from datetime import date
from typing import Any

from farebox.commands.opened import UsageError
from farebox.core.against_meta import Tally
from farebox.core.money import format_micros
from farebox.gate import Gate
from farebox.meta_usage import Compared, MetaUnavailableError, compare_with_meta

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])", re.ASCII)


async def against_meta(gate: Gate, options: argparse.Namespace) -> int:
    """Compare and print; 1 where something differs beyond rounding, or where Meta's figures were not to be had."""
    month = _month(options.month)
    compared: list[Compared] = []
    failed: dict[str, str] = {}
    number_ids = options.number or sorted(gate.directory.numbers)
    for place, number_id in enumerate(number_ids, 1):
        if sys.stderr.isatty():
            print(f"\r{place} of {len(number_ids)} numbers", end="", file=sys.stderr)  # noqa: T201
        try:
            compared.append(await compare_with_meta(gate, gate.directory.numbers[number_id], month))
        except MetaUnavailableError as error:
            failed[number_id] = str(error)
    if sys.stderr.isatty():
        print(end="\r\x1b[K", file=sys.stderr)  # noqa: T201
    if options.json:
        shown = {"numbers": [_json(each) for each in compared], "not_compared": failed}
        print(json.dumps(shown, indent=2))  # noqa: T201
    else:
        for each in compared:
            print("\n".join(_lines(each)))  # noqa: T201
        for number_id, why in failed.items():
            print(f"number {number_id}: not compared: {why}")  # noqa: T201
    return 1 if failed or any(each.gaps for each in compared) else 0


def _month(text: str | None) -> date | None:
    if text is None:
        return None
    match = _MONTH.fullmatch(text)
    if match is None:
        raise UsageError(f'"{text}" is no month; write it like 2026-11')
    return date(int(match[1]), int(match[2]), 1)


def _lines(compared: Compared) -> list[str]:
    name = f"number {compared.number_id} ({compared.currency})"
    return [
        *(f"{name}: {gap.text}" for gap in compared.gaps),
        f"{name}, {compared.from_} to {compared.until} (not included): Meta {_said(compared.theirs)}, "
        f"here {_said(compared.ours)}; {len(compared.gaps)} of {compared.cells} days, markets and categories differ",
    ]


def _said(tally: Tally) -> str:
    cost = "" if tally.cost_micros is None else f" at {format_micros(tally.cost_micros)}"
    return f"{tally.paid} paid{cost} and {tally.free} free"


def _json(compared: Compared) -> dict[str, Any]:
    return {
        "number": compared.number_id,
        "currency": compared.currency,
        "from": str(compared.from_),
        "until": str(compared.until),
        "cells": compared.cells,
        "ours": _tally(compared.ours),
        "theirs": _tally(compared.theirs),
        "differences": [
            {
                "day": str(gap.cell.day),
                "market": gap.cell.market,
                "category": gap.cell.category,
                "ours": _tally(gap.ours),
                "theirs": _tally(gap.theirs),
                "text": gap.text,
            }
            for gap in compared.gaps
        ],
    }


def _tally(tally: Tally) -> dict[str, Any]:
    cost = None if tally.cost_micros is None else format_micros(tally.cost_micros)
    return {"paid": tally.paid, "free": tally.free, "cost": cost}
