"""Rules of this project that a linter does not know. Each failure says what to do instead."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "farebox"
FILES = sorted([*SOURCE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")])

MAX_FILE_LINES = 320
MAX_FUNCTION_LINES = 70

# A module imports only from levels above its own line.
LEVELS = [
    {"__version__", "core", "assets", "batch", "cells", "ports", "redis_url", "strength", "vault"},
    {"redis_cluster"},
    {"redis_client"},
    {
        "config",
        "metrics",
        "sql",
        "listening",
        "acting",
        "logs",
        "traces",
        "malformed",
        "answers",
        "relays",
        "connections",
    },
    {"asks", "wakes", "database"},
    {"news", "scripts", "decisions"},
    {"taking"},
    {"spool", "allowance"},
    {"rows", "wallet", "upstream", "vies", "card_files", "migrate", "embedded", "simulator", "payments"},
    {"ends"},
    {"ledger", "tariff_files"},
    {"clock", "directory", "partitions"},
    {"tariffs", "access", "books", "unread", "forgetting"},
    {"registry", "account_terms", "quarantine"},
    {"templates"},
    {"groups"},
    {"rebuild"},
    {"conversations", "moves"},
    {"settlement"},
    {"funds"},
    {"paces"},
    {"gate"},
    {"scopes", "answered", "changes"},
    {"idempotency"},
    {"keyed"},
    {"windows", "outage", "refusal", "returns", "cards"},
    {"outbound", "passthrough", "address", "quotes", "reconcile", "meta_usage", "topups"},
    {"bookkeeping", "doors", "watch"},
    {"unmatched"},
    {"intake"},
    {"inbound", "sweep", "drain", "daily"},
    {"admin", "server", "heads"},
    {"lane"},
    {"web"},
    {"app", "supervisor"},
    {"sandbox", "commands"},
    {"__main__"},
]


def module_of(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "farebox":
            parts = (node.module or "").split(".")
            found |= {parts[1]} if len(parts) > 1 else {name.name for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("farebox.")}
    return found


@pytest.mark.parametrize("file", [file for file in FILES if SOURCE in file.parents], ids=str)
def test_imports_go_down(file: Path) -> None:
    module = module_of(file)
    if module == "__init__":
        assert imports_of(file) == set()
        return
    level = next((n for n, names in enumerate(LEVELS) if module in names), None)
    assert level is not None, f"{module} has no level: add it to LEVELS where it belongs"
    allowed = set().union(*LEVELS[:level]) | {module}
    beyond = imports_of(file) - allowed
    assert not beyond, f"{module} may not import {beyond}: they are not below it"


def test_the_core_does_no_io_and_reads_no_clock() -> None:
    banned = {"aiohttp", "asyncio", "asyncpg", "redis", "time", "socket", "pathlib", "logging", "prometheus_client"}
    for file in (SOURCE / "core").glob("*.py"):
        tree = ast.parse(file.read_text())
        names = {
            name.split(".")[0]
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert not names & banned, f"{file.name} imports {names & banned}: the core takes values and returns values"
        floats = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, float)]
        assert not floats, f"{file.name} has a float: money is an integer of micro-units"


@pytest.mark.parametrize("file", [f for f in FILES if f.name not in ("outbound.py",)], ids=str)
def test_the_money_path_never_sees_the_servers_types(file: Path) -> None:
    if module_of_any(file) in {"funds", "settlement", "outbound", "bookkeeping", "wallet", "ledger"}:
        assert "aiohttp" not in file.read_text(), "it takes bytes and returns a reply; server.py meets aiohttp"


def module_of_any(file: Path) -> str:
    return module_of(file) if SOURCE in file.parents else ""


@pytest.mark.parametrize("file", FILES, ids=str)
def test_sizes(file: Path) -> None:
    text = file.read_text()
    lines = text.count("\n")
    assert lines <= MAX_FILE_LINES, f"{lines} lines: which noun is missing?"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


def test_every_named_query_is_used_and_every_used_one_is_there() -> None:
    from farebox.sql import queries  # noqa: PLC0415

    used = {
        node.args[0].value
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("fetch", "fetch_one")
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
        and " " not in node.args[0].value
    }
    used |= {  # and on a connection of their own: queries()["name"]
        name.value
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "queries"
        for name in ast.walk(node.slice)
        if isinstance(name, ast.Constant) and isinstance(name.value, str)
    }
    used |= {"users_in_windows", "users_in_conversations"}  # of Unread, by the name of a variable
    assert set(queries()) == used


def test_nothing_tracked_names_a_registry_or_a_path_of_one_machine() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout.split(b"\0")
    words = [b"pypi" + b".org", b"registry.npm" + b"js", b"/ho" + b"me/", b"/wo" + b"rk/"]
    for name in filter(None, tracked):
        text = (ROOT / name.decode()).read_bytes()
        found = [word for word in words if word in text]
        assert not found, f"{name.decode()} contains {found}"
