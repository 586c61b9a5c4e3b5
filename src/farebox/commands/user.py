"""`farebox user`: the people who may sign in to Insights & Billing."""

import argparse
import getpass
import secrets
import sys
from pathlib import Path

from farebox.commands.opened import UsageError, opened_gate
from farebox.config import Settings
from farebox.web.users import Role, UserError, put_user

ROLES = [role.name.lower() for role in Role]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "user",
        help="make, list or remove the users of Insights & Billing",
        description="Make, list or remove the people who may sign in to Insights & Billing on the admin port.",
    )
    deeds = parser.add_subparsers(dest="deed", required=True, metavar="DEED")
    made = deeds.add_parser(
        "add",
        help="make a user, or give one another password and role",
        description="Make a user, or give one another password and role, which ends its sessions. The password is "
        "asked for, read from a pipe, or made up and printed.",
    )
    made.add_argument("name", metavar="NAME", help="small letters, digits or . _ @ + -, like ann@example.com")
    made.add_argument(
        "--role",
        choices=ROLES,
        default=ROLES[0],
        help="viewer looks; finance adds funds and renews; operator also sets how numbers are metered (viewer)",
    )
    made.add_argument("--generate", action="store_true", help="make a password up and print it")
    removed = deeds.add_parser("remove", help="remove a user; its sessions end at once")
    removed.add_argument("name", metavar="NAME")
    listed = deeds.add_parser("list", help="list the users")
    for deed in (made, removed, listed):
        deed.add_argument("--data-dir", type=Path, help="folder of the embedded stores (.farebox)")
    return parser


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Do what was asked for."""
    async with opened_gate(settings, acts_as="user") as gate:
        match options.deed:
            case "add":
                password = secrets.token_urlsafe(18) if options.generate else _password()
                try:
                    new = await put_user(gate.ledger, options.name, password, Role[options.role.upper()])
                except UserError as error:
                    raise UsageError(str(error)) from None
                _say(f"{options.name} ({options.role}) {'may sign in' if new else 'has another password'}")
                if options.generate:
                    _say(f"password: {password}")
            case "remove":
                if await gate.ledger.fetch_one("drop_user", options.name) is None:
                    raise UsageError(f"there is no user {options.name}; farebox user list shows them")
                _say(f"{options.name} is removed")
            case _:
                for row in await gate.ledger.fetch("users"):
                    seen = f"last seen {row['seen_at']:%Y-%m-%d}" if row["seen_at"] else "not signed in"
                    _say(f"{row['user_name']:<32} {row['role']:<9} {seen}")
    return 0


def _password() -> str:
    """Ask for a password twice, or read a line from a pipe."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("Password: ")
    if first != getpass.getpass("The same again: "):
        raise UsageError("the two passwords differ; try again")
    return first


def _say(line: str) -> None:
    print(line)  # noqa: T201
