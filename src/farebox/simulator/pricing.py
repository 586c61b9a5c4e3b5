"""Free or paid: the simulator's own reading of Meta's pricing rules, written without a look at farebox's.

https://developers.facebook.com/documentation/business-messaging/whatsapp/pricing
and its pages `/non-template-messages` for what starts on 2026-10-01, `/conversation-based-pricing` for what
ended on 2025-06-30. A further regime is one more function and one more line in `REGIMES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a message is to the price list. The values are Meta's `pricing.category`."""

    SERVICE = "service"
    REACTION = "reaction"
    UTILITY = "utility"
    MARKETING = "marketing"
    MARKETING_LITE = "marketing_lite"
    AUTHENTICATION = "authentication"


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything the price of one delivery to one person depends on."""

    kind: Kind
    in_free_entry_point: bool
    in_service_window: bool
    pool_left: int
    to_group: bool = False


@dataclass(frozen=True, slots=True)
class Pricing:
    """The `pricing` object of a status webhook, and whether the delivery uses up a free unit."""

    category: str
    type: str | None = "regular"
    billable: bool = True
    model: str = "PMP"
    uses_pool: bool = False

    def as_json(self) -> dict[str, Any]:
        """Write it as Meta does; there was no `type` before per-message pricing."""
        shown: dict[str, Any] = {"billable": self.billable, "pricing_model": self.model}
        if self.type is not None:
            shown["type"] = self.type
        return shown | {"category": self.category}


FREE_ENTRY_POINT = Pricing("referral_conversion", "free_entry_point", billable=False)


def _category(situation: Situation) -> str:
    name = "service" if situation.kind is Kind.REACTION else situation.kind.value
    return f"group_{name}" if situation.to_group else name


def _free(situation: Situation, *, uses_pool: bool = False) -> Pricing:
    free_type = "free_group_customer_service" if situation.to_group else "free_customer_service"
    return Pricing(_category(situation), free_type, billable=False, uses_pool=uses_pool)


def per_message_2025_07(situation: Situation) -> Pricing:
    """Only templates cost; a utility template is free while the user is being served."""
    if situation.in_free_entry_point:
        return FREE_ENTRY_POINT
    if situation.kind in (Kind.SERVICE, Kind.REACTION):
        return _free(situation)
    if situation.kind is Kind.UTILITY and situation.in_service_window:
        return _free(situation)
    return Pricing(_category(situation))


def per_message_2026_10(situation: Situation) -> Pricing:
    """Everything costs but reactions, free entry points and the month's free service messages."""
    if situation.in_free_entry_point:
        return FREE_ENTRY_POINT
    if situation.kind is Kind.REACTION:
        return _free(situation)
    if situation.kind is Kind.SERVICE and situation.pool_left > 0:
        return _free(situation, uses_pool=True)
    return Pricing(_category(situation))


@dataclass(frozen=True, slots=True)
class Regime:
    """A price model and the day it starts, at midnight in the account's time zone.

    `price` is None where conversations are charged instead of messages; `conversations.py` has those rules.
    """

    starts: date
    price: Callable[[Situation], Pricing] | None


# Oldest first.
REGIMES: dict[str, Regime] = {
    "cbp-2023-06": Regime(date(2023, 6, 1), None),
    "pmp-2025-07": Regime(date(2025, 7, 1), per_message_2025_07),
    "pmp-2026-10": Regime(date(2026, 10, 1), per_message_2026_10),
}


def regime_on(day: date, setting: str = "auto") -> Regime:
    """Return the rules in force on a day, or the ones named by the setting."""
    if setting != "auto":
        return REGIMES[setting]
    in_force = [regime for regime in REGIMES.values() if regime.starts <= day]
    return in_force[-1] if in_force else next(iter(REGIMES.values()))
