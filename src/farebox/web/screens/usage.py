"""Monthly usage: messages by month and day, free and paid, and what they cost, from the roll-up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import asyncpg
from aiohttp import web
from markupsafe import Markup

from farebox.admin.numbers import Number
from farebox.admin.usage import Period, UsageQuery, read_usage
from farebox.web import charts
from farebox.web.visit import Visit, label

CLASSES = ("all", "free", "paid")
KINDS_DAYS = 92  # categories and markets of the last three months are offered as filters


@dataclass(frozen=True, slots=True)
class Table:
    """One currency's periods: its charts and the table beside them."""

    currency: str
    periods: list[Period]
    messages: Markup
    conversations: Markup | None  # None: there are none, as where every message is charged by itself
    charges: Markup


async def show(visit: Visit) -> web.Response:
    """Show the usage that the filters leave."""
    numbers = await visit.numbers()
    month, today = _month(visit.query.get("month")), _today(visit, numbers)
    fields = {name: visit.query.get(name) for name in ("class", "category", "market")}
    query = visit.filled(UsageQuery, {name: value for name, value in fields.items() if value} | _span(month, today))
    chosen = [n for n in numbers if visit.query.get("number") in (None, "", n.phone_number_id)]
    known = visit.gate.directory.numbers
    used = [known[n.phone_number_id] for n in chosen if n.phone_number_id in known]
    periods = await read_usage(visit.gate, used, query)
    currencies = sorted({period.currency for period in periods})
    tables = [_table(visit, currency, [p for p in periods if p.currency == currency], query) for currency in currencies]
    since = visit.now.date() - timedelta(days=KINDS_DAYS)
    kinds = await visit.gate.ledger.fetch("usage_kinds", [n.number_id for n in used], since)
    return visit.page(
        "usage.html",
        tables=tables,
        month=month,
        numbers=numbers,
        label=label,
        classes=CLASSES,
        categories=_offered(kinds, "category", visit),
        markets=_offered(kinds, "market", visit),
        link=lambda **changes: _link(visit.query, changes),
        totals=totals,
    )


def _table(visit: Visit, currency: str, periods: list[Period], query: UsageQuery) -> Table:
    tongue, say = visit.tongue, visit.tongue.say
    days = query.granularity == "day"
    labels = [tongue.short_month(p.starts) if not days else str(p.starts.day) for p in periods]
    parts = {"free": say("Free"), "paid": say("Paid")}
    asked = [name for name in parts if query.message_class in ("all", name)]

    def counted(title: str, values: Mapping[str, Sequence[int]]) -> Markup:
        series = [
            charts.Series(parts[name], values[name], [tongue.count(value) for value in values[name]]) for name in asked
        ]
        return charts.bars(series, labels, title, tongue.short)

    conversations = {
        "free": [p.free_conversations for p in periods],
        "paid": [p.paid_conversations for p in periods],
    }
    charged = charts.Series(
        say("Charged"), [p.charged for p in periods], [tongue.money(p.charged, currency) for p in periods]
    )
    held = charts.Series(
        say("On their way"), [p.held for p in periods], [tongue.money(p.held, currency) for p in periods]
    )
    return Table(
        currency,
        periods,
        counted(say("Messages"), {"free": [p.free for p in periods], "paid": [p.paid for p in periods]}),
        counted(say("Conversations"), conversations) if any(map(any, conversations.values())) else None,
        charts.bars(
            [charged, held],
            labels,
            say("Approximate charges in %(currency)s", currency=currency),
            lambda micros: tongue.axis(micros, currency),
        ),
    )


def _offered(kinds: Sequence[asyncpg.Record], name: str, visit: Visit) -> list[str]:
    """Return what may be chosen, and what was."""
    chosen = visit.query.get(name)
    return sorted({row[name] for row in kinds} | ({chosen} if chosen else set()))


def totals(periods: Sequence[Period]) -> dict[str, int]:
    """Add periods up."""
    names = ("free", "paid", "messages", "free_conversations", "paid_conversations", "conversations", "on_their_way",
             "charged", "held", "approximate")  # fmt: skip
    return {name: sum(getattr(period, name) for period in periods) for name in names}


def _today(visit: Visit, numbers: Sequence[Number]) -> date:
    """Return the day it is where the first number is."""
    zone = ZoneInfo(numbers[0].timezone) if numbers else ZoneInfo("UTC")
    return visit.now.astimezone(zone).date()


def _month(text: str | None) -> date | None:
    """Read "2026-11"; anything else is no month."""
    try:
        return date.fromisoformat(f"{text}-01") if text else None
    except ValueError:
        return None


def _span(month: date | None, today: date) -> dict[str, object]:
    if month is None or month > today:
        return {}
    after = (month + timedelta(days=32)).replace(day=1)
    return {"from": month, "to": min(after, today + timedelta(days=1)), "granularity": "day"}


def _link(query: Mapping[str, str], changes: Mapping[str, str | None]) -> str:
    """Return the address of this screen with other choices."""
    kept = {name: value for name, value in {**query, **changes}.items() if value and name not in ("said", "language")}
    return "?" + urlencode(kept)
