"""What a message costs: the offer before it is sent, and the verdict when WhatsApp says what became of it."""

from dataclasses import dataclass
from typing import Protocol

from farebox.core.hold import AUTHENTICATION_TTL_MS, TTL_MS, Event
from farebox.core.message import Kind, Message
from farebox.core.tariff import Offer, Tariff, UnpricedError
from farebox.core.webhook import Status

TEMPLATE_CATEGORIES = frozenset({"marketing", "utility", "authentication"})


@dataclass(frozen=True, slots=True)
class Priced:
    """An offer for one message, how long its hold may live, and what the operator should know about it."""

    offer: Offer
    ttl_ms: int
    note: str | None


def price(message: Message, *, template_category: str | None, tariff: Tariff, currency: str, month: str) -> Priced:
    """Return the offer for a message.

    A template whose category is not known is reserved at the dearest category of its market: the webhook corrects.
    Raises UnpricedError where the tariff has no card in the currency.
    """
    market = tariff.markets.of(message.user)
    note = None
    match message.kind:
        case Kind.TEMPLATE if template_category in TEMPLATE_CATEGORIES:
            kind = category = template_category
        case Kind.TEMPLATE:
            kind = category = tariff.dearest_category(currency, market)
            note = f"the template is not in the registry: reserved at the dearest category, {category}"
        case Kind.DIRECT:
            kind, category = f"direct_{message.category}", message.category
        case _:
            kind = category = message.kind.value
    offer = tariff.offer(kind=kind, category=category, market=market, currency=currency, month=month)
    ttl_ms = AUTHENTICATION_TTL_MS if category == "authentication" and note is None else TTL_MS
    return Priced(offer, ttl_ms, note)


class HoldFacts(Protocol):
    """What a verdict needs to know of a hold."""

    @property
    def fare_micros(self) -> int:
        """What was set aside."""

    @property
    def category(self) -> str:
        """The category the message was reserved at."""

    @property
    def market(self) -> str:
        """The market the message was reserved for."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a status does to its hold. `event` None: nothing is decided yet, the delivery came without its price."""

    event: Event | None
    billed_micros: int
    drift: str | None = None  # where WhatsApp's view differs from ours, both in one line


def verdict(status: Status, hold: HoldFacts, *, tariff: Tariff, currency: str) -> Verdict | None:
    """Return what a status means for its hold, None where it means nothing (sent, an unknown status).

    The category and type of the webhook win over our own classification. `tariff` is the one in force at delivery.
    """
    if status.status == "failed":
        return Verdict(Event.FAIL, 0)
    if not status.delivered:
        return None
    if status.pricing is None:
        return Verdict(None, 0)
    if status.pricing.free:
        drift = f"reserved as paid {hold.category}, delivered as {status.pricing.type}" if hold.fare_micros else None
        return Verdict(Event.DELIVER, 0, drift)
    category = _card_category(status.pricing.category) or hold.category
    market = tariff.markets.of(status.users[0]) if status.users else hold.market
    try:
        billed_micros = tariff.rate(currency, market, category).micros
    except UnpricedError:
        # A category or market that Meta added since this card: what was reserved is the best price we have.
        return Verdict(Event.DELIVER, hold.fare_micros, f"no rate for {status.pricing.category} in {market}")
    drift = None
    if (category, market, billed_micros) != (hold.category, hold.market, hold.fare_micros):
        drift = f"reserved {hold.category} in {hold.market}, delivered as {category} in {market}"
    return Verdict(Event.DELIVER, billed_micros, drift)


def _card_category(category: str) -> str:
    """Return the rate card's column for a webhook's pricing category."""
    return {"marketing_lite": "marketing"}.get(category, category.removeprefix("group_"))
