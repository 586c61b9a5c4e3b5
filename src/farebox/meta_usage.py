"""A number's month at Meta beside ours: asks the upstream for its analytics and the ledger for what it settled.

Deliveries are `pricing_analytics`, and conversations, where a month was charged by them, `conversation_analytics`:
https://developers.facebook.com/documentation/business-messaging/whatsapp/analytics
Both sides are cut into days where Meta cuts them, and a delivery counts on the day that its webhook names. Holds belong
to a market, Meta's points to a country: the market of the day is taken for it.
"""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from typing import Any

import aiohttp
import asyncpg

from farebox.core.against_meta import Cell, Gap, Tally, gaps, rate_part
from farebox.core.hold import DAY_MS, TTL_MS, first_hold_id
from farebox.core.money import MICROS_PER_UNIT
from farebox.core.reply import Dialect
from farebox.directory import Number
from farebox.gate import Gate
from farebox.tariffs import local_day
from farebox.templates import GRAPH_VERSION

PAGE_POINTS = 1_000  # points in one answer, about 150 bytes each
MAX_PAGES = 100  # a month of every country, category and type is some 20,000 points
TIMEOUT = aiohttp.ClientTimeout(total=60)  # of one page; a person waits
MAX_SAID = 200  # characters of the upstream's own words in our sentence
REGULAR = "REGULAR"  # the type that is charged, in both analytics; every other one is free
_NOT_DIGITS = re.compile(r"\D")


class MetaUnavailableError(Exception):
    """Meta's figures can not be had, or there is nothing to compare them with; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A number's month: how many cells both sides have, what does not agree, and the sums."""

    number_id: str
    currency: str
    from_: date
    until: date  # not included
    cells: int
    gaps: tuple[Gap, ...]
    ours: Tally
    theirs: Tally


@dataclass(frozen=True, slots=True)
class _Span:
    """What is compared: a time, and whether conversations are counted instead of messages."""

    from_ms: int
    until_ms: int
    conversations: bool

    @property
    def analytics(self) -> str:
        return "conversation_analytics" if self.conversations else "pricing_analytics"

    @property
    def counted(self) -> str:
        return "conversation" if self.conversations else "volume"


async def compare_with_meta(gate: Gate, number: Number, month: date | None) -> Compared:
    """Compare a month (its first day; None: the running one) of a number, up to the day that is not over yet.

    Raises MetaUnavailableError or LedgerUnavailableError.
    """
    if number.dialect is not Dialect.CLOUD or not number.waba_id or not number.upstream_token:
        raise MetaUnavailableError(
            "only a number of the Cloud API with a waba_id and an upstream_token can be compared"
        )
    span = _span(gate, number, month)
    from_ = local_day(span.from_ms, number.zone)
    if await gate.ledger.fetch_one("dropped_month", from_.replace(day=1)) is not None:
        raise MetaUnavailableError(f"the holds of {from_:%Y-%m} were put away, only their sums are left")
    display = await _display_number(gate, number)
    points = [point async for point in _points(gate, number, span) if _digits(point.get("phone_number")) == display]
    # Days begin where Meta's do.
    origin_ms = points[0]["start"] * 1000 % DAY_MS if points else span.from_ms % DAY_MS
    theirs = _theirs(gate, number, points, span)
    ours = await _ours(gate, number, span, origin_ms)
    rows = await gate.ledger.fetch("unknown_deliveries", number.number_id, span.from_ms, span.until_ms, origin_ms)
    quarantined = {_day(row["day_number"], origin_ms): row["messages"] for row in rows}
    return Compared(
        number.number_id,
        number.currency,
        from_,
        local_day(span.until_ms, number.zone),
        len({cell for cell, tally in ours.items() if tally.total} | theirs.keys()),
        tuple(gaps(ours, theirs, quarantined)),
        _sum(ours),
        _sum(theirs),
    )


def _span(gate: Gate, number: Number, month: date | None) -> _Span:
    today = local_day(gate.clock.now_ms(), number.zone)
    first = (month or today - timedelta(days=1)).replace(day=1)  # on the first of a month the one before is complete
    until = min((first + timedelta(days=32)).replace(day=1), today)
    if until <= first:
        raise MetaUnavailableError(f"no day of {first:%Y-%m} is over yet")
    from_ms, until_ms = (
        int(datetime(day.year, day.month, day.day, tzinfo=number.zone).timestamp()) * 1000 for day in (first, until)
    )
    tariff, _ = gate.tariffs.regime_at(number, from_ms)
    return _Span(from_ms, until_ms, tariff.conversations)


async def _display_number(gate: Gate, number: Number) -> str:
    """Return the digits by which analytics name the number."""
    if _digits(number.display_phone_number):
        return _digits(number.display_phone_number)
    return _digits((await _get(gate, number, number.number_id, "display_phone_number")).get("display_phone_number"))


