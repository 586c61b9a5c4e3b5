"""Templates: their categories, what changed about them, and which change makes one dearer."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

import asyncpg
from pydantic import Field

from farebox.admin.fields import PLAIN, Amount, Label
from farebox.admin.models import MAX_PAGE, Asked, Given, Nothing
from farebox.admin.routing import Answer, Ask
from farebox.core.message import MAX_NAME
from farebox.core.template import Rise, Step
from farebox.gate import Gate

MAX_CHANGE_ID = 2**63 - 1
TemplateName = Annotated[str, Field(min_length=1, max_length=MAX_NAME), PLAIN]
Place = Annotated[str, Field(max_length=3 * MAX_NAME), PLAIN]


class TemplatesQuery(Asked):
    """Which templates."""

    waba_id: Label | None = Field(None, description="Of this WhatsApp Business Account.")
    name: TemplateName | None = Field(None, description="Of this name, in all languages.")
    limit: int = Field(50, ge=1, le=MAX_PAGE)
    after: Place = Field("", description="Where the page before ended: its `next`.")


class ChangesQuery(Asked):
    """Which changes."""

    waba_id: Label | None = Field(None, description="Of this WhatsApp Business Account.")
    name: TemplateName | None = Field(None, description="Of templates of this name, in all languages.")
    limit: int = Field(50, ge=1, le=MAX_PAGE)
    before: int = Field(
        MAX_CHANGE_ID, ge=1, le=MAX_CHANGE_ID, description="The change that the page before ended with: its `next`."
    )


class Prices(Given):
    """What a delivery costs before and after a change, with the account's own mark-up."""

    market: str
    old_price: Amount
    new_price: Amount


class Dearer(Given):
    """A warning: the change makes the template dearer."""

    currency: str
    home: Prices | None = Field(description="In the country of the business number; null where that is not known.")
    largest_rise: Prices = Field(description="In the market where the price rises most.")


class Change(Given):
    """Something that changed about a template, or is announced to change."""

    change_id: int
    waba_id: str
    name: str
    language: str
    what: str = Field(description="category, status or bid.")
    old: str | None
    new: str | None
    state: str = Field(description="impending: announced, not in force yet; done.")
    due_at: datetime | None = Field(description="When an announced change is due, where WhatsApp says so.")
    source: str = Field(description="webhook, or sync: seen in the upstream's template list.")
    at: datetime
    dearer: Dearer | None = Field(description="What it costs, at the rates of its day; null: no market gets dearer.")


class Template(Given):
    """A template as the registry knows it."""

    waba_id: str
    name: str
    language: str
    category: str
    status: str = Field(description="As WhatsApp calls it; empty: not known yet.")
    bid_amount: int | None = Field(
        description="Maximum price for 1,000 deliveries, in the currency's smallest unit; null: the rate card's price."
    )
    updated_at: datetime
    last_change: Change | None
    warning: Change | None = Field(description="The last change of category, if it makes the template dearer.")


class Templates(Given):
    """Templates by account, name and language."""

    templates: list[Template]
    next: str | None = Field(description="Give this as `after` for the next page; null: there is none.")


class Changes(Given):
    """Changes, newest first."""

    changes: list[Change]
    next: str | None = Field(description="Give this as `before` for the next page; null: there is none.")


async def index(ask: Ask[Nothing, TemplatesQuery]) -> Answer:
    """List templates, a page at a time."""
    query = ask.query
    rows = await ask.gate.ledger.fetch("templates_after", query.waba_id, query.name, query.after, query.limit + 1)
    shown = rows[: query.limit]
    changes = await _named(ask.gate, (row[of] for row in shown for of in ("last_change_id", "last_category_change_id")))
    return Answer(
        Templates(
            templates=[_template(row, changes) for row in shown],
            next=shown[-1]["place"] if len(rows) > query.limit else None,
        )
    )


async def history(ask: Ask[Nothing, ChangesQuery]) -> Answer:
    """List changes, a page at a time."""
    query = ask.query
    rows = await ask.gate.ledger.fetch("template_changes", query.waba_id, query.name, query.before, query.limit + 1)
    shown = [_change(ask.gate, row) for row in rows[: query.limit]]
    return Answer(Changes(changes=shown, next=str(shown[-1].change_id) if len(rows) > query.limit else None))


async def _named(gate: Gate, ids: Iterable[int | None]) -> dict[int | None, Change]:
    rows = await gate.ledger.fetch("template_changes_named", [id_ for id_ in set(ids) if id_ is not None])
    return {row["change_id"]: _change(gate, row) for row in rows}


def _template(row: asyncpg.Record, changes: dict[int | None, Change]) -> Template:
    moved = changes.get(row["last_category_change_id"])
    # An announcement that was taken back is no warning, nor is a category that the template has left since.
    holds = moved is not None and moved.new == row["coming_category" if moved.state == "impending" else "category"]
    return Template(
        **{
            name: row[name]
            for name in ("waba_id", "name", "language", "category", "status", "bid_amount", "updated_at")
        },
        last_change=changes.get(row["last_change_id"]),
        warning=moved if moved is not None and holds and moved.dearer is not None else None,
    )


def _change(gate: Gate, row: asyncpg.Record) -> Change:
    risen = gate.templates.registry.rise(row)
    named = {name: row[name] for name in Change.model_fields if name != "dearer"}
    return Change(**named, dearer=None if risen is None else _dearer(risen))


def _dearer(risen: Rise) -> Dearer:
    home = None if risen.home is None else _prices(risen.home)
    return Dearer(currency=risen.currency, home=home, largest_rise=_prices(risen.largest))


def _prices(step: Step) -> Prices:
    return Prices(market=step.market, old_price=step.old_micros, new_price=step.new_micros)
