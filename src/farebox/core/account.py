"""What WhatsApp says about a whole business account, by `account_update` webhooks, and what it does to prices.

Two of its events move money
(https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/account_update):
AUTH_INTL_PRICE_ELIGIBILITY_UPDATE says from when authentication templates to other countries cost more,
VOLUME_BASED_PRICING_TIER_UPDATE which volume tier the account has reached in a market. A `phone_number_quality_update`
says that one of its numbers may send faster.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from farebox.core.message import storable
from farebox.core.recipient import UNKNOWN, country_of

AUTHENTICATION = "authentication"
INTERNATIONAL = "authentication_international"
EVERYWHERE = ""  # the country of a start that counts for every country without one of its own
_TIER = re.compile(r"(\d{1,15}):(\d{1,15}|MAX)", re.ASCII)
_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])", re.ASCII)
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
_MAX_SECONDS = 10**11
_MAX_DIGITS = 15  # of a phone number (E.164)
UPGRADED_PER_SECOND = 1_000  # the throughput of an upgraded number; the others have 80


@dataclass(frozen=True, slots=True)
class Start:
    """From when authentication-international rates count for users of a country."""

    country: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Reached:
    """A volume tier that an account has reached in a market and month, named by its first message."""

    region: str  # Meta's word for the market
    category: str
    month: str
    lower: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Faster:
    """One of the account's numbers may send more messages a second from now on."""

    number: str  # its display phone number, digits only
    per_second: int


Notice = Start | Reached | Faster


def notices(value: dict[str, Any]) -> Iterator[Notice]:
    """Read an `account_update`; what is not understood is skipped."""
    match value.get("event"):
        case "AUTH_INTL_PRICE_ELIGIBILITY_UPDATE":
            yield from starts(value.get("auth_international_rate_eligibility"))
        case "VOLUME_BASED_PRICING_TIER_UPDATE":
            yield from _reached(value.get("volume_tier_info"))


def upgrades(value: dict[str, Any]) -> Iterator[Faster]:
    """Read a `phone_number_quality_update`: WhatsApp raises the throughput of a number that has earned it by itself.

    (https://developers.facebook.com/documentation/business-messaging/whatsapp/throughput)
    """
    number = value.get("display_phone_number")
    digits = "".join(filter(str.isdigit, number)) if isinstance(number, str) and number.isascii() else ""
    if value.get("event") == "THROUGHPUT_UPGRADE" and 0 < len(digits) <= _MAX_DIGITS:
        yield Faster(digits, UPGRADED_PER_SECOND)


def starts(eligibility: Any) -> Iterator[Start]:
    """Read when the rates begin: a time for every country, and exceptions with their own.

    The webhook has the same shape as the account's readable field
    (https://developers.facebook.com/documentation/business-messaging/whatsapp/pricing/authentication-international-rates).
    """
    if not isinstance(eligibility, dict):
        return
    exceptions = eligibility.get("exception_countries")
    rows = [(EVERYWHERE, eligibility)]
    for row in exceptions if isinstance(exceptions, list) else []:
        country = row.get("country_code") if isinstance(row, dict) else None
        if isinstance(country, str) and _COUNTRY.fullmatch(country):
            rows.append((country, row))
    for country, row in rows:
        at_ms = _milliseconds(row.get("start_time"))
        if at_ms is not None:
            yield Start(country, at_ms)


def _reached(info: Any) -> Iterator[Reached]:
    if not isinstance(info, dict):
        return
    texts = {name: info.get(name) for name in ("region", "pricing_category", "effective_month", "tier")}
    region, category, month, tier = (text if isinstance(text, str) else "" for text in texts.values())
    bounds, at_ms = _TIER.fullmatch(tier), _milliseconds(info.get("tier_update_time"))
    if bounds is not None and at_ms is not None and _MONTH.fullmatch(month) and region and category:
        yield Reached(storable(region), storable(category).lower().replace("-", "_"), month, int(bounds[1]), at_ms)


def _milliseconds(value: object) -> int | None:
    """Read a Unix time in seconds, which Meta writes as a number or as a text."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return int(text) * 1000 if text.isascii() and text.isdigit() and int(text[:20]) < _MAX_SECONDS else None


@dataclass(frozen=True, slots=True, eq=False)  # one of an account stands for itself: its numbers share it
class Abroad:
    """Which users a business reaches at authentication-international rates.

    Eligible businesses pay them from their start time on, for users of another country than their own
    (https://developers.facebook.com/documentation/business-messaging/whatsapp/pricing/authentication-international-rates).
    Their own country is taken to be that of the business number: the verified one is known to Meta only, and the
    category of the status webhook has the last word.
    """

    home: str = UNKNOWN
    ruled: bool | None = None  # the operator's word; None: as WhatsApp says
    starts: Mapping[str, int] = field(default_factory=dict)

    def applies(self, user: str, now_ms: int) -> bool:
        """Tell whether a user is reached at international rates."""
        country = country_of(user)
        if country == self.home:
            return False
        if self.ruled is not None:
            return self.ruled
        start_ms = self.starts.get(country, self.starts.get(EVERYWHERE))
        return start_ms is not None and start_ms <= now_ms


@dataclass(frozen=True, slots=True, eq=False)  # as Abroad
class Volume:
    """The volume tiers an account has reached: (region, category, month) -> (time, first message) of each.

    Tiers are counted over all accounts of a business portfolio, so only WhatsApp knows them. A tier may be announced
    more than once; the earliest time is the official one
    (https://developers.facebook.com/documentation/business-messaging/whatsapp/pricing).
    """

    tiers: Mapping[tuple[str, str, str], tuple[tuple[int, int], ...]] = field(default_factory=dict)

    def reached(self, market: str, category: str, month: str, at_ms: int) -> int:
        """Return the first message of the highest tier that was reached by then; 0: list rates.

        International authentication messages continue the count of the others, so its tiers count for them too.
        """
        names = (category, AUTHENTICATION) if category == INTERNATIONAL else (category,)
        known = [tier for name in names for tier in self.tiers.get((market, name, month), ())]
        return max((lower for since_ms, lower in known if since_ms <= at_ms), default=0)


NOT_ABROAD = Abroad(ruled=False)
NO_VOLUME = Volume()
