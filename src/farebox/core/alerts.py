"""Alerts: what a number's owner is told before its messages stop, and the sentence that says what to do.

A level is crossed once: it is low from the moment that available falls below it until available has risen a tenth
above it (hysteresis), so a balance that trembles around a level raises one alert and not a hundred.
"""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from farebox.core.money import format_micros

HYSTERESIS_PERCENT = 10
SPIKE_FACTOR = 5  # an hour that costs so many times the usual one is worth a look
SPIKE_FROM_MICROS = 5_000_000  # below that (5 units of the currency) nobody wants to be woken
MAX_URL = 1_500  # characters of a link in a sentence; a longer one is under the page that the sentence names
CARD_ENDS_DAYS = 30  # told so long before: a new card takes two weeks in the mail
WHERE = "“Insights & Billing”"


class Kind(StrEnum):
    """What an alert is about."""

    LOW_BALANCE = "low_balance"
    RENEWAL_DECLINED = "renewal_declined"
    RENEWAL_CONFIRM = "renewal_confirm"
    RENEWAL_STOPPED = "renewal_stopped"
    RENEWAL_MOVED = "renewal_moved"
    RENEWAL_IMPOSSIBLE = "renewal_impossible"
    CAP_REACHED = "cap_reached"
    CARD_EXPIRING = "card_expiring"
    SPEND_SPIKE = "spend_spike"


class Unit(StrEnum):
    """What a level is measured in."""

    AMOUNT = "amount"
    DAYS = "days"
    LOW = "low_balance_at"  # an amount, and the number's own


