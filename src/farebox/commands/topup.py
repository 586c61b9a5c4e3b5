"""`farebox topup`: adds money to a number, or says what that would cost."""

import argparse
import json
import sys
import uuid
from pathlib import Path

from farebox import topups
from farebox.commands.opened import UsageError, opened_gate
from farebox.config import Settings
from farebox.core.money import AmountError, format_micros, parse_micros
from farebox.core.topup import State, Topup
from farebox.directory import Number
from farebox.gate import Gate
from farebox.returns import MANUAL


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "topup",
        help="add money to a number, or say what that would cost",
        description="Credit money that has arrived (manual), or charge the account's saved card (stripe). "
        "Repeated with the same --reference it is the same top-up. Exits with 1 where nothing was credited.",
    )
    parser.add_argument("number", help="the phone number id")
    parser.add_argument("amount", help="what is credited, like 20.00, in the number's currency")
    parser.add_argument("--method", default=MANUAL, choices=("manual", "stripe", "sandbox"))
    parser.add_argument("--reference", help="your own id of the payment")
    parser.add_argument("--preview", action="store_true", help="say what it costs, and charge nothing")
    parser.add_argument("--json", action="store_true", help="answer as JSON")
    parser.add_argument("--data-dir", type=Path, help="folder of the embedded stores (.farebox)")
    return parser


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Top up, and say how it stands."""
    try:
        micros = parse_micros(options.amount)
    except AmountError as error:
        raise UsageError(str(error)) from error
    if micros <= 0:
        raise UsageError("the amount must be more than 0.00")
    async with opened_gate(settings, acts_as="topup") as gate:
        number = gate.directory.numbers.get(options.number)
        if number is None:
            known = ", ".join(sorted(gate.directory.numbers)[:5]) or "none"
            raise UsageError(f"there is no number {options.number}; there are {known}")
        topup = await _topped_up(gate, number, micros, options)
        if isinstance(topup, topups.Refused):
            print(f"farebox: {topup.sentence}", file=sys.stderr)  # noqa: T201
            return 1
        print(_json(topup, number) if options.json else "\n".join(lines(topup, number)))  # noqa: T201
        return 0 if topup.state in (State.SUCCEEDED, State.DRAFT) else 1


async def _topped_up(gate: Gate, number: Number, micros: int, options: argparse.Namespace) -> Topup | topups.Refused:
    topup_id = uuid.uuid4()
    key = options.reference or f"command-{topup_id}"
    if not options.preview:
        topup = await topups.begin(gate, number, amount_micros=micros, method=options.method, key=key)
        if isinstance(topup, topups.Refused):
            return topup
        if topup.amount_micros != micros:
            raise UsageError(f"reference {key} is a top-up of {format_micros(topup.amount_micros)} {number.currency}")
        if topup.method == MANUAL and topup.state is State.PENDING:
            await gate.funds.confirm(number, topup.topup_id)  # whoever calls it has seen the money
        return await topups.read(gate, topup.topup_id)
    sentence = await topups.hindrance(gate, number)
    refused = topups.Refused(sentence) if sentence else await topups.write_down(
        gate, number, topup_id, amount_micros=micros, method=options.method, key=f"preview-{topup_id}",
        why=topups.ONE_TIME, state=State.DRAFT,
    )  # fmt: skip
    return refused or await topups.read(gate, topup_id)


def lines(topup: Topup, number: Number) -> list[str]:
    """Write a top-up for people."""
    rows = [
        ("number", f"{number.number_id} {number.display_phone_number}".strip()),
        ("credited", f"{format_micros(topup.amount_micros)} {number.currency}"),
        ("fee", f"{format_micros(topup.fee_micros)} {number.currency}"),
        ("to pay", f"{format_micros(topup.total_micros)} {number.currency} by {topup.method}"),
        ("reference", topup.reference),
        ("state", topup.state.value + (f": {topup.reason}" if topup.reason else "")),
    ]
    if topup.action_url:
        rows.append(("confirm at", topup.action_url))
    return [f"{name:<10}  {text}" for name, text in rows]


def _json(topup: Topup, number: Number) -> str:
    return json.dumps(
        {
            "topup_id": str(topup.topup_id),
            "phone_number_id": number.number_id,
            "amount": format_micros(topup.amount_micros),
            "fee": format_micros(topup.fee_micros),
            "charge": format_micros(topup.total_micros),
            "currency": number.currency,
            "method": topup.method,
            "reference": topup.reference,
            "state": topup.state.value,
            "reason": topup.reason,
            "action_url": topup.action_url,
        }
    )
