"""What the wallet is asked and what it answers, as values. Those of each send are tuples, the cheapest to make."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import Enum, StrEnum
from itertools import chain
from typing import NamedTuple
from uuid import UUID

from farebox.core.limits import Limit, Reached
from farebox.core.tariff import CUSTOMER_SERVICE, FREE_ENTRY_POINT, FREE_ENTRY_POINT_OFFER


class Mode(StrEnum):
    """What the wallet does with a decision."""

    ENFORCE = "enforce"
    SHADOW = "shadow"  # nothing is refused: where it would have been, the fare is taken all the same
    DRY = "dry"  # nothing is taken


class Gap(Enum):
    """Why the wallet can not decide yet: what must be read from the ledger first. Nothing was changed."""

    MISSING = "the wallet is missing, or of another life of its store: it must be rebuilt"
    UNREAD = "a recipient was not read since the wallet was rebuilt"


class Part(NamedTuple):
    """One fare of a send: its hold id, whose windows count (the user, or the whole group), category and offer."""

    hold_id: str
    user: str
    category: str
    offer: str


class Ask(NamedTuple):
    """One send that wants its fare, and the number's own rules. A group send has a part for each member."""

    number_id: str
    parts: tuple[Part, ...]
    block_at_micros: int
    cover: bool
    mode: Mode
    now_ms: int
    limits: tuple[Limit, ...] = ()
    today: date | None = None  # in the number's time zone; only limits need it
    key: str = ""  # what counts the spend of the key that sends (core/limits.py); "": it has no limit
    per_second: int | None = None  # messages that the number may send in a second; None: any number of them


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that has left before anything was taken for it: its hold id, and when."""

    hold_id: UUID
    at_ms: int


class Taken(NamedTuple):
    """Which term a part was taken by. `rides`: the hold that opened the conversation that the message rides."""

    term: int
    evidence: str
    paid: bool
    rides: str


class Decision(NamedTuple):
    """What the wallet said: whether it took the send, part by part, and what is left.

    `wait_ms` after the ask it may leave, where its number has a pace; where it was not taken, that is too long to wait.

    `overdrawn`: taken in shadow mode where it would have been refused. `reached`: the spend limit that it would exceed;
    None where there are not enough funds for it either.
    """

    taken: bool
    overdrawn: bool
    available_micros: int
    parts: tuple[Taken, ...]
    epoch: int
    reached: Reached | None = None
    wait_ms: int = 0


class Closing(NamedTuple):
    """A hold that the ledger ended: what it is billed, and what it had set aside until then.

    `unit` says what becomes of its free unit: "" nothing, UNIT_BACK (wallet.py), or the pool it is now of. `older`: it
    was open until now, and taken in an epoch before this one.
    """

    hold_id: UUID
    billed_micros: int
    unit: str
    older: bool
    aside_micros: int
    pool: str | None
    category: str
    day: str | None  # the number's day that its charge counts for; None: nothing was charged
    key_id: UUID | None  # the key with a limit that sent it


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


@dataclass(frozen=True, slots=True)
class Position:
    """A wallet's money, as it stands. `filled`: all its users are known (see lua/_shared.lua)."""

    epoch: int
    available_micros: int
    held_micros: int
    filled: bool = True


@dataclass(frozen=True, slots=True)
class Debit:
    """What became of money that was to leave a number."""

    epoch: int
    available_micros: int
    taken: bool


@dataclass(frozen=True, slots=True)
class NewWallet:
    """What a wallet is written anew with."""

    number_id: str
    position: Position
    counts: Mapping[str, str]  # further fields: units of pools used, what was spent (lua/_shared.lua)

    @property
    def wire(self) -> str:
        """Its fields as lua/rebuild.lua takes them."""
        fields = ["epoch", str(self.position.epoch), "available", str(self.position.available_micros)]
        fields += ["held", str(self.position.held_micros)]
        if self.position.filled:
            fields += ["filled", "1"]
        return json.dumps([*fields, *chain.from_iterable(self.counts.items())])
