import json
from decimal import Decimal

import pytest

from farebox.core.bid import Bid, cost_micros
from farebox.core.message import BadMessageError, parse_message

# bid_amount for 1,000 deliveries, multiplier, currency -> micro-units of one delivery, never rounded down
CAPS = [
    (5_000, "1", "USD", 50_000),  # Meta's example: 0.05 USD
    (87_000, "1", "INR", 870_000),  # Meta's example: 0.87 INR
    (2_000, "1.5", "USD", 30_000),  # Meta's example of the multiplier: 3,000
    (5_000, "0.5", "USD", 25_000),
    (1, "0.33", "USD", 4),  # 3.3 micro-units
    (5_000, "1", "COP", 5_000_000),
    (10**12, "1000", "USD", 10**16),
]


@pytest.mark.parametrize(("amount", "multiplier", "currency", "micros"), CAPS)
def test_a_bid_is_held_at_its_cap(amount: int, multiplier: str, currency: str, micros: int) -> None:
    assert Bid(amount, Decimal(multiplier)).cap(currency).micros == micros


COSTS = [
    ("0.0123", 12_300),
    ("0.1", 100_000),
    ("1e-2", 10_000),
    ("0.0000005", 1),
    ("0.12345649", 123_456),
    ("3", 3_000_000),
    ("0", None),
    ("-0.01", None),
    ("", None),
    ("NaN", None),
    ("Infinity", None),
    ("1e999999999", None),
    ("1e99999999999999999999", None),
    ("0,01", None),
    ("0." + "1" * 60, None),
    ("1000001", None),
]


@pytest.mark.parametrize(("text", "micros"), COSTS)
def test_a_cost_is_read_exactly_or_not_at_all(text: str, micros: int | None) -> None:
    assert cost_micros(text) == micros


def send(multiplier: str) -> bytes:
    template = {"name": "sale", "language": {"code": "en"}}
    message = {"to": "+16505551234", "type": "template", "template": template}
    return (
        json.dumps(message).encode()[:-1]
        + b', "bid_spec": {"per_message_bid_multiplier": '
        + multiplier.encode()
        + b"}}"
    )


@pytest.mark.parametrize(
    ("written", "read"), [("1.5", "1.5"), ('"0.1"', "0.1"), ("2", "2"), ("null", "1"), ("1e1", "10")]
)
def test_a_multiplier_is_read_exactly(written: str, read: str) -> None:
    assert parse_message(send(written)).bid_multiplier == Decimal(read)


@pytest.mark.parametrize("written", ["0", "-1", "true", '"x"', "[]", "1e99999999999999999999", "1001", '"NaN"'])
def test_a_multiplier_that_makes_no_sense_is_refused(written: str) -> None:
    with pytest.raises(BadMessageError, match="per_message_bid_multiplier"):
        parse_message(send(written))
