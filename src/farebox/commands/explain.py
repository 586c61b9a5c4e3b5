"""`farebox explain`: why a message cost what it cost, in a few sentences for whoever pays the bill."""

import argparse
from pathlib import Path

from farebox.admin.messages import find_message
from farebox.admin.sentences import sentences
from farebox.commands.opened import UsageError, opened_gate
from farebox.config import Settings


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "explain",
        help="say why a message cost what it cost",
        description="Explain a message's fare: the rule, the rate, what WhatsApp said, what was charged.",
    )
    parser.add_argument("message", metavar="WAMID|HOLD", help="wamid, or the hold id of the X-Farebox-Hold header")
    parser.add_argument("--output", choices=("text", "json"), default="text", help="how it is printed (text)")
    parser.add_argument("--data-dir", type=Path, help="folder of the embedded stores (.farebox)")
    return parser


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print an explanation."""
    async with opened_gate(settings) as gate:
        message = await find_message(gate.ledger, options.message)
    if message is None:
        raise UsageError(f"no message is known as {options.message}; give its wamid or its hold id")
    if options.output == "json":
        print(message.model_dump_json(indent=2))  # noqa: T201
    else:
        print("\n".join(sentences(message)))  # noqa: T201
    return 0
