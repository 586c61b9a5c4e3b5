"""Add funds, step by step: number and kind, estimate and amount, fee and review, confirm, and until it has arrived."""

from dataclasses import dataclass
from uuid import UUID
from zoneinfo import ZoneInfo

from aiohttp import web

from farebox import directory
from farebox.admin import topup_steps, topups
from farebox.admin.estimates import read_pace_of
from farebox.admin.needed import DAYS, Needed, needed_of
from farebox.admin.numbers import Number, number_in_use, show_number
from farebox.admin.problems import ProblemError
from farebox.core import topup as core
from farebox.core.forecast import Pace, lasts
from farebox.web.entered import Entered, entered_amount
from farebox.web.users import Role
from farebox.web.visit import Visit, go, label

SUGGESTED_DAYS = (7, 14, 30)
RECENT = 10  # top-ups below the first step
STATES = {
    "draft": ("", "not confirmed"),
    "pending": ("warn", "pending"),
    "succeeded": ("good", "arrived"),
    "failed": ("bad", "failed"),
    "cancelled": ("", "cancelled"),
    "refunded": ("", "given back"),
    "disputed": ("bad", "disputed"),
}
MANUAL = "manual"
WAYS = {  # to pay, each with what it means
    "manual": ("Bank transfer", "You transfer the money; it is available once somebody confirms that it arrived."),
    "stripe": ("Card", "The account's saved card is charged at once."),
    "sandbox": ("Play money", "Nothing is charged: for trying out."),
}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What to add so that the balance lasts so many days at this pace."""

    days: int
    micros: int


async def show(visit: Visit) -> web.Response:
    """Ask for the number and the kind; with a number, for the amount."""
    numbers = await visit.numbers()
    chosen = next((n for n in numbers if n.phone_number_id == visit.query.get("number")), None)
    if chosen is None or visit.query.get("step") != "amount":
        currencies = {number.phone_number_id: number.currency for number in numbers}
        found = await visit.gate.ledger.fetch("topups", list(currencies), RECENT)
        rows = [topups.topup_shown(core.topup_of(row), currencies[row["number_id"]]) for row in found]
        return visit.page(
            "funds.html", numbers=numbers, chosen=chosen, recent=rows, label=label, states=STATES, zones=_zones(numbers)
        )
    if visit.query.get("kind") == "auto-renewal":
        return go(f"/settings?renewal={chosen.phone_number_id}#n{chosen.phone_number_id}")
    return await _ask_amount(visit, chosen)


async def review(visit: Visit) -> web.Response:
    """Show what is paid, fee included: a preview, which fixes the price."""
    number = await show_number(visit.gate, visit.form.get("number", ""))
    try:
        amount = entered_amount(visit, "amount")
        body = visit.filled(topups.TopupPost, {"amount": amount.text, "method": visit.form.get("method", MANUAL)})
        preview = await _post(visit, number, body, preview=True)
    except (ProblemError, Entered) as error:
        return await _ask_amount(visit, number, error=str(error))
    return visit.page(
        "funds_review.html",
        number=number,
        topup=preview,
        label=label(number),
        until=await _lasts_then(visit, number, preview.amount),
        awaited=preview.method == MANUAL,
        ways=WAYS,
    )


async def confirm(visit: Visit) -> web.Response:
    """Charge what was reviewed. A repeated click is the same top-up."""
    number = await show_number(visit.gate, visit.form.get("number", ""))
    arrived = visit.form.get("arrived") == "yes"
    if visit.form.get("method") == MANUAL and not (arrived and visit.may(Role.OPERATOR)):
        fields: dict[str, object] = {
            "amount": visit.form.get("amount"),
            "awaited": True,
            "reference": f"transfer-{visit.form.get('preview', '')}",
        }
        body = visit.filled(topups.TopupPost, fields)
    else:
        # A UUID in JSON is a text; the model is strict, so it is read as JSON is.
        body = topups.TopupPost.model_validate({"preview_id": _uuid(visit.form.get("preview", ""))})
    topup = await _post(visit, number, body, preview=False)
    return go(f"/funds/{number.phone_number_id}/{topup.topup_id}")


async def topup(visit: Visit) -> web.Response:
    """Show how a top-up stands."""
    path = dict(visit.request.match_info)
    answer = await topup_steps.show(visit.ask(path=path))
    number = await show_number(visit.gate, path["phone_number_id"])
    zone = (await number_in_use(visit.gate, number.phone_number_id)).zone
    return visit.page(
        "funds_topup.html",
        topup=answer.content,
        number=number,
        label=label(number),
        states=STATES,
        zone=zone,
        ways=WAYS,
    )


async def act(visit: Visit) -> web.Response:
    """Do something about a top-up: the money arrived, give it up, ask its provider."""
    path = dict(visit.request.match_info)
    deed = visit.form.get("deed")
    if deed == "arrived" and not visit.may(Role.OPERATOR):
        raise ProblemError(403, visit.tongue.say("Your role may not do this; ask an operator."))
    steps = {"arrived": topup_steps.confirm, "cancel": topup_steps.cancel, "look": topup_steps.look}
    if deed not in steps:
        raise ProblemError(422, visit.tongue.say("This form is out of date; go back, reload the page and try again."))
    await steps[deed](visit.ask(path=path))
    return go(visit.request.path)


async def _ask_amount(visit: Visit, number: Number, error: str | None = None) -> web.Response:
    used = await number_in_use(visit.gate, number.phone_number_id)
    pace = await read_pace_of(visit.gate, [used], visit.now.astimezone(used.zone))
    suggested = []
    for days in SUGGESTED_DAYS:
        needed = await needed_of(visit.gate, used, number.balance, days=days, planned=(), amount_micros=None)
        if needed.suggested is not None:
            suggested.append(Suggestion(days, needed.suggested))
    return visit.page(
        "funds_amount.html",
        status=422 if error else 200,
        error=error,
        number=number,
        label=label(number),
        pace=pace if isinstance(pace, Pace) else None,
        suggested=suggested,
        planned=await _planned(visit, used, number),
        methods=sorted(visit.gate.payments, key=lambda name: (name == MANUAL, name)),
        until=await _lasts_then(visit, number, 0),
        ways=WAYS,
    )


async def _planned(visit: Visit, used: directory.Number, number: Number) -> Needed | None:
    """Return what a plan needs that was priced under approximate charges; None without one."""
    plan = visit.filled(topups.TopupPost, {"planned": visit.query.get("planned", "")}).planned
    if not plan:
        return None
    return await needed_of(visit.gate, used, number.balance, days=DAYS, planned=plan, amount_micros=None)


async def _lasts_then(visit: Visit, number: Number, more_micros: int) -> str | None:
    """Say until when the money of a number lasts with so much more."""
    used = await number_in_use(visit.gate, number.phone_number_id)
    now = visit.now.astimezone(used.zone)
    pace = await read_pace_of(visit.gate, [used], now)
    available = number.balance.available + more_micros
    if not isinstance(pace, Pace) or available <= 0:
        return None
    found = lasts(pace, available, now)
    if found.expected is None:
        return visit.tongue.say("more than a year")
    return visit.tongue.near(found.expected, now)


async def _post(visit: Visit, number: Number, body: topups.TopupPost, *, preview: bool) -> topups.CreditedTopup:
    path = {"phone_number_id": number.phone_number_id}
    answer = await topups.post(visit.ask(path=path, body=body, query=topups.TopupPostQuery(preview=preview)))
    assert isinstance(answer.content, topups.CreditedTopup), "a top-up is answered with itself"
    return answer.content


def _zones(numbers: list[Number]) -> dict[str, ZoneInfo]:
    return {number.phone_number_id: ZoneInfo(number.timezone) for number in numbers}


def _uuid(text: str) -> object:
    try:
        return UUID(text)
    except ValueError:
        return text
