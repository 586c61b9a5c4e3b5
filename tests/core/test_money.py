import pytest
from hypothesis import given
from hypothesis import strategies as st

from farebox.core.money import MAX_MICROS, AmountError, format_micros, parse_micros

AMOUNTS = [
    ("0", 0, "0.00"),
    ("0.00", 0, "0.00"),
    ("12.5", 12_500_000, "12.50"),
    ("0.0034", 3_400, "0.0034"),
    ("-0.000001", -1, "-0.000001"),
    ("-3.10", -3_100_000, "-3.10"),
    ("9007199254.740991", MAX_MICROS, "9007199254.740991"),
]


@pytest.mark.parametrize(("text", "micros", "written"), AMOUNTS)
def test_amounts_are_read_and_written(text: str, micros: int, written: str) -> None:
    assert parse_micros(text) == micros
    assert format_micros(micros) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.",
        ".5",
        "1,5",
        "1e3",
        "1.0000001",
        "+1",
        " 1",
        "١",
        "NaN",
        "9007199254.740992",
        "99999999999",
        "--1",
        "1_0",
    ],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(AmountError):
        parse_micros(text)


@given(st.integers(-MAX_MICROS, MAX_MICROS))
def test_what_is_written_is_read_back(micros: int) -> None:
    assert parse_micros(format_micros(micros)) == micros
