"""`farebox rekey`: seals every secret of every number with the first of FAREBOX_ENCRYPTION_KEYS."""

import argparse
from pathlib import Path

from farebox.acting import acting, by_command
from farebox.commands.opened import opened_gate
from farebox.config import Settings

SECRETS = ("upstream_token", "app_secret", "webhook_secret")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "rekey",
        help="seal the numbers' secrets with the first encryption key",
        description="Seal tokens and secrets of all numbers with the first of FAREBOX_ENCRYPTION_KEYS, whatever they "
        "were sealed with before. Works beside a running gateway that has the same keys; safe to repeat.",
    )
    parser.add_argument("--data-dir", type=Path, help="folder of the embedded stores (.farebox)")
    return parser


async def run(settings: Settings, _: argparse.Namespace) -> int:
    """Seal all secrets anew, number by number, and print how many numbers had some."""
    if settings.encryption_keys is None:
        print("FAREBOX_ENCRYPTION_KEYS is not set: there is nothing to seal with")  # noqa: T201
        return 1
    sealed = 0
    async with opened_gate(settings) as gate:
        vault = gate.directory.vault
        for row in await gate.ledger.fetch("stored_secrets"):
            stored = [row[name] for name in SECRETS]
            anew = [vault.seal(vault.open(secret)) for secret in stored]
            with acting(by_command("rekey", why="sealed with the first encryption key")):
                # One that was set meanwhile is left alone: the gateway has sealed it itself.
                changed = await gate.ledger.fetch("reseal", row["number_id"], *stored, *anew)
            sealed += len(changed)
    print(f"the secrets of {sealed} numbers are sealed with the first key")  # noqa: T201
    return 0
