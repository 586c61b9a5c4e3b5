"""The life of a top-up: which event leads where, and that money moves on one step alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farebox.core.topup import CREDITED, TRANSITIONS, Event, State, sources, step, target

TABLE = [
    # confirm    succeed      fail        cancel       refund      dispute     win
    ("draft", "pending -          -        cancelled   -          -          -"),
    ("pending", "-     succeeded  failed   cancelled   -          -          -"),
    ("succeeded", "-   -          -        -           refunded   disputed   -"),
    ("failed", "-      succeeded  -        -           -          -          -"),
    ("cancelled", "-   succeeded  -        -           -          -          -"),
    ("refunded", "-    -          -        -           -          -          -"),
    ("disputed", "-    -          -        -           -          -          succeeded"),
]


@pytest.mark.parametrize(("state", "row"), TABLE)
def test_the_table(state: str, row: str) -> None:
    after = [step(State(state), event) for event in Event]
    assert [each.value if each else "-" for each in after] == row.split()


def test_every_event_has_one_target_and_every_state_a_row() -> None:
    assert [state for state, _ in TABLE] == [state.value for state in State]
    for event in Event:
        assert sources(event) == [state.value for state in TRANSITIONS[event]]
        assert {target(event)} == set(TRANSITIONS[event].values())


@given(st.lists(st.sampled_from(Event), max_size=30))
def test_whatever_happens_it_is_credited_once_and_never_uncredited(events: list[Event]) -> None:
    state, credited = State.DRAFT, 0
    for event in events:
        after = step(state, event)
        if after is None:
            continue
        assert not (state in CREDITED and after not in CREDITED)
        credited += event is Event.SUCCEED
        state = after
    assert credited == (1 if state in CREDITED else 0)
