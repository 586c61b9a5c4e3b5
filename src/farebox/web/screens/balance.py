"""Balance: what there is, number by number, how long it lasts, and what to do where it is gone."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from aiohttp import web
from markupsafe import Markup

from farebox.admin.numbers import Number
from farebox.admin.usage import Period, UsageQuery, read_usage
from farebox.core.forecast import Lasts, TooLittle
from farebox.web import charts
from farebox.web.money import Purse, forecast, is_empty, purses
from farebox.web.visit import Visit, label

LATELY_DAYS = 30  # of the small chart


@dataclass(frozen=True, slots=True)
class Line:
    """A number in the breakdown."""

    number: Number
    label: str
    share: str
    colour: int


@dataclass(frozen=True, slots=True)
class Lately:
    """What the last days cost (micro-units): what is charged, and what is set aside for messages on their way."""

    chart: Markup | None  # None: nothing was sent
    yesterday: Period
    month_micros: int
    month_messages: int


@dataclass(frozen=True, slots=True)
class Breakdown:
    """One currency's money: the sum, the lines, the ring, and until when it lasts."""

    purse: Purse
    lines: list[Line]
    ring: Markup | None
    until: str
    range: str
    lately: Lately


async def show(visit: Visit) -> web.Response:
    """Show the balance."""
    numbers = await visit.numbers()
    parts = [await _breakdown(visit, purse) for purse in purses(numbers)]
    empty = [number for number in numbers if is_empty(number)]
    return visit.page("balance.html", parts=parts, empty=empty, numbers=numbers, label=label)


async def live(visit: Visit) -> web.Response:
    """Return what moves on the page, written for this reader, by the name of its place."""
    numbers, tongue = await visit.numbers(), visit.tongue
    texts: dict[str, str] = {}
    for number in numbers:
        balance = number.balance
        id_, currency = number.phone_number_id, balance.currency
        texts[f"available:{id_}"] = tongue.money(balance.available, currency)
        texts[f"held:{id_}"] = tongue.money(balance.held, currency)
        texts[f"balance:{id_}"] = tongue.money(balance.available + balance.held, currency)
    for purse in purses(numbers):
        texts[f"total:{purse.currency}"] = tongue.sum(purse.balance_micros, purse.currency)
        texts[f"total-available:{purse.currency}"] = tongue.money(purse.available_micros, purse.currency)
        texts[f"total-held:{purse.currency}"] = tongue.money(purse.held_micros, purse.currency)
        texts[f"total-pending:{purse.currency}"] = tongue.money(purse.pending_micros, purse.currency)
    empty = [number.phone_number_id for number in numbers if is_empty(number)]
    return web.json_response({"texts": texts, "empty": empty}, headers={"Cache-Control": "no-store"})


async def _breakdown(visit: Visit, purse: Purse) -> Breakdown:
    tongue = visit.tongue
    order = sorted(purse.numbers, key=lambda n: -(n.balance.available + n.balance.held))
    whole = sum(max(n.balance.available + n.balance.held, 0) for n in order)
    lines, slices, rest = [], [], 0
    for place, number in enumerate(order):
        amount = number.balance.available + number.balance.held
        share = tongue.percent(max(amount, 0), whole)
        lines.append(Line(number, label(number), share, min(place, charts.COLOURS - 1)))
        if place < charts.COLOURS - 1 or len(order) == charts.COLOURS:
            slices.append(charts.Slice(amount, label(number), share, tongue.money(amount, purse.currency)))
        else:
            rest += max(amount, 0)
    if rest:
        others = tongue.say("Other numbers")
        slices.append(charts.Slice(rest, others, tongue.percent(rest, whole), tongue.money(rest, purse.currency)))
    title = tongue.say("Balance breakdown in %(currency)s", currency=purse.currency)
    until, within = _lasting(visit, await forecast(visit.gate, purse.numbers, visit.now), purse)
    lately = await _lately(visit, purse)
    return Breakdown(purse, lines, charts.donut(slices, title) if whole else None, until, within, lately)


async def _lately(visit: Visit, purse: Purse) -> Lately:
    """Read the last days, and the month so far, from the roll-up."""
    known, tongue = visit.gate.directory.numbers, visit.tongue
    used = [known[n.phone_number_id] for n in purse.numbers if n.phone_number_id in known]
    today = visit.now.astimezone(ZoneInfo(purse.numbers[0].timezone)).date()
    first = min(today.replace(day=1), today - timedelta(days=LATELY_DAYS - 1))
    span = {"from": first, "to": today + timedelta(days=1), "granularity": "day"}
    days = await read_usage(visit.gate, used, UsageQuery.model_validate(span))
    month = [day for day in days if day.starts >= today.replace(day=1)]
    shown = days[-LATELY_DAYS:]
    micros = [day.approximate for day in shown]
    said = [tongue.money(amount, purse.currency) for amount in micros]
    labels = [tongue.weekday(day.starts) for day in shown]
    title = tongue.say("Charges of the last 30 days in %(currency)s", currency=purse.currency)
    series = [charts.Series(tongue.say("Approximate charges"), micros, said)]
    chart = charts.bars(series, labels, title, lambda one: tongue.axis(one, purse.currency), height=190)
    return Lately(
        chart if any(micros) else None,
        days[-2],
        sum(day.approximate for day in month),
        sum(day.messages for day in month),
    )


def _lasting(visit: Visit, found: Lasts | TooLittle, purse: Purse) -> tuple[str, str]:
    """Say how long the money lasts, and the range."""
    say, now = visit.tongue.say, visit.now.astimezone(ZoneInfo(purse.numbers[0].timezone))
    if isinstance(found, TooLittle):
        return say(
            "No forecast yet: it needs %(needed)s whole days with charges, and there are %(days)s.",
            needed=found.needed,
            days=found.days,
        ), ""
    if purse.available_micros <= 0:
        return say("Nothing is left."), ""
    if found.expected is None:
        return say("Lasts for more than a year at this pace."), ""
    until = say("Lasts until %(time)s at this pace.", time=visit.tongue.near(found.expected, now))
    return until, _range(visit, found, now)


def _range(visit: Visit, found: Lasts, now: datetime) -> str:
    say, near = visit.tongue.say, visit.tongue.near
    earliest = found.earliest or found.expected
    assert earliest is not None, "what runs out runs out within the horizon at the higher pace too"
    if found.latest is None:
        return say("Four of five times not before %(earliest)s.", earliest=near(earliest, now))
    return say(
        "Four of five times between %(earliest)s and %(latest)s.",
        earliest=near(earliest, now),
        latest=near(found.latest, now),
    )
