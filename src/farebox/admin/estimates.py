"""What the running month will have cost, and what a plan would cost."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic.json_schema import WithJsonSchema

from farebox.admin.clock import EARLIEST, LATEST
from farebox.admin.fields import Amount, NumberId, refuse
from farebox.admin.models import Asked, Given, Nothing
from farebox.admin.numbers import number_in_use
from farebox.admin.problems import ProblemError
from farebox.admin.routing import Answer, Ask
from farebox.admin.usage import UsageQuery, read_usage
from farebox.core.forecast import HISTORY_DAYS, MIN_DAYS, Pace, TooLittle, project, read_pace
from farebox.core.plan import Costed, Planned, cost
from farebox.core.tariff import UnpricedError
from farebox.directory import Number
from farebox.gate import Gate

MAX_LINES = 50  # of a plan
MAX_MESSAGES = 10**9
CATEGORIES = ("marketing", "utility", "authentication", "authentication_international", "service")


def _read_plan(text: object) -> tuple[Planned, ...]:
    """Read "DE:marketing:1000,BR:utility:500"."""
    lines = [line.strip().split(":") for line in str(text).split(",") if line.strip()]
    if len(lines) > MAX_LINES:
        raise refuse(f"must have at most {MAX_LINES} lines")
    for line in lines:
        right = len(line) == 3 and len(line[0]) == 2 and line[0].isascii() and line[0].isalpha()
        if not right or line[1] not in CATEGORIES or not (line[2].isascii() and line[2].isdigit()):
            raise refuse(f"must be lines like DE:marketing:1000, with one of {', '.join(CATEGORIES)}")
        if int(line[2][:20]) > MAX_MESSAGES:
            raise refuse(f"must have at most {MAX_MESSAGES} messages a line")
    return tuple(Planned(country.upper(), category, int(count)) for country, category, count in lines)


PlanText = Annotated[
    tuple[Planned, ...],
    BeforeValidator(_read_plan),
    WithJsonSchema({"type": "string"}),
    Field(description="country:category:messages, separated by commas: DE:marketing:1000,BR:utility:500"),
]


class EstimatesQuery(Asked):
    """Of which number, and what is planned."""

    number: NumberId = Field(description="The phone number id.")
    planned: PlanText = ()
    on: date | None = Field(None, description="Price the plan by the rate card of this day; null: today's.")


class Projection(Given):
    """What the running month will have cost at its end; four of five times within the range."""

    low: Amount
    expected: Amount
    high: Amount
    days: int = Field(description="Whole days that the pace was read from.")


class PlannedLine(Given):
    """A line of the plan and what it would cost."""

    country: str
    category: str
    messages: int
    market: str
    free: int = Field(description="Of these, free: from the month's pool, or always.")
    rates: list[Amount] = Field(description="Meta's rates that they meet, tier by tier.")
    rate_source: str = Field(description="File and line of the first rate; empty where all are free.")
    cost: Amount


class Plan(Given):
    """A plan, priced by the rate card of a day; outside any window."""

    on: date
    regime: str
    lines: list[PlannedLine]
    cost: Amount


class Estimates(Given):
    """The running month of a number: so far, projected, and a plan. All of it is approximate."""

    phone_number_id: NumberId
    currency: str
    month_from: date
    month_to: date = Field(description="The day after the last.")
    charged: Amount
    held: Amount = Field(description="Set aside for messages whose fate is open.")
    so_far: Amount = Field(description="charged + held")
    projection: Projection | None = Field(description="null: too few days with charges to read a pace from.")
    days_needed: int = Field(description="Whole days with charges that a projection needs.")
    plan: Plan | None


async def index(ask: Ask[Nothing, EstimatesQuery]) -> Answer:
    """Estimate the running month of a number, and a plan."""
    gate, query = ask.gate, ask.query
    number = await number_in_use(gate, query.number)
    now = datetime.fromtimestamp(gate.clock.now_ms() / 1000, number.zone)
    first = now.date().replace(day=1)
    after = (first + timedelta(days=32)).replace(day=1)
    (month,) = await read_usage(
        gate, [number], UsageQuery.model_validate({"from": first, "to": after, "granularity": "month"})
    )
    pace = await read_pace_of(gate, [number], now)
    projection = None
    if isinstance(pace, Pace):
        seen = project(pace, month.approximate, now, datetime.combine(after, time(), number.zone))
        projection = Projection(
            low=seen.low_micros, expected=seen.expected_micros, high=seen.high_micros, days=pace.days
        )
    return Answer(
        Estimates(
            phone_number_id=number.number_id,
            currency=number.currency,
            month_from=first,
            month_to=after,
            charged=month.charged,
            held=month.held,
            so_far=month.approximate,
            projection=projection,
            days_needed=MIN_DAYS,
            plan=await plan_of(gate, number, query.planned, query.on or now.date()) if query.planned else None,
        )
    )


async def read_pace_of(gate: Gate, numbers: list[Number], now: datetime) -> Pace | TooLittle:
    """Read the pace of some numbers together. `now` is local: today does not count, it is not over."""
    today = now.date()
    first = today - timedelta(days=HISTORY_DAYS)
    rows = await gate.ledger.fetch("spent_by_day", [number.number_id for number in numbers], first, today)
    spent = {row["day"]: row["billed_micros"] for row in rows}
    days = [first + timedelta(days=index) for index in range(HISTORY_DAYS)]
    return read_pace([(day, spent.get(day, 0)) for day in days])


async def plan_of(gate: Gate, number: Number, planned: Sequence[Planned], day: date) -> Plan:
    """Price a plan by the rate card of a day."""
    if not EARLIEST.date() <= day <= LATEST.date():
        raise ProblemError(422, f"on: must be between {EARLIEST:%Y} and {LATEST:%Y}.")
    noon = datetime.combine(day, time(12), number.zone)
    try:
        tariff = gate.tariffs.at(number, round(noon.timestamp() * 1000))
        used = await gate.ledger.fetch_one("pool_used", number.number_id, tariff.tariff.pool(tariff.month))
        assert used is not None, "a count has its row"
        lines = list(cost(planned, tariff, pool_used=used["units"]))
    except UnpricedError as error:
        raise ProblemError(422, f"planned: this can not be priced, so leave it out: {error}.") from None
    except KeyError as error:
        raise ProblemError(
            422, f"planned: the tariff of {day} knows no category {error.args[0]}; leave it out."
        ) from None
    shown = [_line(line) for line in lines]
    return Plan(on=day, regime=tariff.tariff.name, lines=shown, cost=sum(line.cost for line in shown))


def _line(line: Costed) -> PlannedLine:
    return PlannedLine(
        country=line.planned.country,
        category=line.planned.category,
        messages=line.planned.messages,
        market=line.market,
        free=line.free,
        rates=[rate.micros for rate in line.rates],
        rate_source=line.rates[0].source if line.rates else "",
        cost=line.cost_micros,
    )
