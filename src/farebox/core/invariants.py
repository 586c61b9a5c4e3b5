"""What must be true of the books, whatever crashed. One function an invariant, each yields what breaks it.

The same list judges a simulation, a run against real processes and `farebox reconcile`. What only a watcher from
outside can see stands in core/conduct.py. The numbers are the product's:
 1 conservation                          10 pools
 2 stored balance = sum of entries       11 inbound byte-identical
 3 held = sum of open holds              12 the sentence exact
 4 the block level                       13 rebuilt wallet = wallet before the loss
 5 one hold a message, one end a hold    14 a top-up is credited exactly once
 6 no bytes without a surviving hold     15 alerts once per crossing
 7 webhooks are a set                    16 reports = ledger
 8 statuses and charges                  17 everything resolves after faults
 9 a refusal changes nothing             18 no secrets in logs and metrics
"""

from collections.abc import Callable
from dataclasses import dataclass

from farebox.core.books import Books, Found, MessageFacts, NumberFacts, RunFacts, WalletFacts
from farebox.core.conduct import (
    alerts_once,
    all_resolved,
    inbound_unchanged,
    no_secrets,
    rebuilt_as_before,
    refusal_changes_nothing,
    reports_are_the_ledger,
    sentence_exact,
    webhooks_are_a_set,
)
from farebox.core.hold import OPEN, State
from farebox.core.money import format_micros


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken invariant: its number, whom it concerns (a number, hold or message; empty: all), and a sentence."""

    invariant: int
    subject: str
    text: str

    def __str__(self) -> str:
        return f"invariant {self.invariant}, {self.subject or 'in total'}: {self.text}"


NO_RUN = RunFacts()


def violations(books: Books, run: RunFacts = NO_RUN) -> list[Violation]:
    """Return everything that is broken, in the order of the invariants."""
    found = [(n, broken) for n, invariant in OF_BOOKS.items() for broken in invariant(books, run)]
    found += [(n, broken) for n, invariant in OF_RUN.items() for broken in invariant(run)]
    return [Violation(number, *broken) for number, broken in sorted(found, key=lambda each: each[0])]


def conservation(books: Books, _: RunFacts) -> Found:
    """1: top-ups + adjustments + transfers - refunds - disputes - settled = available + held, each and in total."""
    came = left = 0
    for number in books.numbers:
        came += _came(number)
        left += number.balance_micros
        if _came(number) != number.balance_micros:
            yield (
                number.number_id,
                f"top-ups, charges and all other movements come to {format_micros(_came(number))}, "
                f"available + held to {format_micros(number.balance_micros)}",
            )
    if came != left:
        yield "", f"{format_micros(came)} should be there, {format_micros(left)} are"


def stored_balance(books: Books, _: RunFacts) -> Found:
    """2: the stored balance is the sum of the entries."""
    for number in books.numbers:
        if number.entries_micros != number.balance_micros:
            yield (
                number.number_id,
                f"the entries sum to {format_micros(number.entries_micros)}, "
                f"the stored balance is {format_micros(number.balance_micros)}",
            )


def held(books: Books, _: RunFacts) -> Found:
    """3: held is the sum of the open holds and never below 0; in flight the wallet never shows too much available."""
    for number in books.numbers:
        if number.held_micros < 0:
            yield number.number_id, f"the open holds sum to {format_micros(number.held_micros)}, below zero"
        if books.holds is not None:
            fares = [h.fare_micros for h in books.holds if h.number_id == number.number_id and h.state in OPEN]
            if (sum(fares), len(fares)) != (number.held_micros, number.open_holds):
                yield (
                    number.number_id,
                    f"{number.open_holds} open holds of {format_micros(number.held_micros)} are counted, "
                    f"{len(fares)} of {format_micros(sum(fares))} are there",
                )
        wallet = number.wallet
        if wallet is None:
            continue
        if wallet.held_micros < 0:
            yield number.number_id, f"the wallet holds {format_micros(wallet.held_micros)}, below zero"
        if not books.at_rest:
            if wallet.epoch == number.epoch and wallet.available_micros > number.available_micros:
                yield number.number_id, "in flight " + _wallet_and_ledger("available", wallet, number)
            continue
        if wallet.held_micros != number.held_micros:
            yield (
                number.number_id,
                f"the wallet holds {format_micros(wallet.held_micros)}, "
                f"the ledger's open holds are {format_micros(number.held_micros)}",
            )
        if wallet.available_micros != number.available_micros:
            yield number.number_id, _wallet_and_ledger("available", wallet, number)


def block_level(books: Books, run: RunFacts) -> Found:
    """4: sends lower available below the block level by less than one fare; anything beyond that is on record."""
    for number in books.numbers:
        if number.block_at_micros is None:
            continue
        beyond = number.block_at_micros - number.recorded_below_micros - number.available_micros
        if beyond > 0 and (number.cover or beyond >= number.largest_fare_micros):
            yield (
                number.number_id,
                f"available is {format_micros(number.available_micros)}: {format_micros(beyond)} below the block level "
                f"and what is on record, the largest fare is {format_micros(number.largest_fare_micros)}",
            )
    for take in run.takes:
        before_micros = take.available_after_micros + take.fare_micros
        short = take.cover and take.available_after_micros < take.block_at_micros
        if before_micros <= take.block_at_micros or short:
            yield (
                take.number_id,
                f"a send of {format_micros(take.fare_micros)} was allowed with {format_micros(before_micros)} there",
            )


def one_hold_one_end(books: Books, run: RunFacts) -> Found:
    """5: every accepted message has exactly one hold, every ended hold one end: one charge of what it was billed."""
    if books.holds is None:
        return
    by_wamid: dict[str, set[str]] = {}
    for hold in books.holds:
        by_wamid.setdefault(hold.wamid or "", set()).add(hold.hold_id)
    ids = {hold.hold_id for hold in books.holds}
    for message in run.messages:
        found = by_wamid.get(message.wamid, set()) | ({message.hold_id} & ids)
        if message.needs_hold and len(found) != message.holds:
            yield message.wamid, f"WhatsApp took the message, and {len(found)} holds are recorded for it"
    for hold in books.holds:
        wanted = (hold.billed_micros,) if hold.state is State.SETTLED and hold.billed_micros else ()
        if hold.charges_micros != wanted:
            yield (
                hold.hold_id,
                f"it is {hold.state} and billed {format_micros(hold.billed_micros or 0)}, "
                f"and charged {_amounts(hold.charges_micros)}",
            )
        if (hold.billed_micros is None) != (hold.state in OPEN):
            yield hold.hold_id, f"it is {hold.state} {'without' if hold.billed_micros is None else 'with'} a bill"


def no_bytes_without_hold(books: Books, run: RunFacts) -> Found:
    """6: no bytes leave without a hold that survives."""
    if books.holds is not None:
        for lost in sorted(run.left - {hold.hold_id for hold in books.holds}):
            yield lost, "WhatsApp received a message for this hold, and the ledger does not know it"


def statuses_and_charges(books: Books, run: RunFacts) -> Found:
    """8: delivered or read settles once; failed releases unless delivered was seen; a late delivery is flagged."""
    if books.holds is not None:
        by_wamid = {hold.wamid: hold for hold in books.holds if hold.wamid}
        by_id = {hold.hold_id: hold for hold in books.holds}
        for message in run.messages:
            hold = by_wamid.get(message.wamid) or by_id.get(message.hold_id)
            if hold is None or message.holds != 1:
                continue
            if hold.state not in _states_after(message, at_rest=books.at_rest):
                yield message.wamid, f"after {_words(message)} its hold is {hold.state}"
            elif hold.state is State.SETTLED:
                if message.due_micros is not None and sum(hold.charges_micros) != message.due_micros:
                    yield (
                        message.wamid,
                        f"{format_micros(message.due_micros)} is due, charged {_amounts(hold.charges_micros)}",
                    )
                if message.late is not None and hold.late != message.late:
                    yield message.wamid, f"it was {'' if message.late else 'not '}delivered late, and is not so marked"
    for number in books.numbers:
        if number.billed_micros is not None and number.billed_micros != number.settled_micros:
            yield (
                number.number_id,
                f"holds were billed {format_micros(number.billed_micros)}, "
                f"entries charge {format_micros(number.settled_micros)}",
            )


def pools(books: Books, _: RunFacts) -> Found:
    """10: sends use no more than the pool has; the wallet counts what is open or delivered in the pool's month."""
    for number in books.numbers:
        for pool in number.pools:
            if pool.size is not None and pool.used - pool.told > pool.size:
                yield number.number_id, f"{pool.used} units of {pool.name} are used, it has {pool.size}"
            known = number.wallet.pools if number.wallet and books.at_rest else None
            counted = pool.used if known is None else known.get(pool.name, 0)
            if counted != pool.used:
                yield number.number_id, f"the wallet counts {counted} units of {pool.name}, the ledger {pool.used}"


