"""Auto-renewal: when a number's own rule lets its owner be charged, and for how much.

`decide` is the only place that says yes. It is asked under the number's row lock with what the ledger knows at that
moment, so concurrent workers can neither charge twice for one crossing nor exceed the cap together. Off means off: no
balance, however far below zero, makes a payment without a rule that its owner switched on. A forecast may propose a
rule (`propose`); it charges nothing until the owner accepts it, and an accepted rule does not change by itself.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum

from farebox.core.money import MICROS_PER_UNIT

# After each decline in a row, in ms: a card that was declined once may be over its limit for a day, not for a minute.
BACKOFF_MS = (5 * 60_000, 60 * 60_000, 12 * 3_600_000)
CONFIRM_MS = 86_400_000  # how long a payer may take to confirm at the bank; after that it counts as declined
PENDING_MS = (
    3 * 86_400_000
)  # what is on its way for longer does not hold a payment back: a bank transfer takes 1 to 2 days
MAX_DECLINES = len(BACKOFF_MS) + 1  # in a row: then it stops, and the owner must set the rule again

DAYS_KEPT = 3  # smart: the threshold covers a weekend, in which nobody answers a declined card
DAYS_ADDED = 14  # smart: a payment every two weeks keeps fixed fees small and little money idle
RECENT_DAYS = 7  # whole weeks: a weekday is compared with itself
EARLIER_DAYS = 21
MAX_TREND_PERCENT = 200  # a week that doubled may double again; more is a campaign, not a trend
MOVED_PERCENT = 25  # so far from what was accepted a new proposal is worth a word; a day more or less moves it a little
FORMULA = (
    "per day = spend of the last 7 full days / 7; trend = that / the mean of the 21 days before, at least 100 % and at "
    "most 200 %; expected = per day x trend; threshold = 3 x expected; amount = 14 x expected; both rounded up to "
    "whole units of the currency"
)


class Mode(StrEnum):
    """Who names threshold and amount."""

    OFF = "off"
    MANUAL = "manual"
    SMART = "smart"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule in effect. Amounts in micro-units; the cap is on what the payer is charged in a month, fees included."""

    threshold_micros: int
    amount_micros: int
    monthly_cap_micros: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What the ledger knows of a number's money and payments."""

    available_micros: int
    pending_micros: int  # top-ups of any kind that are on their way, for less than PENDING_MS
    in_flight: bool  # one of them is an auto-renewal
    month_micros: int  # charged by auto-renewal this month, being charged, or declined and not closed by its provider
    declines: int  # in a row, since the rule was set or a payment succeeded
    declined_ms: int | None  # when the last one was
    now_ms: int


class Verdict(Enum):
    """What to do."""

    PAY = "charge the amount"
    OFF = "there is no rule in effect"
    ENOUGH = "what is available, with what is on its way, is not below the threshold"
    IN_FLIGHT = "a payment is under way"
    WAITING = "the last payment was declined; the next try comes later"
    STOPPED = "too many payments in a row were declined"
    CAP = "the monthly cap would be exceeded"


def decide(rule: Rule | None, facts: Facts, charge_micros: int) -> Verdict:
    """Say whether a payment of this charge (amount and fee) is due now."""
    if rule is None:
        return Verdict.OFF
    if facts.available_micros + facts.pending_micros >= rule.threshold_micros:
        return Verdict.ENOUGH
    if facts.in_flight:
        return Verdict.IN_FLIGHT
    if facts.declines >= MAX_DECLINES:
        return Verdict.STOPPED
    if facts.declined_ms is not None and facts.now_ms < next_try_ms(facts.declines, facts.declined_ms):
        return Verdict.WAITING
    if facts.month_micros + charge_micros > rule.monthly_cap_micros:
        return Verdict.CAP
    return Verdict.PAY


def next_try_ms(declines: int, declined_ms: int) -> int:
    """Return when a declined payment may be tried again."""
    return declined_ms + (BACKOFF_MS[min(declines, len(BACKOFF_MS)) - 1] if declines else 0)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the formula makes of a number's spend."""

    recent_micros: int  # of the last 7 full days
    earlier_micros: int  # of the 21 days before
    trend_percent: int
    expected_micros: int  # a day
    threshold_micros: int
    amount_micros: int

    @property
    def proposal_id(self) -> str:
        """Return what names it: another threshold or amount has another id."""
        text = f"{self.threshold_micros} {self.amount_micros}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def has_moved(accepted_micros: int, proposed_micros: int) -> bool:
    """Tell whether a proposed amount is far from the one that was accepted."""
    return abs(proposed_micros - accepted_micros) * 100 >= MOVED_PERCENT * accepted_micros


def propose(daily_micros: Sequence[int]) -> Proposal | None:
    """Propose a rule from the spend of the last 28 full days, the latest first; None where a week spent nothing."""
    recent = sum(daily_micros[:RECENT_DAYS])
    earlier = sum(daily_micros[RECENT_DAYS : RECENT_DAYS + EARLIER_DAYS])
    if recent <= 0:
        return None
    trend = 100 if earlier <= 0 else recent * EARLIER_DAYS * 100 // (earlier * RECENT_DAYS)
    trend = max(100, min(MAX_TREND_PERCENT, trend))
    expected = -(-recent * trend // (RECENT_DAYS * 100))
    return Proposal(
        recent_micros=recent,
        earlier_micros=earlier,
        trend_percent=trend,
        expected_micros=expected,
        threshold_micros=_whole(DAYS_KEPT * expected),
        amount_micros=_whole(DAYS_ADDED * expected),
    )


def _whole(micros: int) -> int:
    return -(-micros // MICROS_PER_UNIT) * MICROS_PER_UNIT
