"""`farebox check`: every mistake of settings and tariffs at once, and which rate cards count today."""

import argparse
from collections.abc import Iterator
from datetime import UTC, date, datetime

from farebox.assets import asset
from farebox.config import SettingsError, load_settings
from farebox.core.in_force import InForce
from farebox.core.tariff import Tariff
from farebox.tariff_files import TariffError, load_folder


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command to the parser."""
    return commands.add_parser(
        "check",
        help="check settings and tariffs; touches nothing",
        description="Print every mistake of settings and tariffs with its file and line, and the rate cards in force "
        "today. Exit 1 on mistakes; a rate card that is not of its day is a warning.",
    )


def run() -> int:
    """Check what a gateway would start with; settings are read here, so that none of their mistakes hides another."""
    mistakes: list[str] = []
    folder = asset("config/tariffs")
    try:
        folder = load_settings().tariffs_dir or folder
    except SettingsError as error:
        mistakes += error.mistakes
    try:
        for line in cards(load_folder(folder), datetime.now(UTC).date()):
            print(line)  # noqa: T201
    except TariffError as error:
        mistakes += error.mistakes
    for mistake in mistakes:
        print(f"mistake: {mistake}")  # noqa: T201
    count = len(mistakes)
    print(f"{count} {'mistake' if count == 1 else 'mistakes'}" if count else "settings and tariffs are fine")  # noqa: T201
    return 1 if mistakes else 0


def cards(tariffs: list[Tariff], day: date) -> Iterator[str]:
    """Say for every tariff and currency which card counts on a day."""
    latest_first = sorted(tariffs, key=lambda tariff: tariff.effective_from, reverse=True)
    today = next((tariff for tariff in latest_first if tariff.effective_from <= day), latest_first[-1])
    for tariff in latest_first:
        yield f"tariff {tariff.name}: from {tariff.effective_from}{', in force' if tariff is today else ''}"
        for currency in sorted(tariff.cards):
            card = tariff.card(currency, day)
            note = InForce(tariff, card, day).note
            yield f"  {currency}: the card of {card.valid_from}" + (f"; warning: {note}" if note else "")
    for currency in sorted({currency for tariff in tariffs for currency in tariff.cards} - set(today.cards)):
        yield f"warning: {today.name} has no card in {currency}: numbers in {currency} can not be priced by it"