def topups_once(books: Books, run: RunFacts) -> Found:
    """14: a top-up is credited exactly once, and what moves otherwise is booked as it says."""
    for number in books.numbers:
        for topup in number.topups:
            if (topup.entries, topup.credited_micros) != (1, topup.amount_micros):
                yield (
                    number.number_id,
                    f"top-up {topup.reference} of {format_micros(topup.amount_micros)} is credited "
                    f"{topup.entries} times, {format_micros(topup.credited_micros)} together",
                )
        if number.topup_rows_micros is not None and number.topup_rows_micros != number.topups_micros:
            yield (
                number.number_id,
                f"top-ups sum to {format_micros(number.topup_rows_micros)}, "
                f"entries credit {format_micros(number.topups_micros)}",
            )
        if number.movement_rows_micros is not None and number.movement_rows_micros != number.moved_micros:
            yield (
                number.number_id,
                f"movements sum to {format_micros(number.movement_rows_micros)}, "
                f"entries move {format_micros(number.moved_micros)}",
            )
    booked = {(n.number_id, topup.reference): topup.amount_micros for n in books.numbers for topup in n.topups}
    for number_id, reference, amount_micros in run.acknowledged_topups:
        if booked.get((number_id, reference)) != amount_micros:
            yield number_id, f"top-up {reference} was answered as booked, and it is not"


