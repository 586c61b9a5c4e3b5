"""What a message costs: the offer before it is sent, and the verdict when WhatsApp says what became of it."""

from dataclasses import dataclass
from typing import Protocol

from farebox.core.hold import AUTHENTICATION_TTL_MS, CALL_TTL_MS, TTL_MS, Event
from farebox.core.message import Kind, Message
from farebox.core.tariff import InForce, Offer, UnpricedError
from farebox.core.webhook import Status

TEMPLATE_CATEGORIES = frozenset({"marketing", "utility", "authentication"})
# What webhooks call categories, in the words of the rate cards. Conversation-based pricing before 2023-06 knew two.
CARD_CATEGORIES = {"marketing_lite": "marketing"}


@dataclass(frozen=True, slots=True)
class Priced:
    """An offer for one message, how long its hold may live, and what the operator should know about it."""

    offer: Offer
    ttl_ms: int
    note: str | None


def price(message: Message, *, template_category: str | None, tariff: InForce) -> Priced:
    """Return the offer for a message.

    A template whose category is not known is reserved at the dearest category of its market: the webhook corrects.
    Raises UnpricedError where the tariff has no rate.
    """
    market = tariff.market_of(message.user)
    note = None
    match message.kind:
        case Kind.TEMPLATE if template_category in TEMPLATE_CATEGORIES:
            kind = category = template_category
        case Kind.TEMPLATE:
            kind = category = tariff.dearest_category(market)
            note = f"the template is not in the registry: reserved at the dearest category, {category}"
        case Kind.DIRECT:
            kind, category = f"direct_{message.category}", message.category
        case _:
            kind = category = message.kind.value
    offer = tariff.offer(kind=kind, category=category, market=market)
    ttl_ms = TTL_MS
    if message.kind is Kind.CALL:
        ttl_ms = CALL_TTL_MS
    elif category == "authentication" and note is None:
        ttl_ms = AUTHENTICATION_TTL_MS
    if offer.unpriced:
        note = "no card has a rate for this: it is paid, and charged nothing here"
    return Priced(offer, ttl_ms, "; ".join(filter(None, (note, tariff.note))) or None)


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
    unknown: bool = False  # the webhook used a category or type that no rule here knows
    conversation: str | None = None  # the category of the conversation that the delivery belongs to


def verdict(status: Status, hold: HoldFacts, *, tariff: InForce | None) -> Verdict | None:
    """Return what a status means for its hold, None where it means nothing (sent, an unknown status).

    The category and type of the webhook win over our own classification. `tariff` is the one in force at delivery,
    None where it has no card for the number: a message that was sent is decided about all the same.
    """
    if status.status == "failed":
        return Verdict(Event.FAIL, 0)
    if not status.delivered:
        return None
    if status.pricing is None:
        return Verdict(None, 0)
    category = card_category(status.pricing.category)
    conversation = (category or hold.category) if status.conversation_id else None
    if status.pricing.free:
        seen_free = f"reserved as paid {hold.category}, delivered as {status.pricing.type or 'free'}"
        return Verdict(Event.DELIVER, 0, seen_free if hold.fare_micros else None, conversation=conversation)
    market = tariff.market_of(status.users[0]) if status.users and tariff is not None else hold.market
    billed_micros = _charge_micros(tariff, market, category or hold.category)
    if billed_micros is None:
        # No card, or a category or market that Meta added since: what was reserved is the best price we have.
        unpriced = f"no rate for {status.pricing.category} in {market}"
        return Verdict(Event.DELIVER, hold.fare_micros, unpriced, unknown=True, conversation=conversation)
    drift = None
    if (category, market, billed_micros) != (hold.category, hold.market, hold.fare_micros):
        drift = f"reserved {hold.category} in {hold.market}, delivered as {category} in {market}"
    unknown = not status.pricing.known
    return Verdict(Event.DELIVER, billed_micros, drift, unknown=unknown, conversation=conversation)


def _charge_micros(tariff: InForce | None, market: str, category: str) -> int | None:
    try:
        return None if tariff is None else tariff.charge_micros(market, category)
    except UnpricedError:
        return None


def card_category(category: str) -> str:
    """Return the rate card's column for a webhook's pricing category."""
    return CARD_CATEGORIES.get(category, category.removeprefix("group_"))
