"""What the wallet is asked and what it answers, as values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from farebox.core.tariff import CUSTOMER_SERVICE, FREE_ENTRY_POINT, FREE_ENTRY_POINT_OFFER


class Mode(StrEnum):
    """What the wallet does with a decision."""

    ENFORCE = "enforce"
    SHADOW = "shadow"  # nothing is refused: where it would have been, the fare is taken all the same
    DRY = "dry"  # nothing is taken


@dataclass(frozen=True, slots=True)
class Part:
    """One fare of a send: its hold id, whose windows count (the user, or the whole group), and the offer."""

    hold_id: str
    user: str
    offer: str


@dataclass(frozen=True, slots=True)
class Ask:
    """One send that wants its fare, and the number's own rules. A group send has a part for each member."""

    number_id: str
    parts: tuple[Part, ...]
    block_at_micros: int
    cover: bool
    mode: Mode
    now_ms: int


@dataclass(frozen=True, slots=True)
class Taken:
    """Which term a part was taken by. `rides`: the hold that opened the conversation that the message rides."""

    term: int
    evidence: str
    paid: bool
    rides: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What the wallet said: whether it took the send, part by part, and what is left.

    `overdrawn`: taken in shadow mode where it would have been refused.
    """

    taken: bool
    overdrawn: bool
    available_micros: int
    parts: tuple[Taken, ...]
    epoch: int


@dataclass(frozen=True, slots=True)
class TermSeen:
    """Whether a term of an offer holds, what it then rests on, and whether the message then counts as paid."""

    holds: bool
    evidence: str
    paid: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision about a send of one part that took nothing, and every term of its offer as the wallet saw it."""

    decision: Decision
    terms: tuple[TermSeen, ...]

    @property
    def part(self) -> Taken:
        """The term that applies."""
        (part,) = self.decision.parts
        return part


@dataclass(frozen=True, slots=True)
class State:
    """What a decision looks at, as the wallet keeps it (see take.lua): the number's hash and the recipient's."""

    wallet: Mapping[str, str]
    recipient: Mapping[str, str]

    def window_end_ms(self, name: str) -> int | None:
        """Return when a window of the recipient ends or ended; None where there was none."""
        return int(self.recipient[name]) if name in self.recipient else None

    def used(self, pool: str) -> int:
        """Return how many units of a pool are used."""
        return int(self.wallet.get(f"pool:{pool}", "0"))

    def with_window(self, ends_at_ms: int | None) -> "State":
        """Suppose the customer service window open until then, or closed."""
        return self._with({CUSTOMER_SERVICE: ends_at_ms})

    def with_free_entry_point(self, ends_at_ms: int | None) -> "State":
        """Suppose the free entry point window open until then, or closed and none offered."""
        return self._with({FREE_ENTRY_POINT: ends_at_ms, FREE_ENTRY_POINT_OFFER: None})

    def with_used(self, pool: str, used: int) -> "State":
        """Suppose so many units of a pool used."""
        return replace(self, wallet={**self.wallet, f"pool:{pool}": str(used)})

    def with_conversations(self, open_: Iterable[tuple[str, int, bool]]) -> "State":
        """Suppose exactly these conversations open: category, end in ms (0 while pending), whether it is a paid one."""
        kept = {name: value for name, value in self.recipient.items() if not name.startswith("conv:")}
        supposed = {f"conv:{category}": f"{ends_at_ms}:{int(paid)}:" for category, ends_at_ms, paid in open_}
        return replace(self, recipient=kept | supposed)

    def _with(self, ends: Mapping[str, int | None]) -> "State":
        kept = {name: value for name, value in self.recipient.items() if name not in ends}
        return replace(self, recipient=kept | {name: str(end) for name, end in ends.items() if end is not None})
