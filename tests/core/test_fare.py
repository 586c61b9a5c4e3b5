from datetime import UTC, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from farebox.assets import asset
from farebox.core.fare import price, verdict
from farebox.core.hold import AUTHENTICATION_TTL_MS, TTL_MS, Event, State
from farebox.core.message import Kind, Message
from farebox.core.tariff import Class, Tariff, UnpricedError, When
from farebox.core.webhook import Pricing, Status
from farebox.ledger import KnownHold
from farebox.tariffs import Tariffs, load_tariffs


@pytest.fixture(scope="module")
def tariffs() -> Tariffs:
    return load_tariffs(asset("config/tariffs"))


@pytest.fixture(scope="module")
def tariff(tariffs: Tariffs) -> Tariff:
    return tariffs.by_name("pmp-2026-10")


FREE_FIRST = [When.FREE_ENTRY_POINT, When.FREE_ENTRY_POINT_OFFERED]
# kind, template's category -> conditions in order, fare of the last term to the United States in micros, its class
OFFERS = [
    (Kind.TEMPLATE, "utility", [*FREE_FIRST, When.ALWAYS], 3_400, Class.PAID),
    (Kind.TEMPLATE, "marketing", [*FREE_FIRST, When.ALWAYS], 25_000, Class.PAID),
    (Kind.TEMPLATE, "authentication", [*FREE_FIRST, When.ALWAYS], 3_400, Class.PAID),
    (Kind.TEMPLATE, None, [*FREE_FIRST, When.ALWAYS], 25_000, Class.PAID),
    (Kind.TEMPLATE, "a_category_of_tomorrow", [*FREE_FIRST, When.ALWAYS], 25_000, Class.PAID),
    (Kind.SERVICE, None, [*FREE_FIRST, When.POOL, When.ALWAYS], 3_400, Class.PAID),
    (Kind.REACTION, None, [When.ALWAYS], 0, Class.FREE),
    (Kind.DIRECT, None, [When.ALWAYS], 3_400, Class.PAID),
]


@pytest.mark.parametrize(("kind", "category", "conditions", "fare", "message_class"), OFFERS)
def test_offers(
    tariff: Tariff, kind: Kind, category: str | None, conditions: list[When], fare: int, message_class: Class
) -> None:
    message = Message(kind, user="16505551234", category="utility" if kind is Kind.DIRECT else "")
    priced = price(message, template_category=category, tariff=tariff, currency="USD", month="2026-11")
    terms = priced.offer.terms
    assert [term.rule.when for term in terms] == conditions
    assert (terms[-1].fare_micros, terms[-1].rule.message_class) == (fare, message_class)
    assert all(term.fare_micros == 0 for term in terms[:-1])
    assert priced.offer.always_free is (kind is Kind.REACTION)


def test_an_unknown_template_says_so_and_lives_as_long_as_any(tariff: Tariff) -> None:
    message = Message(Kind.TEMPLATE, user="1")
    priced = price(message, template_category=None, tariff=tariff, currency="USD", month="2026-11")
    assert "dearest category, marketing" in (priced.note or "")
    assert priced.ttl_ms == TTL_MS


def test_an_authentication_template_lives_ten_minutes(tariff: Tariff) -> None:
    message = Message(Kind.TEMPLATE, user="1")
    priced = price(message, template_category="authentication", tariff=tariff, currency="USD", month="2026-11")
    assert priced.ttl_ms == AUTHENTICATION_TTL_MS


def test_a_currency_without_a_card_can_not_be_priced(tariff: Tariff) -> None:
    with pytest.raises(UnpricedError, match="no rate card in CHF"):
        price(Message(Kind.SERVICE, user="1"), template_category=None, tariff=tariff, currency="CHF", month="2026-11")


MARKETS = [
    ("16505551234", "North America"),
    ("4915112345678", "Germany"),
    ("18095551234", "Rest of Latin America"),  # Dominican Republic: longer than +1
    ("79161234567", "Russia"),
    ("77011234567", "Kazakhstan"),
    ("8801712345678", "Bangladesh"),  # its own market since 2026-10-01
    ("IN.2323", "India"),
    ("DE.134912", "Germany"),
    ("ZZ.1", "Other"),
    ("999123", "Other"),
    ("", "Other"),
]


@pytest.mark.parametrize(("user", "market"), MARKETS)
def test_markets(tariff: Tariff, user: str, market: str) -> None:
    assert tariff.markets.of(user) == market


def hold(fare_micros: int = 3_400, category: str = "utility") -> KnownHold:
    return KnownHold(
        UUID(int=1), "1", State.ACCEPTED, "paid", fare_micros, category, "North America", "w", None, False, False
    )


def said(status: str, type_: str | None = None, category: str = "utility", user: str = "16505551234") -> Status:
    pricing = None if type_ is None else Pricing(type_, category, billable=True)
    return Status("w", status, (user,), 0, "", pricing, None, None)


# status, pricing type, category, recipient -> event, billed, whether the two views differ
VERDICTS = [
    (said("sent", "regular"), None, None, None),
    (said("a_status_of_tomorrow"), None, None, None),
    (said("failed"), Event.FAIL, 0, False),
    (said("delivered"), "noted", 0, False),
    (said("delivered", "regular"), Event.DELIVER, 3_400, False),
    (said("read", "regular"), Event.DELIVER, 3_400, False),
    (said("played", "regular"), Event.DELIVER, 3_400, False),
    (said("delivered", "regular", "marketing"), Event.DELIVER, 25_000, True),
    (said("delivered", "regular", "marketing_lite"), Event.DELIVER, 25_000, True),
    (said("delivered", "regular", "group_utility"), Event.DELIVER, 3_400, False),
    (said("delivered", "regular", "utility", GERMAN := "4915112345678"), Event.DELIVER, 55_000, True),
    (said("delivered", "free_customer_service", "service"), Event.DELIVER, 0, True),
    (said("delivered", "free_entry_point"), Event.DELIVER, 0, True),
    (said("delivered", "regular", "a_category_of_tomorrow"), Event.DELIVER, 3_400, True),
    (said("delivered", "a_type_of_tomorrow"), Event.DELIVER, 3_400, False),
]


@pytest.mark.parametrize(("status", "event", "billed", "drift"), VERDICTS)
def test_verdicts(tariff: Tariff, status: Status, event: object, billed: int | None, drift: bool | None) -> None:
    result = verdict(status, hold(), tariff=tariff, currency="USD")
    if event is None:
        assert result is None
        return
    assert result is not None
    assert result.event == (None if event == "noted" else event)
    assert result.billed_micros == billed
    assert (result.drift is not None) is drift


@pytest.mark.parametrize(
    ("utc", "zone", "month"),
    [
        ("2026-10-31T23:59:59", "UTC", "2026-10"),
        ("2026-11-01T00:00:00", "UTC", "2026-11"),
        ("2026-11-01T02:59:59", "America/Sao_Paulo", "2026-10"),
        ("2026-11-01T03:00:00", "America/Sao_Paulo", "2026-11"),
        ("2026-10-31T13:30:00", "Pacific/Auckland", "2026-11"),
    ],
)
def test_the_month_is_that_of_the_accounts_own_zone(tariffs: Tariffs, utc: str, zone: str, month: str) -> None:
    now_ms = int(datetime.fromisoformat(utc).replace(tzinfo=UTC).timestamp()) * 1000
    assert tariffs.at("auto", now_ms, ZoneInfo(zone))[1] == month
