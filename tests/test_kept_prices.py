"""Prices that are kept at hand are those that would be found anew, on both sides of whatever changes them."""

import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from factory import make_number
from farebox import tariffs as kept
from farebox.assets import asset
from farebox.core import fare
from farebox.core.account import EVERYWHERE, Abroad, Volume
from farebox.core.fare import Priced, price
from farebox.core.in_force import InForce
from farebox.core.markup import Markup
from farebox.core.message import Kind, Message
from farebox.core.recipient import country_of
from farebox.directory import Number
from farebox.tariffs import Tariffs, local_day

SHIPPED = asset("config/tariffs")
TARIFFS = Tariffs(SHIPPED)
HOUR_MS = 3_600_000
INDIAN, AMERICAN = "919812345678", "16505551234"
# Half an hour around midnight in several zones, a change of the regime, the month and the card.
AROUND = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp()) * 1000
ZONES = ["UTC", "America/Sao_Paulo", "Asia/Kolkata", "Pacific/Auckland", "America/St_Johns", "Africa/Cairo"]
MOMENTS = st.integers(AROUND - 30 * HOUR_MS, AROUND + 30 * HOUR_MS) | st.sampled_from(
    [AROUND + hours * HOUR_MS + ms for hours in (-13, -5.5, 0, 2.5, 3, 24) for ms in (-1, 0, 1)]
).map(round)


