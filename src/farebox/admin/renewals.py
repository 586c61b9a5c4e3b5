"""The auto-renewal of a number: what may be charged without asking, and why it is or is not."""

import json
from datetime import UTC, datetime
from typing import Any, Literal

import asyncpg
from pydantic import Field

from farebox import topups
from farebox.admin.fields import Amount, AmountAboveZero, AmountFromZero, NumberId
from farebox.admin.models import Given, Nothing, Taken
from farebox.admin.numbers import number_in_use
from farebox.admin.problems import ProblemError
from farebox.admin.routing import Answer, Ask
from farebox.core.charge import Charge
from farebox.core.money import format_micros
from farebox.core.renewal import FORMULA, MAX_DECLINES, PENDING_MS, Proposal, next_try_ms, propose
from farebox.core.topup import topup_of
from farebox.directory import Number
from farebox.gate import Gate
from farebox.payments import MethodUnavailableError
from farebox.tariffs import local_day
from farebox.watch.looks import price_of


class RenewalPut(Taken):
    """A rule: when to charge, how much, and the most in a month."""

    mode: Literal["off", "manual", "smart"]
    threshold: AmountFromZero | None = Field(None, description="manual: charge when available falls below this.")
    amount: AmountAboveZero | None = Field(None, description="manual: what each payment adds; the fee comes on top.")
    monthly_cap: AmountAboveZero | None = Field(
        None, description="The most that is charged in a calendar month, fees included. Required unless off."
    )
    method: str | None = Field(
        None, max_length=64, description="The payment method; null: the one that is switched on."
    )
    accept: str | None = Field(
        None, max_length=64, description="smart: the id of the proposal that takes effect; without it one is made."
    )


class ShownProposal(Given):
    """What the formula makes of the number's spend. It charges nothing until it is accepted."""

    proposal_id: str
    formula: str
    spent_last_7_days: Amount
    spent_21_days_before: Amount
    trend_percent: int
    expected_per_day: Amount
    threshold: Amount
    amount: Amount


class Renewal(Given):
    """A number's rule and how it stands."""

    phone_number_id: NumberId
    mode: Literal["off", "manual", "smart"]
    in_effect: bool = Field(description="Whether anything can be charged by it.")
    threshold: Amount | None
    amount: Amount | None
    charge: Amount | None = Field(description="What a payment costs its payer: the amount and the fee.")
    monthly_cap: Amount | None
    charged_this_month: Amount
    in_flight: bool = Field(description="Whether a payment is under way.")
    declines: int = Field(description="Declined payments in a row.")
    next_try_at: datetime | None = Field(description="After a decline: not before this time.")
    stopped: bool = Field(description="Too many declines: nothing is charged until the rule is set again.")
    method: str | None
    currency: str
    confirm_url: str | None = Field(
        description="Where the payer has to confirm the payment under way (3-D Secure); null: nowhere."
    )
    proposal: ShownProposal | None
    moved: ShownProposal | None = Field(
        description="smart: what the formula makes of the spend today, where that is another proposal; accept takes it."
    )


async def show(ask: Ask[Nothing, Nothing]) -> Answer:
    """Show the rule."""
    return Answer(await _shown(ask.gate, await number_in_use(ask.gate, ask.path["phone_number_id"])))


async def put(ask: Ask[RenewalPut, Nothing]) -> Answer:
    """Set the rule. Where it is switched off, a payment that is under way is given up, if that is still possible."""
    gate, body = ask.gate, ask.body
    number = await number_in_use(gate, ask.path["phone_number_id"])
    threshold, amount, proposal = body.threshold, body.amount, None
    if body.mode != "off" and body.monthly_cap is None:
        raise ProblemError(422, "monthly_cap: must be given, so that a month can not cost more than you want to pay.")
    if body.mode == "manual" and (threshold is None or amount is None):
        raise ProblemError(422, "threshold and amount: both must be given with the mode manual; smart proposes them.")
    if body.mode == "off" and (threshold is None) != (amount is None):
        raise ProblemError(422, "threshold and amount: give both, to keep them for later, or neither.")
    if body.mode == "smart":
        if threshold is not None or amount is not None:
            raise ProblemError(422, "threshold and amount: smart proposes them; use the mode manual to name your own.")
        threshold, amount, proposal = await _smart(gate, number, body.accept)
    if amount is not None and body.mode != "off":
        await _check(gate, number, body, amount)
    await gate.ledger.fetch(
        "put_renewal_rule",
        number.number_id,
        body.mode,
        body.method,
        threshold,
        amount,
        body.monthly_cap,
        None if proposal is None else json.dumps(proposal),
        gate.clock.now_ms(),
    )
    await gate.directory.load_numbers(gate.ledger)
    if body.mode == "off":
        await _give_up(gate, number)
    else:
        gate.wakes.low(number.number_id)  # it may be below the threshold already
    return Answer(await _shown(gate, number))


async def _check(gate: Gate, number: Number, body: RenewalPut, amount_micros: int) -> None:
    """Refuse a rule that could never charge."""
    _, price = await price_of(gate, number, gate.ledger, name=body.method, amount_micros=amount_micros)
    if not isinstance(price, Charge):
        raise ProblemError(422, f"{price}.")
    if body.monthly_cap is not None and price.total_micros > body.monthly_cap:
        raise ProblemError(
            422,
            f"monthly_cap: one payment costs {format_micros(price.total_micros)} {number.currency} with its fee, "
            "which is more than the cap; raise the cap or lower the amount.",
        )


