"""Spend limits of a number: the most that it may spend in a day or a month, in all and by category."""

from aiohttp import web

from farebox.admin import limits
from farebox.admin.numbers import show_number
from farebox.admin.problems import ProblemError
from farebox.core.limits import CATEGORIES, Period
from farebox.web.entered import Entered, optional_amount
from farebox.web.visit import Visit, go, label

ROWS = {
    limits.ALL: "All messages",
    "marketing": "Marketing",
    "utility": "Utility",
    "authentication": "Authentication",
    "authentication_international": "Authentication, international",
    "service": "Service",
    "call": "Calls",
}
assert set(ROWS) == {limits.ALL, *CATEGORIES}, "every category that may be limited has its row"


async def show(visit: Visit, *, error: str | None = None) -> web.Response:
    """Show the limits, and how far each is used up."""
    number_id = visit.request.match_info["phone_number_id"]
    answer = await limits.show(visit.ask(path={"phone_number_id": number_id}))
    assert isinstance(answer.content, limits.Limits), "limits are answered with themselves"
    number = await show_number(visit.gate, number_id)
    return visit.page(
        "limits.html",
        status=422 if error else 200,
        error=error,
        number=number,
        label=label,
        rows=ROWS,
        periods=[period.value for period in Period],
        known={(limit.period.value, limit.category): limit for limit in answer.content.limits},
        zone=answer.content.timezone,
    )


async def change(visit: Visit) -> web.Response:
    """Replace the limits by the API's own function; an empty field is no limit."""
    number_id = visit.request.match_info["phone_number_id"]
    try:
        fields: dict[str, dict[str, str]] = {}
        for period in Period:
            amounts = {category: optional_amount(visit, f"{period}-{category}") for category in ROWS}
            fields[period.value] = {category: amount for category, amount in amounts.items() if amount is not None}
        body = visit.filled(limits.LimitsPut, fields)
        await limits.put(visit.ask(path={"phone_number_id": number_id}, body=body))
    except (ProblemError, Entered) as error:
        return await show(visit, error=str(error))
    return go(f"/settings/{number_id}/limits?said=saved")
