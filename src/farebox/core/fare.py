"""What a message costs: the offer before it is sent, and the verdict when WhatsApp says what became of it."""

from dataclasses import dataclass
from typing import Protocol

from farebox.core.drift import Drift, View, compare
from farebox.core.hold import AUTHENTICATION_TTL_MS, CALL_TTL_MS, TTL_MS, Event
from farebox.core.message import Kind, Message
from farebox.core.recipient import country_of
from farebox.core.tariff import Charge, Class, InForce, Offer, UnpricedError
from farebox.core.webhook import Pricing, Status

TEMPLATE_CATEGORIES = frozenset({"marketing", "utility", "authentication"})
# What webhooks call categories, in the words of the rate cards. Conversation-based pricing before 2023-06 knew two.
CARD_CATEGORIES = {"marketing_lite": "marketing"}


@dataclass(frozen=True, slots=True)
class Priced:
    """An offer for one message, how long its hold may live, and what the operator should know about it."""

    offer: Offer
    ttl_ms: int
    note: str | None
    country: str  # of the recipient, ISO 3166
    unknown_market: bool  # no row of the markets names the recipient's country


def price(message: Message, *, template_category: str | None, tariff: InForce) -> Priced:
    """Return the offer for a message.

    A template whose category is not known is reserved at the dearest category of its market: the webhook corrects.
    Raises UnpricedError where the tariff has no rate.
    """
    country = country_of(message.user)
    market = tariff.markets.of_country(country)
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
    return Priced(
        offer,
        ttl_ms,
        "; ".join(filter(None, (note, tariff.note))) or None,
        country=country,
        unknown_market=not tariff.markets.names(country),
    )


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

    @property
    def message_class(self) -> str:
        """Whether it counts as paid."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a status does to its hold. `event` None: nothing is decided yet, the delivery came without its price."""

    event: Event | None
    billed_micros: int
    drift: Drift | None = None  # where WhatsApp's view differs from ours
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
    market = tariff.market_of(status.users[0]) if status.users and tariff is not None else hold.market
    unknown = not status.pricing.known
    if status.pricing.free:
        charge = Charge(0, "")
    else:
        known = _charge(tariff, market, category or hold.category)
        # No card, or a category or market that Meta added since: what was reserved is the best price we have.
        charge, unknown = (known, unknown) if known is not None else (Charge(hold.fare_micros, ""), True)
    seen_as = Class.FREE if status.pricing.free else Class.PAID
    drift = compare(
        View(hold.category, hold.market, hold.message_class, hold.fare_micros),
        View(category, market, seen_as, charge.micros, charge.rate_source, status.pricing.type),
        same_category=_same_category(hold.category, category, status.pricing, tariff),
        price_counts=conversation is None or hold.fare_micros > 0 or hold.message_class == Class.FREE,
    )
    return Verdict(Event.DELIVER, charge.micros, drift, unknown=unknown, conversation=conversation)


def _same_category(ours: str, theirs: str, pricing: Pricing, tariff: InForce | None) -> bool:
    """Tell whether a webhook's category is ours. In a free entry point window none is told apart."""
    if not theirs or pricing.free_entry_point:
        return True
    if ours == theirs or (ours, theirs) == ("reaction", "service"):
        return True
    return tariff is not None and tariff.tariff.same_category(ours, theirs)


def _charge(tariff: InForce | None, market: str, category: str) -> Charge | None:
    try:
        return None if tariff is None else tariff.charge(market, category)
    except UnpricedError:
        return None


def card_category(category: str) -> str:
    """Return the rate card's column for a webhook's pricing category."""
    return CARD_CATEGORIES.get(category, category.removeprefix("group_"))