def day_of(now_ms: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(zone).date()


def anew(number: Number, now_ms: int) -> InForce:
    day = day_of(now_ms, number.zone)
    tariff = TARIFFS.of(number.regime, day)
    card = tariff.card(number.currency, day)
    return InForce(tariff, card, day, number.markup, now_ms, number.abroad, number.volume)


def said(in_force: InForce, *, known: bool = True) -> list[object]:
    """All that is asked of it; each price by what is known of it, or without."""
    users = [AMERICAN, INDIAN, "DE.134912", ""]
    categories = [None, "utility", "marketing", "authentication", "of_tomorrow"]
    asked = [(Message(Kind.TEMPLATE, user=user), category) for user in users for category in categories]
    asked += [(Message(Kind.DIRECT, user=INDIAN, category=direct), None) for direct in ("utility", "authentication")]
    asked += [(Message(kind, user=INDIAN), None) for kind in (Kind.SERVICE, Kind.CALL)]
    priced = []
    for message, category in asked:
        if known:
            priced.append(price(message, template_category=category, tariff=in_force))
        else:
            priced.append(fare._price(message, country_of(message.user), category, in_force, None))
    bid = Message(Kind.TEMPLATE, user=INDIAN, bid_multiplier=Decimal("1.5"))
    priced.append(price(bid, template_category="marketing", tariff=in_force, bid_amount=50))
    tiers = [in_force.tier_rate("India", category) for category in ("utility", "authentication_international")]
    return [in_force.tariff, in_force.card, in_force.day, in_force.month, in_force.note, tiers, priced]


ACCOUNTS = st.builds(
    lambda start, indian, reached: (
        Abroad("US", None, {EVERYWHERE: start, "IN": indian}),
        Volume(
            {("India", "utility", "2026-10"): tuple((at, 25_000_001 * place) for place, at in enumerate(reached, 1))}
        ),
    ),
    MOMENTS,
    MOMENTS,
    st.lists(MOMENTS, max_size=3),
)


@given(
    st.sampled_from(ZONES),
    st.sampled_from([("auto", "USD"), ("auto", "COP"), ("pmp-2026-10", "USD")]),
    ACCOUNTS,
    st.lists(MOMENTS, min_size=1, max_size=4),
)
def test_what_is_kept_is_what_is_found_anew(
    zone: str, terms: tuple[str, str], account: tuple[Abroad, Volume], moments: list[int]
) -> None:
    regime, currency = terms
    markup = Markup(percent_ppm=40_000)
    number = replace(make_number(regime, currency, zone, markup), abroad=account[0], volume=account[1])
    changes = [*account[0].starts.values(), *(at for tiers in account[1].tiers.values() for at, _ in tiers)]
    for moment in [*moments, *(change + ms for change in changes for ms in (0, -1, 0))]:
        try:
            expected = said(anew(number, moment), known=False)
        except LookupError as error:
            with pytest.raises(type(error), match=str(error)):
                TARIFFS.at(number, moment)
            continue
        assert said(TARIFFS.at(number, moment)) == expected
        assert TARIFFS.at(number, moment) is TARIFFS.at(number, moment)


@given(
    st.sampled_from(sorted(available_timezones() - {"localtime"})).map(ZoneInfo),
    st.dates(date(1973, 1, 1), date(2099, 12, 30)),
    st.integers(-2 * HOUR_MS, 2 * HOUR_MS) | st.integers(-1, 1),
)
@example(ZoneInfo("America/St_Johns"), date(2010, 11, 7), 59_999)  # twice the first minute of a day
@example(ZoneInfo("America/St_Johns"), date(2010, 11, 7), 60_000)
@example(ZoneInfo("Africa/Cairo"), date(2026, 4, 24), -1)  # a day without its first hour
@example(ZoneInfo("Pacific/Apia"), date(2011, 12, 30), 0)  # a day that was left out
def test_a_day_begins_where_it_does(zone: ZoneInfo, day: date, off_ms: int) -> None:
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    for moment in (midnight, midnight + timedelta(days=1)):
        now_ms = int(moment.timestamp()) * 1000 + off_ms
        assert local_day(now_ms, zone) == day_of(now_ms, zone)


def utility(number: Number, tariffs: Tariffs, now_ms: int = AROUND) -> Priced:
    return price(Message(Kind.TEMPLATE, user=AMERICAN), template_category="utility", tariff=tariffs.at(number, now_ms))


def test_files_that_change_are_seen_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "tariffs"
    shutil.copytree(SHIPPED, folder)
    tariffs, number = Tariffs(folder), make_number()
    assert utility(number, tariffs).offer.terms[-1].fare_micros == 3_400
    card = folder / "rates/pmp_usd_2026-10-01.csv"
    lines = card.read_text().splitlines()
    card.write_text("\n".join(line.replace("0.0034", "0.0035") for line in lines if "tiers" not in line) + "\n")
    (folder / "rates/pmp_usd_2026-10-01_volume_tiers.csv").unlink()
    assert tariffs.reload()
    assert utility(number, tariffs).offer.terms[-1].fare_micros == 3_500


def test_a_number_that_was_read_again_has_its_new_terms() -> None:
    number = make_number()
    assert utility(number, TARIFFS).offer.terms[-1].fare_micros == 3_400
    dearer = replace(number, markup=Markup(fixed_micros=100))
    assert utility(dearer, TARIFFS).offer.terms[-1].fare_micros == 3_500
    assert utility(number, TARIFFS).offer.terms[-1].fare_micros == 3_400


def test_numbers_that_are_alike_share_what_is_kept() -> None:
    number = make_number()
    assert TARIFFS.at(replace(number, number_id="another"), AROUND) is TARIFFS.at(number, AROUND)
    # Everything else that a price depends on.
    others = [
        replace(number, regime="pmp-2026-10"),
        replace(number, currency="COP"),
        replace(number, zone=ZoneInfo("Pacific/Honolulu")),  # where it is the day before
        replace(number, markup=Markup(fixed_micros=1)),
        replace(number, abroad=Abroad("US", None, {})),
        replace(number, volume=Volume({})),
    ]
    found = [TARIFFS.at(other, AROUND) for other in [number, *others]]
    assert len({id(in_force) for in_force in found}) == len(found)
    for in_force, other in zip(found, [number, *others], strict=True):
        assert said(in_force) == said(anew(other, AROUND), known=False)


def test_no_more_is_kept_than_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MAX_KEPT", 3)
    monkeypatch.setattr(fare, "MAX_KNOWN", 3)
    monkeypatch.setattr(TARIFFS, "_kept", {})
    numbers = [make_number(markup=Markup(fixed_micros=place)) for place in range(8)]
    for number in numbers * 2:
        assert said(TARIFFS.at(number, AROUND)) == said(anew(number, AROUND), known=False)
        assert len(TARIFFS.at(number, AROUND).known) <= 3
        assert len(TARIFFS._kept) <= 3
