"""One look at one number: its levels, its rule, and a payment if the rule says so.

Everything is decided in one transaction under the number's row lock, from what the ledger knows: not from the wallet,
which is credited last and would still look empty after a payment has been booked. The payment is written down in that
transaction and charged after it, so a crash in between leaves a top-up that the next pass charges, under the same id.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg

from farebox import metrics, topups
from farebox.core import alerts
from farebox.core.alerts import Alert, Level, Unit
from farebox.core.charge import Charge, charge
from farebox.core.renewal import CONFIRM_MS, PENDING_MS, Facts, Mode, Rule, Verdict, decide, next_try_ms
from farebox.core.topup import State, Topup
from farebox.directory import Number
from farebox.gate import Gate
from farebox.ledger import Ledger, Transaction
from farebox.payments import Method
from farebox.returns import AUTO_RENEWAL

log = logging.getLogger(__name__)

MANUAL = "manual"  # a person confirms it, so it can not renew anything by itself
LOOK_AGAIN_S = 2  # between two questions about the same payment
CHARGE_S = 10  # how long a worker may take to charge what it wrote down; after that another does


@dataclass(frozen=True, slots=True)
class Watched:
    """A number under its lock, and what the ledger says of it."""

    gate: Gate
    tx: Transaction
    number: Number
    row: asyncpg.Record
    now_ms: int

    async def raise_alert(self, alert: Alert) -> None:
        """Say something once for its occasion."""
        raised = await self.tx.fetch(
            "raise_alert",
            self.number.number_id,
            alert.kind.value,
            alert.occasion,
            alert.sentence,
            self.row["available_micros"],
            alert.missing_micros,
            self.now_ms,
        )
        if raised:
            metrics.ALERTS.labels(alert.kind.value).inc()
            log.info("number %s: alert %s", self.number.number_id, alert.kind)  # a sentence may have a payer's link


async def look(gate: Gate, number: Number) -> Verdict:
    """Raise what alerts are due, and renew the funds where the rule says so; return what the rule said."""
    async with gate.ledger.transaction() as tx:
        await tx.fetch("lock_watch", number.number_id)
        now_ms = gate.clock.now_ms()
        row = await tx.fetch_one("watched", number.number_id, now_ms, now_ms - PENDING_MS)
        assert row is not None, "numbers are never deleted"
        watched = Watched(gate, tx, number, row, now_ms)
        await _levels(watched)
        if row["in_flight"]:
            await _tell_confirmation(watched)
        verdict, topup_id = await _renew(watched)
    if topup_id is not None:
        await _charge(gate, number, topup_id)
    return verdict


async def carry_on(gate: Gate, number: Number) -> None:
    """Ask about the payment that is under way, or charge it where its worker died before it did.

    The older it is, the less often it is asked about. One that waits for its payer for too long counts as declined.
    """
    row = await gate.ledger.fetch_one("renewal_in_flight", number.number_id)
    if row is None:
        return
    now_ms, begun_ms = gate.clock.now_ms(), row["created_at"].timestamp() * 1000
    if row["looked_at"] is None:
        due = now_ms - begun_ms >= CHARGE_S * 1000
    else:
        due = now_ms - row["looked_at"].timestamp() * 1000 >= max(LOOK_AGAIN_S * 1000, (now_ms - begun_ms) / 10)
    if not due:
        return
    await _charge(gate, number, row["topup_id"])
    topup = await topups.read(gate, row["topup_id"])
    if topup.state is State.PENDING and topup.action_url is not None and now_ms - begun_ms >= CONFIRM_MS:
        hours = CONFIRM_MS // 3_600_000
        await _charged(
            gate,
            number,
            await topups.give_up(gate, number, topup, f"Nobody confirmed it at the bank for {hours} hours."),
        )


async def _charge(gate: Gate, number: Number, topup_id: UUID) -> None:
    topup = await topups.read(gate, topup_id)
    if topup.state is State.PENDING:
        topup = await topups.look(gate, number, topup)
    await _charged(gate, number, topup)


async def _charged(gate: Gate, number: Number, topup: Topup) -> None:
    if topup.state is State.FAILED:
        metrics.RENEWALS.labels("declined").inc()
        await look(gate, number)  # says so; the backoff keeps it from charging again
    elif topup.state is State.SUCCEEDED:
        metrics.RENEWALS.labels("succeeded").inc()
    elif topup.action_url is not None:
        await look(gate, number)  # says so; one payment is under way at a time


async def _tell_confirmation(watched: Watched) -> None:
    for row in await watched.tx.fetch("confirmation_untold", watched.number.number_id):
        await watched.raise_alert(
            alerts.to_confirm(
                charge_micros=row["charge_micros"],
                currency=watched.number.currency,
                url=row["action_url"],
                occasion=str(row["topup_id"]),
            )
        )


async def _levels(watched: Watched) -> None:
    available, daily = watched.row["available_micros"], watched.row["daily_micros"]
    number_id = watched.number.number_id
    for row in await watched.tx.fetch("levels", number_id):
        level = Level(Unit(row["unit"]), row["value"], row["low"])
        low = level.moves(available, daily)
        if low is None:
            continue
        if await watched.tx.fetch("move_level", number_id, row["unit"], row["value"], low) and low:
            await watched.raise_alert(
                alerts.low_balance(
                    level,
                    available_micros=available,
                    daily_micros=daily,
                    currency=watched.number.currency,
                    occasion=f"{row['unit']} {row['value']} {watched.now_ms}",  # a level may go and come again
                    renews=_rule(watched.row) is not None,
                )
            )


async def _renew(watched: Watched) -> tuple[Verdict, UUID | None]:
    """Do what the rule says; return it, and the top-up that is now to be charged."""
    row, rule = watched.row, _rule(watched.row)
    if rule is None:
        return Verdict.OFF, None
    facts = Facts(
        available_micros=row["available_micros"],
        pending_micros=row["pending_micros"],
        in_flight=row["in_flight"],
        month_micros=row["month_micros"],
        declines=row["declines"],
        declined_ms=row["declined_ms"],
        now_ms=watched.now_ms,
    )
    if facts.declines:
        await _tell_declines(watched, facts)
    method, price = await price_of(
        watched.gate, watched.number, watched.tx, name=row["method"], amount_micros=rule.amount_micros
    )
    verdict = decide(rule, facts, price.total_micros if isinstance(price, Charge) else 0)
    missing = rule.threshold_micros - facts.available_micros - facts.pending_micros
    currency = watched.number.currency
    if verdict is Verdict.STOPPED:
        metrics.RENEWALS.labels("stopped").inc()
        await watched.raise_alert(
            alerts.stopped(
                declines=facts.declines, missing_micros=missing, currency=currency, occasion=str(facts.declined_ms)
            )
        )
    elif verdict in (Verdict.PAY, Verdict.CAP) and not isinstance(price, Charge):
        metrics.RENEWALS.labels("impossible").inc()
        await watched.raise_alert(
            alerts.impossible(why=price, missing_micros=missing, currency=currency, occasion=str(row["set_ms"]))
        )
    elif verdict is Verdict.CAP and isinstance(price, Charge):
        metrics.RENEWALS.labels("cap").inc()
        await watched.raise_alert(
            alerts.cap_reached(
                cap_micros=rule.monthly_cap_micros,
                month_micros=facts.month_micros,
                charge_micros=price.total_micros,
                missing_micros=missing,
                currency=currency,
                occasion=f"{row['month']} {row['set_ms']}",
            )
        )
    elif verdict is Verdict.PAY and isinstance(price, Charge) and method is not None:
        return verdict, await _write_down(watched, method, price)
    return verdict, None


async def _write_down(watched: Watched, method: Method, price: Charge) -> UUID:
    topup_id = uuid4()
    await watched.tx.fetch(
        "begin_topup",
        topup_id,
        watched.number.number_id,
        f"{AUTO_RENEWAL}-{topup_id}",
        method.name,
        price.amount_micros,
        price.fee_micros,
        price.tax_micros,
        AUTO_RENEWAL,
        State.PENDING.value,
        watched.now_ms,
    )
    metrics.RENEWALS.labels("begun").inc()
    return topup_id


async def _tell_declines(watched: Watched, facts: Facts) -> None:
    assert facts.declined_ms is not None, "a declined payment has its time"
    again = datetime.fromtimestamp(next_try_ms(facts.declines, facts.declined_ms) / 1000, UTC)
    for row in await watched.tx.fetch("declines_untold", watched.number.number_id):
        await watched.raise_alert(
            alerts.declined(
                reason=row["reason"],
                amount_micros=row["amount_micros"],
                currency=watched.number.currency,
                occasion=str(row["topup_id"]),
                again=f"after {again:%Y-%m-%d %H:%M} UTC, if the balance is still below the threshold",
            )
        )


def _rule(row: asyncpg.Record) -> Rule | None:
    """Return the rule that is in effect: a smart one is not before its owner has accepted it."""
    if row["mode"] in (None, Mode.OFF) or row["threshold_micros"] is None:
        return None
    return Rule(row["threshold_micros"], row["amount_micros"], row["monthly_cap_micros"])


async def price_of(
    gate: Gate, number: Number, ledger: Ledger | Transaction, *, name: str | None, amount_micros: int
) -> tuple[Method | None, Charge | str]:
    """Return the method that charges by itself and what an amount costs with it, or a sentence why it can not."""
    usable = {method.name: method for method in gate.payments.values() if method.name != MANUAL}
    method = usable.get(name) if name else next(iter(usable.values()), None)
    if method is None:
        known = " or ".join(sorted(usable))
        return None, (
            f"{name} is no payment method that charges by itself; name {known}, or null"
            if name and known
            else "no payment method that charges by itself is switched on; set FAREBOX_STRIPE_API_KEY"
        )
    if method.needs_card and await ledger.fetch_one("card", number.account_id, method.name) is None:
        path = f"POST /v1/accounts/{number.account_id}/cards/{method.name}/link"
        return None, f"account {number.account_id} has no saved card; save one with {path}"
    if (sentence := await topups.hindrance(gate, number, ledger)) is not None:
        return None, sentence.rstrip(".")
    price = charge(
        amount_micros, method.terms(number.currency), tax_ppm=number.markup.tax_ppm, currency=number.currency
    )
    return method, price if isinstance(price, Charge) else f"the amount {price.sentence}"