# Of the books alone or with a run, and of the run alone.
OF_BOOKS: dict[int, Callable[[Books, RunFacts], Found]] = {
    1: conservation,
    2: stored_balance,
    3: held,
    4: block_level,
    5: one_hold_one_end,
    6: no_bytes_without_hold,
    8: statuses_and_charges,
    10: pools,
    14: topups_once,
}
OF_RUN: dict[int, Callable[[RunFacts], Found]] = {
    7: webhooks_are_a_set,
    9: refusal_changes_nothing,
    11: inbound_unchanged,
    12: sentence_exact,
    13: rebuilt_as_before,
    15: alerts_once,
    16: reports_are_the_ledger,
    17: all_resolved,
    18: no_secrets,
}


def _came(number: NumberFacts) -> int:
    came = number.topups_micros + number.adjustments_micros + number.transfers_micros
    return came - number.refunds_micros - number.disputes_micros - number.settled_micros


def _wallet_and_ledger(what: str, wallet: WalletFacts, number: NumberFacts) -> str:
    return (
        f"the wallet has {format_micros(wallet.available_micros)} {what}, "
        f"the ledger {format_micros(number.available_micros)}"
    )


def _states_after(message: MessageFacts, *, at_rest: bool) -> frozenset[State]:
    """Return the states that a message's hold may be in once all its webhooks were taken in."""
    if message.statuses & {"delivered", "read", "played"}:
        ends = {State.SETTLED}
        # A delivery without its price waits for the price, at most until its time to live is over.
        return frozenset(ends if message.priced and at_rest else ends | set(OPEN))
    if "failed" in message.statuses:
        return frozenset({State.RELEASED} if at_rest else {State.RELEASED, *OPEN})
    return frozenset({*OPEN, State.EXPIRED})


def _words(message: MessageFacts) -> str:
    return " and ".join(sorted(message.statuses)) or "no status"


def _amounts(amounts: tuple[int, ...]) -> str:
    return " and ".join(map(format_micros, amounts)) or "nothing"
