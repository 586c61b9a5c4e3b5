"""What the page says, gathered from templates and code, and each language's catalogue brought up to date with it.

python -m page.catalogue      writes src/farebox/web/locale/*/messages.po; new texts are there to be translated
"""

import ast
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

from farebox.assets import PACKAGE, asset
from farebox.core.evidence import WINDOWS
from farebox.tariff_files import load_folder
from farebox.web.render import environment
from farebox.web.screens import alerts, funds, limits, messages, movements, settings, usage
from farebox.web.users import Role

WEB = PACKAGE / "web"
SENTENCES = (PACKAGE / "admin" / "sentences.py", PACKAGE / "core" / "evidence.py")  # said by the API too, in English
LOCALES = WEB / "locale"
SINCE = datetime(2026, 11, 25, tzinfo=UTC)  # a date that does not change with every run
HEADER = "# What Insights & Billing says, in %s. Texts are gathered by tests/page/catalogue.py.\n#"


def texts() -> set[str]:
    """Return every text that is said in the reader's language."""
    return {*_of_templates(), *_of_code(), *_by_name()}


def _of_templates() -> Iterator[str]:
    for file in sorted((WEB / "templates").iterdir()):
        for _, _, found in environment().extract_translations(file.read_text()):  # type: ignore[attr-defined]
            yield from (text for text in ([found] if isinstance(found, str) else found or ()) if text)


def _of_code() -> Iterator[str]:
    for file in (*sorted(WEB.rglob("*.py")), *SENTENCES):
        for node in ast.walk(ast.parse(file.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            name = getattr(called, "attr", getattr(called, "id", ""))
            if isinstance(node, ast.Call) and name == "say" and node.args and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value)


def _by_name() -> Iterator[str]:
    """Texts that a template looks up by a name: they stand in tables."""
    yield from (role.name.lower() for role in Role)
    yield from (text.capitalize() for text in usage.CLASSES)
    yield from movements.KINDS.values()
    yield from ("free", "paid", "delivered", "read", "played")  # of a message and its status, in sentences
    yield "carries the fare of a conversation whose first message failed"  # as queries.sql writes it
    yield from WINDOWS.values()
    for tariff in load_folder(asset("config/tariffs")):
        yield from (rule.why for rules in tariff.rules.values() for rule in rules)
    yield from limits.ROWS.values()
    yield from alerts.KINDS.values()
    for table in (funds.STATES, messages.STATES, alerts.STATES):
        yield from (words[1] for words in table.values())
    for words in funds.WAYS.values():
        yield from words
    for _, *two in settings.MODES.values():
        yield from two
    yield from settings.RULES.values()
    for words in settings.RENEWALS.values():
        yield from words


def update(file: Path, language: str) -> None:
    old = read_po(file.open("rb"), locale=language) if file.exists() else Catalog(locale=language)
    new = Catalog(
        locale=language,
        header_comment=HEADER % language,
        project="farebox",
        version="0.1",
        msgid_bugs_address="none",
        creation_date=SINCE,
        revision_date=SINCE,
        last_translator="none",
        language_team="none",
        fuzzy=False,
    )
    for text in sorted(texts()):
        known = old.get(text)
        new.add(text, string=known.string if known is not None else "", flags=["python-format"] if "%(" in text else [])
    with file.open("wb") as out:
        write_po(out, new, width=120, omit_header=False, sort_output=True)


if __name__ == "__main__":
    for folder in LOCALES.iterdir():
        update(folder / "messages.po", folder.name)
