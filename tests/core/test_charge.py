"""Fee and rounding: fee + amount = charge, whole in every currency, never less than the percentage."""

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from farebox.core.charge import DECIMALS, Charge, Terms, Unfit, charge, unit_micros
from farebox.core.money import MAX_MICROS

CURRENCIES = sorted({*DECIMALS, "USD", "EUR", "BRL", "INR", "MXN", "COP", "IDR", "HUF"})
UNITS = st.integers(1, 10**9)


@given(
    st.sampled_from(CURRENCIES), UNITS, st.integers(0, 1_000_000), st.integers(0, 50_000_000), st.integers(0, 1_000_000)
)
def test_amount_and_fee_are_the_charge_and_all_of_it_can_be_charged(
    currency: str, units: int, percent_ppm: int, fixed_micros: int, tax_ppm: int
) -> None:
    step = unit_micros(currency)
    assume(units * step < MAX_MICROS)
    terms = Terms(percent_ppm=percent_ppm, fixed_micros=fixed_micros, step_micros=step)
    price = charge(units * step, terms, tax_ppm=tax_ppm, currency=currency)
    assert isinstance(price, Charge)
    assert price.amount_micros == units * step
    assert price.amount_micros + price.fee_micros == price.total_micros
    assert (price.fee_micros % step, price.total_micros % step, price.tax_micros % step) == (0, 0, 0)
    exact = Fraction(units * step * percent_ppm, 1_000_000) + fixed_micros
    assert 0 <= price.fee_micros - exact < step  # rounded up, and by less than one unit
    tax = Fraction(price.fee_micros * tax_ppm, 1_000_000 + tax_ppm)
    assert 0 <= price.tax_micros <= price.fee_micros
    assert abs(price.tax_micros - tax) <= Fraction(step, 2)


@given(st.sampled_from(CURRENCIES), UNITS, UNITS)
def test_more_never_costs_a_smaller_fee(currency: str, first: int, second: int) -> None:
    step = unit_micros(currency)
    terms = Terms(percent_ppm=40_000, fixed_micros=300_000, step_micros=step)
    fees = []
    for units in sorted((first, second)):
        price = charge(units * step, terms, tax_ppm=0, currency=currency)
        assert isinstance(price, Charge)
        fees.append(price.fee_micros)
    assert fees == sorted(fees)


FEES = [  # currency, amount, fee at 4 % and 0.30, tax in it at 19 %
    ("USD", 20_000_000, 1_100_000, 180_000),
    ("USD", 12_340_000, 800_000, 130_000),  # 0.4936 + 0.30, up to 0.80
    ("USD", 10_000, 310_000, 50_000),
    ("JPY", 1_000_000_000, 41_000_000, 7_000_000),  # 40.30 yen, up to 41
    ("KWD", 5_001_000, 501_000, 80_000),  # to the fils
    ("CLP", 1_000_000, 1_000_000, 0),  # 0.34, up to 1; the tax of 0.16 down to 0
]


@pytest.mark.parametrize(("currency", "amount", "fee", "tax"), FEES)
def test_fees_by_hand(currency: str, amount: int, fee: int, tax: int) -> None:
    terms = Terms(percent_ppm=40_000, fixed_micros=300_000, step_micros=unit_micros(currency))
    assert charge(amount, terms, tax_ppm=190_000, currency=currency) == Charge(amount, fee, tax)


def test_limits_say_what_to_do() -> None:
    terms = Terms(min_micros=5_000_000, max_micros=9_000_000, step_micros=1_000_000)
    said = [charge(micros, terms, tax_ppm=0, currency="JPY") for micros in (4_999_999, 9_000_001, 5_500_000)]
    assert said == [
        Unfit("must be 5.00 JPY or more"),
        Unfit("must be 9.00 JPY or less; pay in several top-ups"),
        Unfit("must be a multiple of 1.00 JPY, the smallest sum that can be charged"),
    ]
    assert charge(9_000_000, terms, tax_ppm=0, currency="JPY") == Charge(9_000_000, 0, 0)