async def _smart(gate: Gate, number: Number, accept: str | None) -> tuple[int | None, int | None, dict[str, Any]]:
    """Return threshold and amount of the proposal that is accepted, or of none and a new proposal."""
    if accept is not None:
        row = await gate.ledger.fetch_one("renewal_rule", number.number_id)
        known = json.loads(row["proposal"]) if row is not None and row["proposal"] else {}
        if known.get("proposal_id") != accept:
            proposal = await _proposed(gate, number)
            if proposal is None or proposal.proposal_id != accept:
                raise ProblemError(
                    409, "accept: this is not the proposal that was made last; ask for one with the mode smart alone."
                )
            known = _kept(proposal)
        return known["threshold_micros"], known["amount_micros"], known
    proposal = await _proposed(gate, number)
    if proposal is None:
        raise ProblemError(
            422, "mode: this number has spent nothing in the last 7 days to propose from; use manual for now."
        )
    return None, None, _kept(proposal)


async def _proposed(gate: Gate, number: Number) -> Proposal | None:
    """Return what the formula makes of the number's spend today."""
    today = local_day(gate.clock.now_ms(), number.zone)
    return propose([row["micros"] for row in await gate.ledger.fetch("daily_spend", number.number_id, today)])


async def _give_up(gate: Gate, number: Number) -> None:
    """Give up a payment that is under way, where its provider still can. One that was paid is credited all the same."""
    row = await gate.ledger.fetch_one("renewal_in_flight", number.number_id)
    if row is None:
        return
    try:
        await topups.cancel(gate, number, topup_of(row))
    except MethodUnavailableError as error:
        raise ProblemError(
            503,
            f"Auto-renewal is off, but a payment that had begun could not be given up ({error}); look at "
            f"GET /v1/numbers/{number.number_id}/topups.",
        ) from error


def _kept(proposal: Proposal) -> dict[str, Any]:
    return {
        "proposal_id": proposal.proposal_id,
        "recent_micros": proposal.recent_micros,
        "earlier_micros": proposal.earlier_micros,
        "trend_percent": proposal.trend_percent,
        "expected_micros": proposal.expected_micros,
        "threshold_micros": proposal.threshold_micros,
        "amount_micros": proposal.amount_micros,
    }


async def _shown(gate: Gate, number: Number) -> Renewal:
    now_ms = gate.clock.now_ms()
    facts = await gate.ledger.fetch_one("watched", number.number_id, now_ms, now_ms - PENDING_MS)
    assert facts is not None, "numbers are never deleted"
    rule = await gate.ledger.fetch_one("renewal_rule", number.number_id)
    price = None
    if rule is not None and rule["amount_micros"]:
        named = rule["method"]
        _, price = await price_of(gate, number, gate.ledger, name=named, amount_micros=rule["amount_micros"])
    under_way = await gate.ledger.fetch_one("renewal_in_flight", number.number_id) if facts["in_flight"] else None
    today = await _proposed(gate, number) if rule is not None and rule["mode"] == "smart" else None
    shown = _renewal(number, facts, rule, price if isinstance(price, Charge) else None)
    known = None if shown.proposal is None else shown.proposal.proposal_id
    moved = None if today is None or today.proposal_id == known else _proposal(_kept(today))
    return shown.model_copy(
        update={"moved": moved, "confirm_url": None if under_way is None else under_way["action_url"]}
    )


def _renewal(number: Number, facts: asyncpg.Record, rule: asyncpg.Record | None, price: Charge | None) -> Renewal:
    on = rule is not None and rule["mode"] != "off"
    amount = rule["amount_micros"] if rule else None
    stopped = on and facts["declines"] >= MAX_DECLINES
    waits = on and facts["declines"] and not stopped
    return Renewal(
        phone_number_id=number.number_id,
        mode=rule["mode"] if rule else "off",
        in_effect=on and amount is not None and not stopped,
        threshold=rule["threshold_micros"] if rule else None,
        amount=amount,
        charge=None if price is None else price.total_micros,
        monthly_cap=rule["monthly_cap_micros"] if rule else None,
        charged_this_month=facts["month_micros"],
        in_flight=facts["in_flight"],
        declines=facts["declines"] if on else 0,
        next_try_at=datetime.fromtimestamp(next_try_ms(facts["declines"], facts["declined_ms"]) / 1000, UTC)
        if waits
        else None,
        stopped=stopped,
        method=rule["method"] if rule else None,
        currency=number.currency,
        confirm_url=None,
        moved=None,
        proposal=_proposal(json.loads(rule["proposal"])) if rule and rule["proposal"] else None,
    )


def _proposal(kept: dict[str, Any]) -> ShownProposal:
    return ShownProposal(
        proposal_id=kept["proposal_id"],
        formula=FORMULA,
        spent_last_7_days=kept["recent_micros"],
        spent_21_days_before=kept["earlier_micros"],
        trend_percent=kept["trend_percent"],
        expected_per_day=kept["expected_micros"],
        threshold=kept["threshold_micros"],
        amount=kept["amount_micros"],
    )