async def _points(gate: Gate, number: Number, span: _Span) -> AsyncIterator[dict[str, Any]]:
    """Yield the data points of the number's account, page by page."""
    kind = "CONVERSATION" if span.conversations else "PRICING"
    call = (
        f"{span.analytics}.start({span.from_ms // 1000}).end({span.until_ms // 1000}).granularity(DAILY)"
        f'.dimensions(["PHONE","COUNTRY","{kind}_TYPE","{kind}_CATEGORY"]).limit({PAGE_POINTS})'
        f'.metric_types(["COST","{"CONVERSATION" if span.conversations else "VOLUME"}"])'
    )
    after = ""
    for _ in range(MAX_PAGES):
        page = (await _get(gate, number, number.waba_id, call + after)).get(span.analytics)
        page = page if isinstance(page, dict) else {}
        for data in page.get("data") or []:
            for point in data["data_points"]:
                yield point
        paging = page.get("paging") or {}
        cursor = str((paging.get("cursors") or {}).get("after") or "")
        if "next" not in paging or not re.fullmatch(r"[\w=+/-]+", cursor):
            return
        after = f".after({cursor})"
    raise MetaUnavailableError(f"the analytics of account {number.waba_id} have more than {MAX_PAGES} pages")


async def _get(gate: Gate, number: Number, path: str, fields: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {number.upstream_token}", "Accept-Encoding": "identity"}
    url = f"{gate.upstream.base_url}/{GRAPH_VERSION}/{path}"
    try:
        session = gate.upstream.session
        async with session.get(url, params={"fields": fields}, headers=headers, timeout=TIMEOUT) as answer:
            status, text = answer.status, await answer.text()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise MetaUnavailableError(f"WhatsApp does not answer: {type(error).__name__}") from error
    try:
        content = json.loads(text, parse_float=Decimal)
    except ValueError:
        content = None
    if status != HTTPStatus.OK or not isinstance(content, dict):
        said = content.get("error") if isinstance(content, dict) else None
        words = str(said.get("message", ""))[:MAX_SAID] if isinstance(said, dict) else "its answer is no JSON object"
        raise MetaUnavailableError(f"WhatsApp refuses the figures of {path}, HTTP {status}: {words}")
    return content


def _theirs(gate: Gate, number: Number, points: list[dict[str, Any]], span: _Span) -> dict[Cell, Tally]:
    prefix = "conversation" if span.conversations else "pricing"
    cells: dict[Cell, Tally] = {}
    for point in points:
        try:
            start_ms, count = int(point["start"]) * 1000, int(point[span.counted])
            type_, category = str(point[f"{prefix}_type"]), _category(str(point[f"{prefix}_category"]))
            cost = point.get("cost")
            cost_micros = None if cost is None else int(Decimal(cost) * MICROS_PER_UNIT)
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            raise MetaUnavailableError(f"a figure of account {number.waba_id} can not be read: {error!r}") from error
        if span.conversations and type_ != REGULAR:
            continue  # ours do not say which free message opened a conversation, so only what costs is compared
        day = _day(start_ms // DAY_MS, start_ms % DAY_MS)
        tariff, _ = gate.tariffs.regime_at(number, start_ms)
        cell = Cell(day, tariff.markets_on(day).of_country(str(point["country"])), category)
        paid, free = (count, 0) if type_ == REGULAR else (0, count)
        cells[cell] = _plus(cells.get(cell, Tally()), Tally(paid, free, cost_micros))
    return cells


async def _ours(gate: Gate, number: Number, span: _Span, origin_ms: int) -> dict[Cell, Tally]:
    rows = await gate.ledger.fetch(
        "deliveries_by_day",
        number.number_id,
        span.from_ms,
        span.until_ms,
        origin_ms,
        first_hold_id(span.from_ms - TTL_MS - DAY_MS),  # sent so long before, and delivered in time
        first_hold_id(span.until_ms),
        span.conversations,
    )
    cells: dict[Cell, Tally] = {}
    for row in rows:
        cell = Cell(_day(row["day_number"], origin_ms), row["market"], _category(row["category"]))
        cells[cell] = _plus(cells.get(cell, Tally()), _tally(row, number))
    return cells


def _tally(row: asyncpg.Record, number: Number) -> Tally:
    unsplit = rate_part(row["unsplit_micros"], row["unsplit"], number.markup)
    return Tally(row["paid"], row["free"], row["rate_micros"] + unsplit, row["open"], row["late"])


def _category(name: str) -> str:
    """Return a category as both sides write it. A reaction is a service message to Meta."""
    name = name.lower().replace("-", "_")
    return "service" if name == "reaction" else name


def _day(day_number: int, origin_ms: int) -> date:
    """Return the date of a day that begins so long after midnight UTC: that of its middle, wherever it is."""
    return datetime.fromtimestamp((day_number * DAY_MS + origin_ms + DAY_MS // 2) // 1000, UTC).date()


def _digits(text: object) -> str:
    return _NOT_DIGITS.sub("", str(text or ""))


def _plus(one: Tally, two: Tally) -> Tally:
    costs = [tally.cost_micros for tally in (one, two) if tally.cost_micros is not None]
    return Tally(
        one.paid + two.paid,
        one.free + two.free,
        sum(costs) if costs else None,
        one.open + two.open,
        one.late + two.late,
    )


def _sum(cells: dict[Cell, Tally]) -> Tally:
    total = Tally()
    for tally in cells.values():
        total = _plus(total, tally)
    return total
