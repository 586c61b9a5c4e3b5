"""`pricing_analytics`: what was delivered, by price type and category, and `conversation_analytics`: what was opened.

Volumes only; Meta hides costs from partners.

https://developers.facebook.com/documentation/business-messaging/whatsapp/analytics ("pricing analytics")
"""

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from .config import Number
from .errors import GraphError, parameter_required
from .pricing import FREE_ENTRY_POINT, Pricing
from .users import User

HALF_HOUR_S = 1800
# Buckets of half an hour kept, oldest forgotten first: about 200 bytes each.
BUCKETS_MAX = 50_000
# The words of each kind: of its dimensions, of its filters, and of what it counts.
DIMENSIONS = {
    "pricing_analytics": {
        "PHONE": "phone_number",
        "COUNTRY": "country",
        "PRICING_TYPE": "pricing_type",
        "PRICING_CATEGORY": "pricing_category",
    },
    "conversation_analytics": {
        "PHONE": "phone_number",
        "COUNTRY": "country",
        "CONVERSATION_TYPE": "conversation_type",
        "CONVERSATION_CATEGORY": "conversation_category",
    },
}
FILTERS = {
    "phone_numbers": "phone_number",
    "country_codes": "country",
    "pricing_types": "pricing_type",
    "pricing_categories": "pricing_category",
    "conversation_types": "conversation_type",
    "conversation_categories": "conversation_category",
}
COUNTED = {"pricing_analytics": "volume", "conversation_analytics": "conversation"}

_CALL = re.compile(r"\.(\w+)\(([^)]*)\)")
_FIELD = re.compile(r"\b(pricing_analytics|conversation_analytics)((?:\s*\.\w+\([^)]*\))*)")

Facts = tuple[str, str, int, str, str, str, str]  # kind, account, bucket, number, country, type, category


class Analytics:
    """Counts deliveries and conversations in buckets of half an hour."""

    def __init__(self) -> None:
        self._volume: OrderedDict[Facts, int] = OrderedDict()

    def record(self, number: Number, recipient: User, price: Pricing, now: float) -> None:
        """Count one delivery."""
        category = price.category.upper().replace("-", "_")
        self._count("pricing_analytics", number, recipient, ((price.type or "").upper(), category), now)

    def record_conversation(self, number: Number, recipient: User, price: Pricing, now: float) -> None:
        """Count a conversation that a delivery opened."""
        free = "FREE_ENTRY_POINT" if price.category == FREE_ENTRY_POINT.category else "FREE_TIER"
        facts = "REGULAR" if price.billable else free, price.category.upper()
        self._count("conversation_analytics", number, recipient, facts, now)

    def _count(self, kind: str, number: Number, recipient: User, facts: tuple[str, str], now: float) -> None:
        bucket = int(now) // HALF_HOUR_S * HALF_HOUR_S
        country = recipient.user_id.partition(".")[0]
        key = (kind, number.waba_id, bucket, number.display_number, country, *facts)
        self._volume[key] = self._volume.get(key, 0) + 1
        if len(self._volume) > BUCKETS_MAX:
            self._volume.popitem(last=False)

    def points(self, kind: str, waba_id: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Return the data points of an account for `start`, `end`, `granularity`, the filters and `dimensions`.

        With a `limit` they come in pages; `after` is where a page begins.
        """
        start, end = _seconds(query, "start"), _seconds(query, "end")
        granularity = query.get("granularity", "")
        if granularity not in ("HALF_HOUR", "DAILY", "MONTHLY"):
            raise GraphError(100, message="(#100) Param granularity must be one of {HALF_HOUR, DAILY, MONTHLY}")
        wanted = {field: _names(query.get(name, "")) for name, field in FILTERS.items()}
        shown = [DIMENSIONS[kind][name] for name in _names(query.get("dimensions", "")) if name in DIMENSIONS[kind]]
        sums: dict[tuple[Any, ...], int] = {}
        for (counted, waba, bucket, *values), volume in self._volume.items():
            facts = dict(zip(DIMENSIONS[kind].values(), values, strict=True))
            if counted != kind or waba != waba_id or not start <= bucket < end:
                continue
            if any(names and facts.get(field) not in names for field, names in wanted.items()):
                continue
            key = (*_span(bucket, granularity), *((field, facts[field]) for field in shown))
            sums[key] = sums.get(key, 0) + volume
        points = [
            {"start": key[0], "end": key[1]} | dict(key[2:]) | {COUNTED[kind]: volume}
            for key, volume in sorted(sums.items())
        ]
        return _page(points, query)


def _page(points: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    if "limit" not in query:
        return {"data": [{"data_points": points}] if points else []}
    first, limit = int(query.get("after") or 0), max(1, _seconds(query, "limit"))
    rest = points[first + limit :]
    page: dict[str, Any] = {"data": [{"data_points": points[first : first + limit]}] if points else []}
    if rest:
        page["paging"] = {"cursors": {"after": str(first + limit)}, "next": "the next page"}
    return page


def analytics_call(fields: str) -> tuple[str, dict[str, str]] | None:
    """Read `pricing_analytics.start(1).end(2)...` out of `?fields=`: which one, and with what; None if none is."""
    found = _FIELD.search(fields)
    return None if found is None else (found[1], dict(_CALL.findall(found[2])))


def _seconds(query: Mapping[str, str], name: str) -> int:
    if not query.get(name, "").isdigit():
        raise parameter_required(name)
    return int(query[name])


def _names(text: str) -> list[str]:
    """Read a list with or without quotes, as clients write both."""
    if '"' in text:
        try:
            return [str(name) for name in json.loads(text)]
        except ValueError as error:
            raise GraphError(100, message="(#100) Invalid list") from error
    return [name.strip() for name in text.strip("[] ").split(",") if name.strip()]


def _span(bucket: int, granularity: str) -> tuple[int, int]:
    if granularity == "HALF_HOUR":
        return bucket, bucket + HALF_HOUR_S
    day = datetime.fromtimestamp(bucket, UTC).replace(hour=0, minute=0, second=0)
    if granularity == "DAILY":
        return int(day.timestamp()), int((day + timedelta(days=1)).timestamp())
    first = day.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return int(first.timestamp()), int(following.timestamp())
