"""How fast something may come: a steady pace with a small burst (generic cell rate algorithm), one number a pace."""

from uuid import UUID

from farebox.directory import Key

MINUTE_S = 60
BURST_PARTS = 10  # a burst is a tenth of a minute's allowance, and at least one message
MAX_PACES = 100_000  # keys that are remembered; past that those that are idle are forgotten


class Paces:
    """The paces of one worker, which has its share of each key's allowance."""

    def __init__(self) -> None:
        self._due: dict[UUID, float] = {}  # by key: when its allowance is whole again

    def wait_s(self, key: Key, now_s: float, *, workers: int) -> float:
        """Count a message and return 0, or return how long it should wait; then it is not counted."""
        assert key.per_minute is not None, "a key without a limit has no pace"
        every_s = MINUTE_S * workers / key.per_minute
        burst_s = max(every_s, MINUTE_S / BURST_PARTS)
        due_s = max(now_s, self._due.get(key.key_id, now_s))
        wait_s = (due_s - now_s) - (burst_s - every_s)  # in this order: exactly 0 for the first of a pace
        if wait_s > 0:
            return wait_s
        if len(self._due) >= MAX_PACES:
            self._due = {known: due for known, due in self._due.items() if due > now_s}
        self._due[key.key_id] = due_s + every_s
        return 0
