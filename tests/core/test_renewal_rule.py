"""What a rule allows, and what the formula proposes."""

from hypothesis import given
from hypothesis import strategies as st

from farebox.core.renewal import MAX_DECLINES, Facts, Rule, Verdict, decide, propose

MICROS = st.integers(-(10**9), 10**9)


@given(
    rule=st.builds(Rule, MICROS, st.integers(1, 10**9), st.integers(1, 10**9)),
    facts=st.builds(
        Facts, MICROS, st.integers(0, 10**9), st.booleans(), st.integers(0, 10**9), st.integers(0, 6),
        st.one_of(st.none(), st.integers(0, 10**9)), st.integers(0, 10**9),
    ),
    charge=st.integers(1, 10**9),
)  # fmt: skip
def test_a_payment_is_due_only_if_everything_allows_it(rule: Rule, facts: Facts, charge: int) -> None:
    assert decide(None, facts, charge) is Verdict.OFF
    due = decide(rule, facts, charge) is Verdict.PAY
    allowed = (
        facts.available_micros + facts.pending_micros < rule.threshold_micros
        and not facts.in_flight
        and facts.month_micros + charge <= rule.monthly_cap_micros
        and facts.declines < MAX_DECLINES
        and (facts.declined_ms is None or facts.now_ms >= facts.declined_ms)
    )
    assert not due or allowed


@given(st.lists(st.integers(0, 10**10), min_size=28, max_size=28))
def test_a_proposal_covers_what_the_formula_says(days: list[int]) -> None:
    proposal = propose(days)
    if sum(days[:7]) == 0:
        assert proposal is None
        return
    assert proposal is not None
    assert 100 <= proposal.trend_percent <= 200
    assert proposal.expected_micros * 7 >= sum(days[:7])
    assert proposal.threshold_micros >= 3 * proposal.expected_micros
    assert proposal.amount_micros >= 14 * proposal.expected_micros
    assert proposal.threshold_micros % 1_000_000 == proposal.amount_micros % 1_000_000 == 0
