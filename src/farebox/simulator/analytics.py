"""`pricing_analytics`: what was delivered, by price type and category. Volumes only; Meta hides costs from partners.

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
from .pricing import Pricing
from .users import User

HALF_HOUR_S = 1800
# Buckets of half an hour kept, oldest forgotten first: about 200 bytes each.
BUCKETS_MAX = 50_000
DIMENSIONS = {"PHONE": "phone_number", "COUNTRY": "country", "PRICING_TYPE": "pricing_type"} | {
    "PRICING_CATEGORY": "pricing_category"
}
FILTERS = {"phone_numbers": "phone_number", "country_codes": "country", "pricing_types": "pricing_type"} | {
    "pricing_categories": "pricing_category"
}

_CALL = re.compile(r"\.(\w+)\(([^)]*)\)")
_FIELD = re.compile(r"\bpricing_analytics((?:\s*\.\w+\([^)]*\))*)")

Facts = tuple[str, int, str, str, str, str]


class Analytics:
    """Counts deliveries in buckets of half an hour."""

    def __init__(self) -> None:
        self._volume: OrderedDict[Facts, int] = OrderedDict()

    def record(self, number: Number, recipient: User, price: Pricing, now: float) -> None:
        """Count one delivery."""
        bucket = int(now) // HALF_HOUR_S * HALF_HOUR_S
        country = recipient.user_id.partition(".")[0]
        category = price.category.upper().replace("-", "_")
        key = (number.waba_id, bucket, number.display_number, country, (price.type or "").upper(), category)
        self._volume[key] = self._volume.get(key, 0) + 1
        if len(self._volume) > BUCKETS_MAX:
            self._volume.popitem(last=False)

    def points(self, waba_id: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Return the data points of an account for `start`, `end`, `granularity`, the filters and `dimensions`."""
        start, end = _seconds(query, "start"), _seconds(query, "end")
        granularity = query.get("granularity", "")
        if granularity not in ("HALF_HOUR", "DAILY", "MONTHLY"):
            raise GraphError(100, message="(#100) Param granularity must be one of {HALF_HOUR, DAILY, MONTHLY}")
        wanted = {field: _names(query.get(name, "")) for name, field in FILTERS.items()}
        shown = [DIMENSIONS[name] for name in _names(query.get("dimensions", "")) if name in DIMENSIONS]
        sums: dict[tuple[Any, ...], int] = {}
        for (waba, bucket, phone, country, type_, category), volume in self._volume.items():
            facts = {"phone_number": phone, "country": country, "pricing_type": type_, "pricing_category": category}
            if waba != waba_id or not start <= bucket < end:
                continue
            if any(names and facts[field] not in names for field, names in wanted.items()):
                continue
            key = (*_span(bucket, granularity), *((field, facts[field]) for field in shown))
            sums[key] = sums.get(key, 0) + volume
        points = [
            {"start": key[0], "end": key[1]} | dict(key[2:]) | {"volume": volume}
            for key, volume in sorted(sums.items())
        ]
        return {"data": [{"data_points": points}] if points else []}


def analytics_call(fields: str) -> dict[str, str] | None:
    """Read `pricing_analytics.start(1).end(2)...` out of `?fields=`; None if it is not asked for."""
    found = _FIELD.search(fields)
    return None if found is None else dict(_CALL.findall(found[1]))


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
