"""`farebox quote`: what a message would cost, for people."""

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from farebox.admin.problems import ProblemError, invalid
from farebox.admin.quotes import Quote, QuotePost, TemplateCategory, make_quote
from farebox.commands.opened import UsageError, opened_gate
from farebox.config import Settings
from farebox.core.evidence import say_evidence
from farebox.core.money import format_micros

CATEGORIES = get_args(TemplateCategory)


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "quote",
        help="say what a message would cost; nothing is sent or taken",
        description="Say what a message would cost now, or at another moment, and why. Windows, free units and funds "
        "are those of the number, unless an option supposes others.",
        epilog="Example: farebox quote 106540352242922 --to 5511987654321 --template utility --window-open "
        "--at 2026-10-01T00:01",
    )
    parser.add_argument("number", metavar="NUMBER", help="phone number id that would send it")
    parser.add_argument("--to", help="recipient: phone number or user id")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--template", help="marketing, utility, authentication, or the name of a template")
    what.add_argument("--text", action="store_true", help="a message that is no template")
    what.add_argument("--reaction", action="store_true", help="a reaction")
    what.add_argument("--json", type=Path, metavar="FILE", help="the JSON that would be sent; - is stdin")
    parser.add_argument("--language", help="language of the template")
    parser.add_argument("--at", type=_moment, help="ISO 8601; without an offset, in the number's time zone")
    parser.add_argument("--regime", metavar="NAME", help="price it by this tariff")
    window = parser.add_mutually_exclusive_group()
    window.add_argument(
        "--window-open", action="store_true", default=None, help="suppose the customer service window open"
    )
    window.add_argument("--window-closed", dest="window_open", action="store_false", help="suppose it closed")
    parser.add_argument(
        "--free-entry-point", action="store_true", default=None, help="suppose the free entry point window open"
    )
    parser.add_argument("--pool-used", type=int, metavar="N", help="suppose N free units of the month used")
    parser.add_argument(
        "--conversation", action="append", metavar="CATEGORY[:free]", help="suppose this conversation open; repeatable"
    )
    parser.add_argument("--output", choices=("text", "json"), default="text", help="how it is printed (text)")
    parser.add_argument("--data-dir", type=Path, help="folder of the embedded stores (.farebox)")
    return parser


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is not an ISO 8601 time like 2026-10-01T00:01") from error


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print a quote."""
    try:
        body = QuotePost.model_validate(_body(options))
        async with opened_gate(settings) as gate:
            number = gate.directory.numbers.get(options.number)
            if number is None:
                raise UsageError(f"there is no number {options.number}; known are {_some(gate.directory.numbers)}")
            quoted = await make_quote(gate, number, body)
            zone = number.zone
    except ValidationError as error:
        raise UsageError(invalid(error, QuotePost).detail) from None
    except ProblemError as error:
        raise UsageError(error.detail) from None
    if options.output == "json":
        print(quoted.model_dump_json(indent=2))  # noqa: T201
    else:
        print("\n".join(lines(quoted, zone)))  # noqa: T201
    return 0


def _body(options: argparse.Namespace) -> dict[str, Any]:
    """Write the options as the body of a POST /v1/quotes."""
    supposed = {
        "window_open": options.window_open,
        "free_entry_point_open": options.free_entry_point,
        "pool_used": options.pool_used,
        "at": options.at,
        "regime": options.regime,
        "language": options.language,
    }
    body = {name: value for name, value in supposed.items() if value is not None} | {"number": options.number}
    if options.conversation:
        pairs = [text.partition(":") for text in options.conversation]
        body["conversations"] = [{"category": category, "class": class_ or "paid"} for category, _, class_ in pairs]
    if options.json is not None:
        return body | {"message": _message(options.json)} | ({"to": options.to} if options.to else {})
    if not options.to:
        raise UsageError("--to is missing: the phone number or user id of the recipient")
    if options.template:
        body["category" if options.template in CATEGORIES else "template"] = options.template
    else:
        body["kind"] = "text" if options.text else "reaction"
    return body | {"to": options.to}


def _message(file: Path) -> Any:
    try:
        return json.loads(sys.stdin.read() if str(file) == "-" else file.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: {error}") from error


def _some(names: Any) -> str:
    return ", ".join(sorted(names)[:5]) or "none"


def lines(quote: Quote, zone: ZoneInfo) -> list[str]:
    """Write a quote for people: what and how much, then why, then what else there is."""
    money = format_micros
    rows = [
        ("fare", f"{money(quote.fare)} {quote.currency}, {quote.message_class}"),
        ("because", quote.term.why),
    ]
    if quote.term.rate_source:
        rows.append(("rate", f"{money(quote.term.rate)} {quote.currency} by Meta, {quote.term.rate_source}"))
    if quote.term.markup or quote.term.tax:
        rows.append(("on top", f"mark-up {money(quote.term.markup)}, tax {money(quote.term.tax)} {quote.currency}"))
    if quote.evidence.text:
        rows.append(("evidence", say_evidence(quote.evidence.text, zone)))
    rows += [
        ("regime", quote.regime),
        ("when", f"{quote.at.astimezone(zone):%Y-%m-%d %H:%M:%S} in {quote.timezone}"),
        ("to", f"{quote.country or 'no known country'}, market {quote.market}"),
        ("window", _window(quote, zone)),
    ]
    if quote.state.pool is not None:
        rows.append(
            ("free units", f"{quote.state.pool_used:,} of {quote.state.pool_size:,} used in {quote.state.pool}")
        )
    rows.append(("funds", f"{money(quote.state.available)} {quote.currency} available: would be {quote.would_be}"))
    if quote.sentence:
        rows.append(("", quote.sentence))
    rows += [("note", note) for note in quote.notes]
    return [f"{quote.category} message", *(f"  {name:<10}  {text}" for name, text in rows), *_alternatives(quote, zone)]


def _window(quote: Quote, zone: ZoneInfo) -> str:
    ends = {
        "customer service": quote.state.window_until,
        "free entry point": quote.state.free_entry_point_until,
    }
    return ", ".join(
        f"{name} {'closed' if end is None else f'open until {end.astimezone(zone):%Y-%m-%d %H:%M:%S}'}"
        for name, end in ends.items()
    )


def _alternatives(quote: Quote, zone: ZoneInfo) -> list[str]:
    """Write the terms of the offer as a table; the one that applies has an arrow."""
    rows = [
        (
            ">" if term.applies else " ",
            f"{place}.",
            "holds" if term.holds else "no",
            format_micros(term.fare),
            term.message_class or "as ridden",
            term.why + (f" [{say_evidence(term.evidence, zone)}]" if term.evidence else ""),
        )
        for place, term in enumerate(quote.alternatives, 1)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + "  " + row[5] for row in rows
    ]
    return ["  terms, the first that holds counts:", *(f"  {line}" for line in table)]
