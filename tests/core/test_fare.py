from datetime import UTC, datetime
from uuid import UUID

import pytest

from factory import make_number
from farebox.assets import asset
from farebox.core.fare import price, verdict
from farebox.core.hold import AUTHENTICATION_TTL_MS, TTL_MS, Event, State
from farebox.core.in_force import InForce
from farebox.core.markup import Markup
from farebox.core.message import Kind, Message
from farebox.core.tariff import Class, UnpricedError, When
from farebox.core.webhook import Pricing, Status
from farebox.rows import KnownHold
from farebox.tariffs import Tariffs


@pytest.fixture(scope="module")
def tariffs() -> Tariffs:
    return Tariffs(asset("config/tariffs"))


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


@pytest.fixture(scope="module")
def tariff(tariffs: Tariffs) -> InForce:
    return tariffs.at(make_number(), at("2026-11-22T12:00:00"))


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
    tariff: InForce, kind: Kind, category: str | None, conditions: list[When], fare: int, message_class: Class
) -> None:
    message = Message(kind, user="16505551234", category="utility" if kind is Kind.DIRECT else "")
    priced = price(message, template_category=category, tariff=tariff)
    terms = priced.offer.terms
    assert [term.rule.when for term in terms] == conditions
    assert (terms[-1].fare_micros, terms[-1].rule.message_class) == (fare, message_class)
    assert all(term.fare_micros == 0 for term in terms[:-1])
    assert priced.offer.always_free is (kind is Kind.REACTION)


def test_an_unknown_template_says_so_and_lives_as_long_as_any(tariff: InForce) -> None:
    message = Message(Kind.TEMPLATE, user="1")
    priced = price(message, template_category=None, tariff=tariff)
    assert "dearest category, marketing" in (priced.note or "")
    assert priced.ttl_ms == TTL_MS


def test_an_authentication_template_lives_ten_minutes(tariff: InForce) -> None:
    message = Message(Kind.TEMPLATE, user="1")
    priced = price(message, template_category="authentication", tariff=tariff)
    assert priced.ttl_ms == AUTHENTICATION_TTL_MS


def test_a_currency_without_a_card_can_not_be_priced(tariffs: Tariffs) -> None:
    with pytest.raises(UnpricedError, match="no rate card in CHF"):
        tariffs.at(make_number(currency="CHF"), at("2026-11-22T12:00:00"))


def test_a_regime_that_is_not_loaded_can_not_be_priced(tariffs: Tariffs) -> None:
    with pytest.raises(UnpricedError, match="not loaded"):
        tariffs.at(make_number("pmp-2031"), at("2026-11-22T12:00:00"))


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
def test_markets(tariff: InForce, user: str, market: str) -> None:
    assert tariff.market_of(user) == market


def hold(fare_micros: int = 3_400, category: str = "utility") -> KnownHold:
    return KnownHold(
        hold_id=UUID(int=1),
        number_id="1",
        state=State.ACCEPTED,
        message_class="paid",
        fare_micros=fare_micros,
        category=category,
        market="North America",
        wamid="w",
        pool=None,
        delivered=False,
        in_free_entry_point=False,
        opened_free_entry_point=False,
        regime="pmp-2026-10",
        created_ms=0,
        recipient="16505551234",
        opens=None,
        sent_with=None,
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
def test_verdicts(tariff: InForce, status: Status, event: object, billed: int | None, drift: bool | None) -> None:
    result = verdict(status, hold(), tariff=tariff)
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
    assert tariffs.at(make_number(zone=zone), at(utc)).month == month


REGIMES = [
    ("2021-12-01T00:00:00", "UTC", "cbp-2022-02"),
    ("2023-05-31T23:59:59", "UTC", "cbp-2022-02"),
    ("2023-06-01T00:00:00", "UTC", "cbp-2023-06"),
    ("2024-11-01T00:00:00", "UTC", "cbp-2024-11"),
    ("2025-06-30T23:59:59", "UTC", "cbp-2024-11"),
    ("2025-07-01T00:00:00", "UTC", "pmp-2025-07"),
    ("2026-09-30T23:59:59", "UTC", "pmp-2025-07"),
    ("2026-10-01T00:00:00", "UTC", "pmp-2026-10"),
    ("2026-10-01T02:59:59", "America/Sao_Paulo", "pmp-2025-07"),
    ("2026-10-01T03:00:00", "America/Sao_Paulo", "pmp-2026-10"),
    ("2026-09-30T18:30:00", "Asia/Kolkata", "pmp-2026-10"),
]


@pytest.mark.parametrize(("utc", "zone", "name"), REGIMES)
def test_regimes_switch_at_midnight_in_the_accounts_own_zone(tariffs: Tariffs, utc: str, zone: str, name: str) -> None:
    assert tariffs.at(make_number(zone=zone), at(utc)).tariff.name == name


NOTES = [
    ("auto", "2026-11-22T00:00:00", None),
    ("auto", "2026-08-01T00:00:00", None),
    ("auto", "2025-08-01T00:00:00", "priced by the first one, of 2025-10-01"),
    ("auto", "2026-01-15T00:00:00", "no rate card of 2026-01-01 is known: priced by the one before, of 2025-10-01"),
    ("auto", "2024-01-15T00:00:00", "priced by the first one, of 2024-11-01"),
    ("cbp-2024-11", "2026-11-22T00:00:00", "no rate card of 2025-04-01 is known"),
]


@pytest.mark.parametrize(("regime", "utc", "said"), NOTES)
def test_a_card_that_is_not_of_its_day_is_said_so(tariffs: Tariffs, regime: str, utc: str, said: str | None) -> None:
    note = tariffs.at(make_number(regime), at(utc)).note
    assert note is None if said is None else note is not None and said in note


MARKUPS = [
    (Markup(), 3_400, 3_400),
    (Markup(percent_ppm=40_000), 3_400, 3_536),
    (Markup(percent_ppm=125_000), 3, 3),  # 3.375
    (Markup(percent_ppm=166_667), 3, 4),  # 3.5 and a bit
    (Markup(fixed_micros=1_000), 3_400, 4_400),
    (Markup(tax_ppm=190_000), 3_400, 4_046),
    (Markup(percent_ppm=40_000, fixed_micros=1_000, tax_ppm=190_000), 3_400, 5_398),
    (Markup(percent_ppm=40_000, fixed_micros=1_000, tax_ppm=190_000), 0, 0),
]


@pytest.mark.parametrize(("markup", "rate", "fare"), MARKUPS)
def test_what_an_account_adds_is_in_the_hold_and_in_the_bill(
    tariffs: Tariffs, markup: Markup, rate: int, fare: int
) -> None:
    assert markup.fare_micros(rate) == fare
    in_force = tariffs.at(make_number(markup=markup), at("2026-11-22T12:00:00"))
    priced = price(Message(Kind.TEMPLATE, user="16505551234"), template_category="utility", tariff=in_force)
    billed = verdict(said("delivered", "regular"), hold(), tariff=in_force)
    assert billed is not None
    assert priced.offer.terms[-1].fare_micros == billed.billed_micros == markup.fare_micros(3_400)
