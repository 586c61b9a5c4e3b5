"""A short storm of threshold crossings; `make renewals` makes ten thousand."""

from farebox.config import Settings
from renewals.storm import storm


async def test_each_crossing_is_paid_once_and_nothing_is_paid_that_no_rule_allows(settings: Settings) -> None:
    kinds = {"on": 8, "off": 1, "capped": 1, "declined": 1}
    it = await storm(settings, crossings=80, seed=7, kinds=kinds)
    assert it.wrong == []
    assert it.seen["paid on"] == it.seen["crossings"] >= 80
    assert it.seen["paid off"] == 0
    assert min(it.seen["lost"], it.seen["doubled"], it.provider.drawn["declined"]) > 0