@dataclass(frozen=True, slots=True)
class Level:
    """A level of a number: micro-units, or thousandths of days of its recent spend; and whether it is low now."""

    unit: Unit
    value: int
    low: bool

    def at_micros(self, daily_micros: int) -> int:
        """Return the balance that the level stands for."""
        return self.value * daily_micros // 1_000 if self.unit is Unit.DAYS else self.value

    def moves(self, available_micros: int, daily_micros: int) -> bool | None:
        """Return what `low` changes to; None: nothing changes."""
        if self.unit is Unit.DAYS and daily_micros <= 0:
            return None  # nothing is spent: it lasts for ever, and says nothing
        at = self.at_micros(daily_micros)
        if not self.low and available_micros < at:
            return True
        clear = at + max(1, abs(at) * HYSTERESIS_PERCENT // 100)
        if self.low and available_micros >= clear:
            return False
        return None


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. The same kind and occasion of a number is the same alert, and is raised once."""

    kind: Kind
    occasion: str
    sentence: str
    missing_micros: int = 0


def low_balance(
    level: Level, *, available_micros: int, daily_micros: int, currency: str, occasion: str, renews: bool
) -> Alert:
    """Say that a level is crossed, how long the balance lasts, and how much is missing."""
    at = level.at_micros(daily_micros)
    missing = at - available_micros
    named = f"{format_micros(at)} {currency}"
    if level.unit is Unit.DAYS:
        named = f"{level.value / 1_000:g} days of spend ({named})"
    lasts = ""
    if available_micros <= 0:
        lasts = " Paid messages are being refused."
    elif daily_micros > 0:
        lasts = f" At the spend of the last 7 days it lasts {available_micros * 24 // daily_micros} hours."
    otherwise = "; auto-renewal is on and has its own threshold" if renews else ", or switch on auto-renewal there"
    return Alert(
        Kind.LOW_BALANCE,
        occasion,
        f"The balance is {format_micros(available_micros)} {currency}, below the level of {named}.{lasts} "
        f"Add {format_micros(missing)} {currency} or more under {WHERE}{otherwise}.",
        missing,
    )


def declined(*, reason: str, amount_micros: int, currency: str, occasion: str, again: str) -> Alert:
    """Say that an automatic payment was declined."""
    why = reason.removeprefix("The card was declined: ")
    return Alert(
        Kind.RENEWAL_DECLINED,
        occasion,
        f"The auto-renewal of {format_micros(amount_micros)} {currency} was declined: {why.rstrip('.')}. It is "
        f"tried again {again}. Check the payment method under {WHERE}, or add funds there by hand.",
        amount_micros,
    )


def to_confirm(*, charge_micros: int, currency: str, url: str, occasion: str) -> Alert:
    """Say that the bank wants its customer to confirm an automatic payment, and where."""
    where = url if len(url) <= MAX_URL else f"the link under {WHERE}"
    return Alert(
        Kind.RENEWAL_CONFIRM,
        occasion,
        f"The bank wants the auto-renewal of {format_micros(charge_micros)} {currency} to be confirmed by its "
        f"customer; nothing is credited before. Confirm it within a day, or add funds otherwise: {where}",
        charge_micros,
    )


def stopped(*, declines: int, missing_micros: int, currency: str, occasion: str) -> Alert:
    """Say that automatic payments have stopped."""
    return Alert(
        Kind.RENEWAL_STOPPED,
        occasion,
        f"Auto-renewal has stopped after {declines} declined payments in a row, and nothing more is charged. "
        f"{format_micros(missing_micros)} {currency} are missing to its threshold. Add funds by hand under {WHERE}, "
        "change the payment method, then set the rule again.",
        missing_micros,
    )


def impossible(*, why: str, missing_micros: int, currency: str, occasion: str) -> Alert:
    """Say that the rule can not be carried out as it is."""
    return Alert(
        Kind.RENEWAL_IMPOSSIBLE,
        occasion,
        f"Auto-renewal is due and can not charge: {why.rstrip('.')}. {format_micros(missing_micros)} {currency} are "
        f"missing to its threshold. Set the rule anew under {WHERE}, or add funds there by hand.",
        missing_micros,
    )


def cap_reached(
    *, cap_micros: int, month_micros: int, charge_micros: int, missing_micros: int, currency: str, occasion: str
) -> Alert:
    """Say that the cap keeps the next payment from being made."""
    return Alert(
        Kind.CAP_REACHED,
        occasion,
        f"Auto-renewal has charged {format_micros(month_micros)} {currency} this month, and a further "
        f"{format_micros(charge_micros)} would exceed its cap of {format_micros(cap_micros)}. Nothing more is charged "
        f"before the next month. {format_micros(missing_micros)} {currency} are missing to its threshold: raise the "
        f"cap or add funds by hand under {WHERE}.",
        missing_micros,
    )


def card_expiring(*, brand: str, last4: str, expires: date, account_id: str, method: str) -> Alert:
    """Say that the card that auto-renewal charges ends soon."""
    return Alert(
        Kind.CARD_EXPIRING,
        f"{method} {last4} {expires}",
        f"The card {brand} ending in {last4}, which auto-renewal charges, is good until {expires}. Save another under "
        f"{WHERE} or with POST /v1/accounts/{account_id}/cards/{method}/link; otherwise the next payment may fail.",
    )


def moved(*, accepted: tuple[int, int], now: tuple[int, int], currency: str, occasion: str) -> Alert:
    """Say that what smart auto-renewal would propose is far from what was accepted. Threshold and amount of each."""
    (threshold, amount), (new_threshold, new_amount) = (tuple(map(format_micros, pair)) for pair in (accepted, now))
    return Alert(
        Kind.RENEWAL_MOVED,
        occasion,
        f"Smart auto-renewal charges {amount} {currency} below {threshold}, as it was accepted. By the spend of the "
        f"last 28 days it would be {new_amount} below {new_threshold}. Nothing changes by itself: accept the new "
        f"proposal under {WHERE}, or leave it as it is.",
    )


def spike(*, hour_micros: int, usual_micros: int, currency: str, occasion: str) -> Alert:
    """Say that the last hour cost far more than usual."""
    return Alert(
        Kind.SPEND_SPIKE,
        occasion,
        f"The last hour cost {format_micros(hour_micros)} {currency}; usual at this time of day are "
        f"{format_micros(usual_micros)}, by the last 7 days. If nobody planned that, look at who sends, and set a "
        f"spend limit for the day under {WHERE}.",
    )
