from typing import Any

import pytest

from farebox.core.account import Abroad, Notice, Reached, Start, Volume, notices

INDONESIAN, GERMAN, INDIAN = "628111234567", "4915112345678", "919812345678"
TIER = {
    "tier_update_time": 1743451903,
    "pricing_category": "UTILITY",
    "tier": "25000001:50000000",
    "effective_month": "2025-11",
    "region": "India",
}
ELIGIBLE = {"start_time": 1000, "exception_countries": [{"country_code": "ID", "start_time": 500}]}


def tier(**changes: Any) -> dict[str, Any]:
    return {"event": "VOLUME_BASED_PRICING_TIER_UPDATE", "volume_tier_info": TIER | changes}


def eligible(eligibility: Any) -> dict[str, Any]:
    return {"event": "AUTH_INTL_PRICE_ELIGIBILITY_UPDATE", "auth_international_rate_eligibility": eligibility}


NOTICES: list[tuple[dict[str, Any], list[Notice]]] = [
    (tier(), [Reached("India", "utility", "2025-11", 25_000_001, 1743451903000)]),
    (tier(tier="50000001:MAX"), [Reached("India", "utility", "2025-11", 50_000_001, 1743451903000)]),
    (tier(tier_update_time="1743451903"), [Reached("India", "utility", "2025-11", 25_000_001, 1743451903000)]),
    (tier(tier="many"), []),
    (tier(tier=7), []),
    (tier(effective_month="2025-13"), []),
    (tier(tier_update_time=None), []),
    (tier(tier_update_time=True), []),
    (tier(region=""), []),
    ({"event": "VOLUME_BASED_PRICING_TIER_UPDATE"}, []),
    (eligible(ELIGIBLE), [Start("", 1_000_000), Start("ID", 500_000)]),
    (eligible({"start_time": 1000}), [Start("", 1_000_000)]),
    (eligible({"exception_countries": [{"country_code": "id", "start_time": 1}, 7, {}]}), []),
    (eligible({"start_time": "9" * 30}), []),
    (eligible([]), []),
    ({"event": "DISABLED_UPDATE"}, []),
    ({}, []),
]


@pytest.mark.parametrize(("value", "read"), NOTICES)
def test_notices(value: dict[str, Any], read: list[Notice]) -> None:
    assert list(notices(value)) == read


STARTS = {"": 1000, "ID": 500}
# home, operator's word, starts by webhook, user, now -> international
ABROAD = [
    ("DE", None, STARTS, INDIAN, 1000, True),
    ("DE", None, STARTS, INDIAN, 999, False),
    ("DE", None, STARTS, INDONESIAN, 500, True),
    ("DE", None, {}, INDIAN, 1000, False),
    ("DE", True, {}, INDIAN, 0, True),
    ("DE", False, STARTS, INDIAN, 1000, False),
    ("IN", None, STARTS, INDIAN, 1000, False),
    ("IN", True, {}, INDIAN, 1000, False),
    ("", True, {}, INDIAN, 1000, True),  # a home that nobody knows is not the user's
    ("IN", True, {}, "IN.123", 1000, False),
    ("DE", True, {}, "IN.123", 1000, True),
]


@pytest.mark.parametrize(("home", "ruled", "starts", "user", "now_ms", "applies"), ABROAD)
def test_abroad(home: str, ruled: bool | None, starts: dict[str, int], user: str, now_ms: int, applies: bool) -> None:
    assert Abroad(home, ruled, starts).applies(user, now_ms) is applies


def test_the_highest_tier_reached_by_then_counts_and_only_in_its_month() -> None:
    volume = Volume(
        {("India", "utility", "2026-11"): ((100, 10), (200, 20)), ("India", "authentication", "2026-11"): ((50, 5),)}
    )
    asked = [("India", "utility", "2026-11", at_ms) for at_ms in (99, 100, 199, 200)]
    assert [volume.reached(*one) for one in asked] == [0, 10, 10, 20]
    assert volume.reached("India", "utility", "2026-12", 300) == 0
    assert volume.reached("Germany", "utility", "2026-11", 300) == 0
    assert volume.reached("India", "authentication_international", "2026-11", 300) == 5
