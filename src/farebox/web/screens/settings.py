"""Prepaid settings: a line for each number, edited in place."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from farebox.admin import alerts, limits, numbers, renewals
from farebox.admin.numbers import Number, number_in_use
from farebox.admin.problems import ProblemError
from farebox.admin.renewals import Renewal
from farebox.admin.usage import Period, UsageQuery, read_usage
from farebox.web.entered import Entered, entered_amounts, entered_days, optional_amount, optional_count
from farebox.web.screens.funds import MANUAL, WAYS
from farebox.web.visit import Visit, go, label

PAGE = 20  # lines; each asks the ledger a few questions
MODES = {
    "enforce": ("good", "enforce", "Paid messages are refused when the money is gone."),
    "shadow": ("warn", "shadow", "Everything is counted, nothing is refused."),
    "off": ("bad", "off", "Messages pass and are not counted."),
}
RENEWALS = {
    "off": ("Off", "Nothing is charged by itself."),
    "manual": ("Manual", "You name threshold and amount."),
    "smart": ("Smart", "farebox proposes both from what was spent; nothing is charged before you accept."),
}
RULES = {
    "above_zero": "Send while anything is left",
    "cover": "Send only what the balance covers",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A number, its settings and this month's use."""

    number: Number
    label: str
    month: Period
    renewal: Renewal
    levels: list[alerts.ShownLevel]
    limits: list[limits.ShownLimit]


async def show(visit: Visit, *, error: str | None = None, of: str = "", renewing: str = "") -> web.Response:
    """Show a page of the lines: the one with the number that is changed, or that the address asks for."""
    numbers, renewing = await visit.numbers(), renewing or visit.query.get("renewal", "")
    first = _first(numbers, of or renewing or visit.query.get("number", ""), visit.query.get("from", ""))
    lines = [await _line(visit, number) for number in numbers[first : first + PAGE]]
    return visit.page(
        "settings.html",
        status=422 if error else 200,
        error=error,
        of=of,
        lines=lines,
        modes=MODES,
        rules=RULES,
        renewing=renewing,
        earlier=max(first - PAGE, 0) if first else None,
        later=first + PAGE if first + PAGE < len(numbers) else None,
        renewals=RENEWALS,
        zones={number_id: number.zone for number_id, number in visit.gate.directory.numbers.items()},
        methods=[name for name in sorted(visit.gate.payments) if name != MANUAL],
        ways=WAYS,
    )


def _first(numbers: Sequence[Number], wanted: str, asked: str) -> int:
    """Return where the page begins that is shown."""
    places = [place for place, number in enumerate(numbers) if number.phone_number_id == wanted]
    place = places[0] if places else int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 6 else 0
    return min(place, max(len(numbers) - 1, 0)) // PAGE * PAGE


async def _line(visit: Visit, number: Number) -> Line:
    """Read what stands on a number's line, by the API's own functions."""
    used = await number_in_use(visit.gate, number.phone_number_id)
    today = visit.now.astimezone(used.zone).date()
    (*_, month) = await read_usage(visit.gate, [used], UsageQuery.model_validate({"from": today.replace(day=1)}))
    ask = visit.ask(path={"phone_number_id": number.phone_number_id})
    rule = (await renewals.show(ask)).content
    levels = (await alerts.levels(ask)).content
    limited = (await limits.show(ask)).content
    assert isinstance(rule, Renewal), "a rule is answered with itself"
    assert isinstance(levels, alerts.Levels), "levels are answered with themselves"
    assert isinstance(limited, limits.Limits), "limits are answered with themselves"
    return Line(number, label(number), month, rule, levels.levels, limited.limits)


async def change(visit: Visit) -> web.Response:
    """Change a number's settings by the API's own function."""
    number_id = visit.request.match_info["phone_number_id"]
    try:
        fields: dict[str, object] = {
            "low_balance_at": optional_amount(visit, "low_balance_at"),
            "block_at": optional_amount(visit, "block_at") or "0.00",
            "mode": visit.form.get("mode", ""),
            "funds_rule": visit.form.get("funds_rule", ""),
        }
        if "throughput" in visit.form:
            fields["throughput"] = optional_count(visit, "throughput")
        body = visit.filled(numbers.NumberPatch, fields)
        levels = None
        if "alert_amounts" in visit.form:
            asked = {"amounts": entered_amounts(visit, "alert_amounts"), "days": entered_days(visit, "alert_days")}
            levels = visit.filled(alerts.LevelsPut, asked)
        await numbers.patch(visit.ask(path={"phone_number_id": number_id}, body=body))
        if levels is not None:
            await alerts.put_levels(visit.ask(path={"phone_number_id": number_id}, body=levels))
    except (ProblemError, Entered) as error:
        return await show(visit, error=str(error), of=number_id)
    return go(f"/settings?said=saved&number={number_id}#n{number_id}")
