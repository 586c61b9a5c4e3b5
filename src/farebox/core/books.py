"""What the books say at one moment, as plain values: what the invariants (core/invariants.py) are asked about.

Whoever has books fills these in: `farebox/books.py` from the real stores, a simulation from its own. A fact that the
filler does not know is left at its default, and the invariants that need it then say nothing.
Amounts are micro-units of the number's currency.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from farebox.core.hold import State

Found = Iterator[tuple[str, str]]  # what breaks an invariant: whom it concerns ("" for all), and a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletFacts:
    """A number's wallet. One that its store would not serve from (lost, rolled back, another epoch) is no wallet."""

    epoch: int
    available_micros: int
    held_micros: int
    pools: Mapping[str, int] | None = None  # pool ("service:2026-11") -> units used; None: not known here
    users: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # user -> windows and conversations


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """A free allowance of one number and month."""

    name: str
    size: int | None = None  # None: not known here
    used: int  # units of holds that are open or were delivered, by the ledger
    told: int = 0  # of these, units that only WhatsApp's word took (it counts deliveries of other gateways, too)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopupFacts:
    """A top-up, and the entries that credit it."""

    reference: str
    amount_micros: int
    entries: int
    credited_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberFacts:
    """A number's money in the ledger, and its wallet."""

    number_id: str
    currency: str = ""
    topups_micros: int  # credited by entries
    settled_micros: int  # charged by entries
    adjustments_micros: int = 0  # adjustments and corrections by entries; below zero where they took money
    refunds_micros: int = 0  # given back to the owner by entries
    transfers_micros: int = 0  # from other numbers by entries, less what went to them
    disputes_micros: int = 0  # taken back by payers' banks by entries, less what came back
    entries_micros: int  # sum of all entries, into the number less out of it
    balance_micros: int  # as stored
    open_holds: int
    held_micros: int  # sum of the open holds
    smallest_held_micros: int | None = None  # the smallest open hold; None where none is open
    epoch: int = 0
    wallet: WalletFacts | None = None
    billed_micros: int | None = None  # sum of what ended holds were billed; None where old holds were put away
    topup_rows_micros: int | None = None  # sum of the top-ups themselves; None where old ones were put away
    movement_rows_micros: int | None = None  # sum of the movements themselves, into the number less out of it
    topups: tuple[TopupFacts, ...] = ()
    pools: tuple[PoolFacts, ...] = ()
    # For the block level. None: not known, or the level or the rule was changed meanwhile.
    block_at_micros: int | None = None
    cover: bool = False  # funds_rule = "cover": the whole fare must be there
    largest_fare_micros: int = 0  # of one send; of a group, its members' together
    # What may lower available past the level besides a send that was allowed: bills dearer than their holds, late
    # charges, adjustments and refunds, sends in shadow mode, sends allowed while a store was away.
    recorded_below_micros: int = 0

    @property
    def moved_micros(self) -> int:
        """What movements have brought into the number by entries, less what they took."""
        return self.adjustments_micros + self.transfers_micros - self.refunds_micros - self.disputes_micros

    @property
    def available_micros(self) -> int:
        """What the wallet should show as available."""
        return self.balance_micros - self.held_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldFacts:
    """One hold as the ledger has it, with the amounts of the entries that charge it."""

    hold_id: str
    number_id: str
    state: State
    fare_micros: int
    billed_micros: int | None = None
    charges_micros: tuple[int, ...] = ()
    wamid: str | None = None
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFacts:
    """One message that WhatsApp took, by WhatsApp's own word, and the statuses that it has sent about it.

    `statuses` are those whose webhook reached the gateway (once or ten times, in any order).
    """

    wamid: str
    number_id: str = ""
    hold_id: str = ""  # the hold that it travelled with; empty where the gateway does not say
    statuses: frozenset[str] = frozenset()
    priced: bool = True  # one of the delivered and read statuses carried the price
    due_micros: int | None = None  # what those statuses say it costs; None: not known here
    needs_hold: bool = True  # False: a free message that passed while a store was away
    holds: int = 1  # of a group, one for each member
    late: bool | None = None  # its first delivery came after its hold had ended otherwise; None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeFacts:
    """One paid send that the gateway allowed, as its answer says (X-Farebox-Available and X-Farebox-Fare)."""

    number_id: str
    available_after_micros: int
    fare_micros: int
    block_at_micros: int = 0
    cover: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """One figure of a report (a sum of money, a count), and the same from the ledger."""

    name: str
    reported: int
    ledger: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFacts:
    """How often a number crossed a level, and how many alerts left for it."""

    number_id: str
    crossings: int
    alerts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What was seen from outside while something ran. Everything is optional."""

    # Messages and bytes.
    messages: tuple[MessageFacts, ...] = ()
    left: frozenset[str] = frozenset()  # hold ids that WhatsApp received bytes for, whether it took them or not
    takes: tuple[TakeFacts, ...] = ()
    refusals: tuple[tuple[object, object], ...] = ()  # the state before and after a refusal, in any comparable form
    relayed: tuple[tuple[bytes, bytes], ...] = ()  # a webhook as WhatsApp sent it, and as the application got it
    # Of each out-of-funds answer the text in every place where a client looks, and the sentence as it must be.
    refusal_texts: tuple[tuple[str, ...], ...] = ()
    sentence: str = ""
    # Money.
    rebuilt: tuple[tuple[str, WalletFacts, WalletFacts], ...] = ()  # number, its wallet before the loss, and rebuilt
    acknowledged_topups: tuple[tuple[str, str, int], ...] = ()  # number, reference, micro-units: answered as booked
    reports: tuple[ReportFacts, ...] = ()
    alerts: tuple[AlertFacts, ...] = ()
    # Two outcomes of the same set of webhooks in another order or number: hold id -> (state, billed micro-units).
    outcomes: tuple[tuple[Mapping[str, tuple[str, int]], Mapping[str, tuple[str, int]]], ...] = ()
    # Recovery and secrecy.
    recovery_ms: int | None = None  # from the end of the last fault until nothing was left to resolve
    unresolved: tuple[str, ...] = ()  # what was still open when the watcher gave up
    log_lines: tuple[str, ...] = ()  # and metrics
    secrets: frozenset[str] = frozenset()  # tokens, message texts and full phone numbers that must not be in them


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The books of some numbers.

    `at_rest`: no send, settlement or top-up is under way, and what a crash left behind is mended. In flight a wallet
    may show less than the ledger, never more.
    """

    numbers: tuple[NumberFacts, ...]
    holds: tuple[HoldFacts, ...] | None = None  # every hold of these numbers; None where only the sums are known
    at_rest: bool = True
