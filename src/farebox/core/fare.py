"""What a message costs: the offer before it is sent, and the verdict when WhatsApp says what became of it."""

from dataclasses import dataclass
from typing import Protocol

from farebox.core.account import AUTHENTICATION, INTERNATIONAL
from farebox.core.bid import Bid, cost_micros
from farebox.core.drift import Drift, View, compare
from farebox.core.hold import AUTHENTICATION_TTL_MS, CALL_TTL_MS, TTL_MS, Event
from farebox.core.in_force import InForce
from farebox.core.message import Kind, Message
from farebox.core.recipient import country_of
from farebox.core.tariff import Class, Offer, UnpricedError
from farebox.core.webhook import Pricing, Status

MARKETING = "marketing"
TEMPLATE_CATEGORIES = frozenset({MARKETING, "utility", AUTHENTICATION})
MAX_KNOWN = 64  # prices of one number and day that are kept; most numbers need a few (countries x categories)
MAX_COST_FACTOR = 10  # a cost of more times what was expected is in another unit, and not to be believed
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


def price(message: Message, *, template_category: str | None, tariff: InForce, bid_amount: int | None = None) -> Priced:
    """Return the offer for a message.

    `bid_amount` is the maximum price of a marketing template that is sent as one: it is set aside in place of the
    card's rate, because the price itself is known with the delivery. A template whose category is not known is reserved
    at the dearest category of its market: the webhook corrects. Raises UnpricedError where the tariff has no rate.
    """
    country = country_of(message.user)
    if bid_amount is not None:  # bids are as many as clients like
        return _price(message, country, template_category, tariff, bid_amount)
    asked = (message.kind, message.category, template_category, country)
    priced: Priced | None = tariff.known.get(asked)
    if priced is None:
        priced = _price(message, country, template_category, tariff, None)
        if len(tariff.known) >= MAX_KNOWN:
            tariff.known.clear()
        tariff.known[asked] = priced
    return priced


def _price(
    message: Message, country: str, template_category: str | None, tariff: InForce, bid_amount: int | None
) -> Priced:
    """Price a message. Nothing of it counts but its kind, its category, its country and, with a bid, its multiplier."""
    market = tariff.market_of_country(country)
    note = cap = None
    match message.kind:
        case Kind.TEMPLATE if template_category == AUTHENTICATION:
            kind = category = tariff.authentication(message.user)
        case Kind.TEMPLATE if template_category in TEMPLATE_CATEGORIES:
            kind = category = template_category
            if category == MARKETING and bid_amount is not None:
                cap = Bid(bid_amount, message.bid_multiplier).cap(tariff.card.currency)
        case Kind.TEMPLATE:
            kind = category = tariff.dearest_category(message.user)
            note = f"the template is not in the registry: reserved at the dearest category, {category}"
        case Kind.DIRECT:
            kind, category = f"direct_{message.category}", message.category
        case _:
            kind = category = message.kind.value
    offer = tariff.offer(kind=kind, category=category, market=market, cap=cap)
    ttl_ms = TTL_MS
    if message.kind is Kind.CALL:
        ttl_ms = CALL_TTL_MS
    elif category in (AUTHENTICATION, INTERNATIONAL) and note is None:
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
    def bid(self) -> bool:
        """Whether what was set aside is a maximum price."""

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
    priced_by: str | None = None  # what set the price, where it is not the card's list rate
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
        charge = _Charge(0, 0)
    else:
        known = _charge(status.pricing, hold, category or hold.category, market, tariff)
        # No card, or a category or market that Meta added since: what was reserved is the best price we have.
        charge, unknown = (known, unknown) if known else (_Charge(hold.fare_micros, hold.fare_micros), True)
    seen_as = Class.FREE if status.pricing.free else Class.PAID
    drift = compare(
        View(hold.category, hold.market, hold.message_class, hold.fare_micros),
        View(category, market, seen_as, charge.micros, charge.rate_source, status.pricing.type),
        same_category=_same_category(hold.category, category, status.pricing, tariff),
        # A price that could not be known before (a volume tier, the cost of a bid) is no difference of views.
        price_counts=charge.forecast_micros != hold.fare_micros
        and (conversation is None or hold.fare_micros > 0 or hold.message_class == Class.FREE),
        flaw=charge.flaw,
    )
    return Verdict(
        Event.DELIVER, charge.micros, drift, unknown=unknown, priced_by=charge.priced_by, conversation=conversation
    )


def _same_category(ours: str, theirs: str, pricing: Pricing, tariff: InForce | None) -> bool:
    """Tell whether a webhook's category is ours. In a free entry point window none is told apart."""
    if not theirs or pricing.free_entry_point:
        return True
    if ours == theirs or (ours, theirs) == ("reaction", "service"):
        return True
    return tariff is not None and tariff.tariff.same_category(ours, theirs)


@dataclass(frozen=True, slots=True)
class _Charge:
    micros: int
    forecast_micros: int  # what a hold for this category and market should have been
    priced_by: str | None = None
    flaw: str | None = None
    rate_source: str = ""


def _charge(pricing: Pricing, hold: HoldFacts, category: str, market: str, tariff: InForce | None) -> _Charge | None:
    """Return what a delivery is charged: by its own cost, its volume tier, or the list rate; None without a rate.

    Only deliveries of the Marketing Messages API tell a cost, in the currency of the account. A bid without one is
    charged the card's rate, but never more than the maximum price. A cost that makes no sense charges what was held.
    https://developers.facebook.com/documentation/business-messaging/whatsapp/marketing-messages/pricing
    """
    if tariff is None:
        return None
    try:
        listed = tariff.list_rate(market, category)
    except UnpricedError:
        return None
    listed_micros = tariff.markup.fare_micros(listed.micros)
    capped_micros = min(listed_micros, hold.fare_micros) if hold.bid else listed_micros
    forecast_micros = hold.fare_micros if hold.bid and category == hold.category else listed_micros
    if category == MARKETING and pricing.cost_amount:
        told = f"{pricing.cost_amount} {pricing.cost_currency}"
        micros = cost_micros(pricing.cost_amount) if pricing.cost_currency == tariff.card.currency else None
        charged_micros = 0 if micros is None else tariff.markup.fare_micros(micros)
        most_micros = max(hold.fare_micros, listed_micros)
        if 0 < charged_micros <= MAX_COST_FACTOR * most_micros:
            dearer = f"the cost {told} is above what was held" if charged_micros > most_micros else None
            return _Charge(charged_micros, hold.fare_micros, f"cost of the webhook: {told}", dearer)
        return _Charge(hold.fare_micros or listed_micros, forecast_micros, flaw=f"the cost {told} makes no sense")
    tier = None if hold.bid else tariff.tier_rate(market, category)
    if tier is not None:
        return _Charge(
            tariff.markup.fare_micros(tier.micros),
            forecast_micros,
            f"volume tier: {tier.source}",
            rate_source=tier.source,
        )
    return _Charge(capped_micros, forecast_micros, rate_source=listed.source)


def card_category(category: str) -> str:
    """Return the rate card's column for a webhook's pricing category."""
    return CARD_CATEGORIES.get(category, category.removeprefix("group_"))
