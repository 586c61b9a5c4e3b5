import pytest

from farebox.core.hold import OPEN, TRANSITIONS, Event, State, sources, step, target

# Rows: what happens; columns: reserved, accepted, settled, released, expired. A dot changes nothing.
LIFE = """
accept    accepted  .         .  .        .
reject    released  .         .  .        .
deliver   settled   settled   .  settled  settled
fail      released  released  .  .        .
time_out  expired   expired   .  .        .
"""
STATES = [State.RESERVED, State.ACCEPTED, State.SETTLED, State.RELEASED, State.EXPIRED]
CASES = [
    (Event(row.split()[0]), state, None if end == "." else State(end))
    for row in LIFE.strip().splitlines()
    for state, end in zip(STATES, row.split()[1:], strict=True)
]


@pytest.mark.parametrize(("event", "state", "end"), CASES)
def test_the_life_of_a_hold(event: Event, state: State, end: State | None) -> None:
    assert step(state, event) == end


def test_every_event_leads_to_one_state_and_starts_somewhere() -> None:
    assert set(TRANSITIONS) == set(Event)
    for event in Event:
        assert target(event) not in sources(event)


def test_settled_is_final() -> None:
    assert all(State.SETTLED not in sources(event) for event in Event)
    assert State.SETTLED not in OPEN
