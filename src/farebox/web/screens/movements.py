"""Movements: a number's month day by day with its running balance, a day's single entries, the month's statement."""

import csv
import io
from datetime import date, timedelta

from aiohttp import web

from farebox.admin.numbers import Number, number_in_use
from farebox.admin.problems import ProblemError
from farebox.core.money import format_micros
from farebox.web.statement import Statement, midnight, month_after, read_statement
from farebox.web.visit import Visit, label

KINDS = {
    "topup": "Top-up",
    "settle": "Message",
    "refund": "Given back to the payer",
    "dispute": "Taken back by the payer's bank",
    "adjustment": "Adjustment",
    "correction": "Correction",
}
MONTHS = 24  # to choose from
PAGE = 100  # entries of a day on one screen


async def show(visit: Visit) -> web.Response:
    """Show a number's month."""
    numbers = await visit.numbers()
    if not numbers:
        return visit.page("movements.html", numbers=numbers, statement=None)
    chosen = _chosen(visit, numbers)
    today = visit.now.astimezone((await number_in_use(visit.gate, chosen.phone_number_id)).zone).date()
    statement = await _statement(visit, chosen.phone_number_id, visit.query.get("month") or f"{today:%Y-%m}")
    return visit.page(
        "movements.html",
        numbers=numbers,
        chosen=chosen,
        statement=statement,
        months=_months(today),
        kinds=KINDS,
        label=label(chosen),
        today=today,
    )


async def day(visit: Visit) -> web.Response:
    """Show the single entries of a day, with the balance after each."""
    numbers = await visit.numbers()
    chosen = _chosen(visit, numbers)
    number = await number_in_use(visit.gate, chosen.phone_number_id)
    shown = _date(visit.query.get("day"), visit)
    page = int(visit.query.get("page", "1")[:6]) if visit.query.get("page", "1").isdigit() else 1
    statement = await read_statement(visit.gate, number, shown.replace(day=1))
    before = next((d.ends_micros for d in reversed(statement.days) if d.day < shown), statement.start_micros)
    start, end = midnight(number, shown), midnight(number, shown + timedelta(days=1))
    first = (max(page, 1) - 1) * PAGE
    rows = await visit.gate.ledger.fetch("entries_of_day", number.number_id, start, end, first, PAGE + 1)
    return visit.page(
        "movements_day.html",
        chosen=chosen,
        label=label(chosen),
        day=shown,
        before=before,
        rows=rows[:PAGE],
        more=len(rows) > PAGE,
        page=max(page, 1),
        kinds=KINDS,
        zone=number.zone,
    )


async def statement(visit: Visit) -> web.StreamResponse:
    """Show a month's statement: to print, or as CSV or JSON."""
    number_id, month = visit.request.match_info["phone_number_id"], visit.request.match_info["month"]
    found = await _statement(visit, number_id, month)
    kind = visit.query.get("as")
    if kind not in ("csv", "json"):
        account = visit.account
        return visit.page(
            "statement.html",
            statement=found,
            account=account,
            label=found.number.display_phone_number or number_id,
            kinds=KINDS,
        )
    name = f'attachment; filename="statement-{number_id}-{found.month:%Y-%m}.{kind}"'
    headers = {"Content-Disposition": name, "Cache-Control": "no-store"}
    if kind == "json":
        return web.json_response(_plain(found), headers=headers)
    return web.Response(text=_csv(found), content_type="text/csv", charset="utf-8", headers=headers)


def _plain(found: Statement) -> dict[str, object]:
    """Return a statement as JSON: money as decimal strings, as in the API."""
    return {
        "phone_number_id": found.number.number_id,
        "month": f"{found.month:%Y-%m}",
        "timezone": found.number.zone.key,
        "currency": found.number.currency,
        "start": format_micros(found.start_micros),
        "added": format_micros(found.added_micros),
        "charged": format_micros(found.charged_micros),
        "other": format_micros(found.other_micros),
        "end": format_micros(found.end_micros),
        "fees_paid": format_micros(found.fee_micros),
        "tax_in_fees": format_micros(found.fee_tax_micros),
        "messages": found.messages,
        "days": [
            {
                "day": day.day.isoformat(),
                "messages": day.messages,
                "charged": format_micros(day.charged_micros),
                "movements": [
                    {"at": m.at.isoformat(), "kind": m.kind, "amount": format_micros(m.micros), "about": m.about}
                    for m in day.moves
                ],
                "balance": format_micros(day.ends_micros),
            }
            for day in found.days
        ],
    }


def _csv(found: Statement) -> str:
    """Return a statement as lines that a spreadsheet adds up. What looks like a formula gets a quote before it."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["day", "kind", "about", "messages", "amount", "balance", "currency"])
    currency = found.number.currency
    writer.writerow([found.month, "start", "", "", "", format_micros(found.start_micros), currency])
    for day in found.days:
        balance = day.ends_micros + day.charged_micros - sum(move.micros for move in day.moves)
        for move in day.moves:
            balance += move.micros
            about = f"'{move.about}" if move.about[:1] in ("=", "+", "-", "@", "\t", "\r") else move.about
            writer.writerow(
                [day.day, move.kind, about, "", format_micros(move.micros), format_micros(balance), currency]
            )
        if day.messages:
            amount = format_micros(-day.charged_micros)
            writer.writerow([day.day, "messages", "", day.messages, amount, format_micros(day.ends_micros), currency])
    writer.writerow(
        [
            found.days[-1].day if found.days else found.month,
            "end",
            "",
            "",
            "",
            format_micros(found.end_micros),
            currency,
        ]
    )
    return out.getvalue()


async def _statement(visit: Visit, number_id: str, month: str) -> Statement:
    number = await number_in_use(visit.gate, number_id)
    first = _date(f"{month}-01", visit)
    if first > visit.now.date() or first.year < 2000:
        raise ProblemError(404, visit.tongue.say("There is no such month yet."))
    return await read_statement(visit.gate, number, first)


def _chosen(visit: Visit, numbers: list[Number]) -> Number:
    asked = visit.query.get("number")
    found = next((n for n in numbers if asked in (None, "", n.phone_number_id)), None)
    if found is None:
        raise ProblemError(404, visit.tongue.say("This account has no such number."))
    return found


def _date(text: str | None, visit: Visit) -> date:
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        raise ProblemError(422, visit.tongue.say("A date is written like 2026-11-25.")) from None


def _months(today: date) -> list[date]:
    months, month = [], today.replace(day=1)
    for _ in range(MONTHS):
        months.append(month)
        month = (month - timedelta(days=1)).replace(day=1)
    assert month_after(month) == months[-1], "months follow each other"
    return months
