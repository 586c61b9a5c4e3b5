"""Approximate charges: the running month so far and projected, and what a plan would cost."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from aiohttp import web
from babel import Locale
from markupsafe import Markup

from farebox.admin import estimates
from farebox.admin.estimates import CATEGORIES, Estimates, EstimatesQuery, read_pace_of
from farebox.admin.numbers import number_in_use
from farebox.admin.problems import ProblemError
from farebox.core.forecast import Pace, Projected, projected_days
from farebox.web import charts
from farebox.web.visit import Visit, label

_NO_COUNTRIES = ("EU", "EZ", "QO", "UN", "XA", "XB", "ZZ")  # that the locale data names beside countries
LINES = 4  # of a plan that the form shows at least


async def show(visit: Visit) -> web.Response:
    """Show the estimates of a number."""
    numbers = await visit.numbers()
    if not numbers:
        return visit.page("charges.html", numbers=numbers, found=None)
    asked = visit.query.get("number")
    chosen = next((n for n in numbers if asked in (None, "", n.phone_number_id)), numbers[0])
    lines = _lines(visit)
    error = None
    try:
        found = await _estimate(visit, chosen.phone_number_id, lines)
    except ProblemError as problem:
        error = problem.detail
        found = await _estimate(visit, chosen.phone_number_id, [])
    return visit.page(
        "charges.html",
        status=422 if error else 200,
        error=error,
        numbers=numbers,
        chosen=chosen,
        label=label,
        found=found,
        month=await _month(visit, chosen.phone_number_id, found),
        planned=_planned(lines),
        lines=lines + [("", CATEGORIES[0], "")] * max(LINES - len(lines), 1),
        categories=CATEGORIES,
        countries=_countries(visit.tongue.locale),
    )


async def _estimate(visit: Visit, number_id: str, lines: list[tuple[str, str, str]]) -> Estimates:
    fields = {"number": number_id, "planned": _planned(lines)} | (
        {"on": visit.query["on"]} if visit.query.get("on") else {}
    )
    answer = await estimates.index(visit.ask(query=visit.filled(EstimatesQuery, fields)))
    assert isinstance(answer.content, Estimates), "estimates are answered with themselves"
    return answer.content


def _planned(lines: list[tuple[str, str, str]]) -> str:
    """Write a plan as the API reads it."""
    return ",".join(":".join(line) for line in lines)


def _lines(visit: Visit) -> list[tuple[str, str, str]]:
    """Read the plan of the form: the lines that name a country and messages."""
    query = visit.request.query
    rows = zip(query.getall("country", []), query.getall("category", []), query.getall("messages", []), strict=False)
    digits = str.maketrans("", "", "., '  ")
    return [
        (country, category, messages.translate(digits))
        for country, category, messages in rows
        if country and messages.strip()
    ]


@dataclass(frozen=True, slots=True)
class Month:
    """The running month: its chart, and the same day by day (day, least, expected, most)."""

    chart: Markup
    days: list[tuple[date, int, int, int]]
    today: date


async def _month(visit: Visit, number_id: str, found: Estimates) -> Month | None:
    """Draw the month: what was charged by each day, and where it goes from today, with the range."""
    number = await number_in_use(visit.gate, number_id)
    now = visit.now.astimezone(number.zone)
    pace = await read_pace_of(visit.gate, [number], now)
    if not isinstance(pace, Pace):
        return None
    rows = await visit.gate.ledger.fetch("spent_by_day", [number_id], found.month_from, found.month_to)
    spent = {row["day"]: row["billed_micros"] for row in rows}
    days = [found.month_from + timedelta(days=n) for n in range((found.month_to - found.month_from).days)]
    total = 0
    low: list[int] = []
    middle: list[int] = []
    high: list[int] = []
    end = datetime.combine(found.month_to, time(), number.zone)
    ahead: dict[date, Projected] = dict(projected_days(pace, found.so_far, now, end))
    for day in days:
        seen = ahead.get(day)
        if day < now.date() or seen is None:
            total += spent.get(day, 0)
            values = (total, total, total)
        else:
            values = (seen.low_micros, seen.expected_micros, seen.high_micros)
        for line, value in zip((low, middle, high), values, strict=True):
            line.append(value)
    title = visit.tongue.say("Charges of the month, day by day, in %(currency)s", currency=found.currency)
    chart = charts.band(
        charts.Band(low, middle, high),
        [str(day.day) for day in days],
        title,
        lambda micros: visit.tongue.axis(micros, found.currency),
    )
    return Month(chart, list(zip(days, low, middle, high, strict=True)), now.date())


def _countries(locale: Locale) -> list[tuple[str, str]]:
    """Return the countries by name, in the reader's language."""
    named = [(code, name) for code, name in locale.territories.items() if len(code) == 2 and code not in _NO_COUNTRIES]
    return sorted(named, key=lambda pair: pair[1])
