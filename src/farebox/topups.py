"""Money comes in: a top-up is written down, charged by its payment method, and credited once, when the money is there.

    begin    ledger writes it down as pending | the method charges | ledger books it | wallet adds it
    look     the method says how it stands    | (the same from there)

Whatever crashes in between, the next look goes on: the top-up's id is the payment's name at its provider, so charging
it again charges nothing more, and the state in the ledger decides who credits it. A provider's event makes us look.
"""

import logging
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from farebox.cards import look_at_links
from farebox.core.charge import Unfit, charge
from farebox.core.money import MAX_MICROS, format_micros
from farebox.core.topup import Event, State, Topup, sources, step, target, topup_of
from farebox.directory import Number
from farebox.gate import UNAVAILABLE, Gate
from farebox.ledger import Ledger, Transaction
from farebox.payments import Fate, Method, MethodUnavailableError, Standing
from farebox.returns import MANUAL, payment_of, send_refunds, take_back

log = logging.getLogger(__name__)

ONE_TIME = "one-time"
PREVIEW_MS = 30 * 60_000  # how long a preview's price stands: rates and terms may change after that
UNREACHED_MS = 23 * 3_600_000  # a payment whose provider was not reached by then: it keeps idempotency keys for a day
MAX_LOOKED_AT = 200  # payments asked about in one pass; the others come first in the next
LOOK_MS = 20_000  # a payment is younger than that while the request that made it may still be under way
WATCHED_MS = 120 * 86_400_000  # how long a card payment may be disputed, by the rules of the card networks
WATCH_MS = 86_400_000  # between two looks at a payment that was credited, in case the event of a dispute is lost
MAX_WATCHED = 20  # of those in one pass, which comes every ten seconds
LOOK_LOCK = 0x746F_7075_70  # "topup"

# What a provider's word does to a top-up.
_EVENTS = {Fate.SUCCEEDED: Event.SUCCEED, Fate.FAILED: Event.FAIL, Fate.CANCELLED: Event.CANCEL}


@dataclass(frozen=True, slots=True)
class Refused:
    """A top-up that can not be begun, and what to do; nothing was charged."""

    sentence: str


async def begin(
    gate: Gate, number: Number, *, amount_micros: int, method: str, key: str, why: str = ONE_TIME
) -> Topup | Refused:
    """Charge an amount and credit it when it has arrived, once per key; return how it stands.

    The key is the top-up's reference: called again with it, the top-up that was begun is returned, and carried on if
    nobody knows what became of it. Raises LedgerUnavailableError: then call again with the same key.
    """
    known = await gate.ledger.fetch_one("topup_by_reference", number.number_id, key)
    if known is None:
        if (sentence := await hindrance(gate, number)) is not None:
            return Refused(sentence)
        refused = await write_down(
            gate, number, uuid4(), amount_micros=amount_micros, method=method, key=key, why=why, state=State.PENDING
        )
        if refused is not None:
            return refused
        known = await gate.ledger.fetch_one("topup_by_reference", number.number_id, key)
        assert known is not None, "it was written down just now, by us or by another"
    topup = topup_of(known)
    return await look(gate, number, topup) if topup.state is State.PENDING else topup


async def hindrance(gate: Gate, number: Number, ledger: Ledger | Transaction | None = None) -> str | None:
    """Say what is in the way of adding funds: the number is closed, or its account lacks a Tax ID; None: nothing."""
    if number.closed:
        return f"Number {number.number_id} is closed; open it with POST /v1/numbers/{number.number_id}/open."
    account = await (ledger or gate.ledger).fetch_one("account", number.account_id)
    assert account is not None, "a number has an account"
    if account["tax_id"] or account["country"] not in gate.settings.tax_id_countries.split():
        return None
    return (
        f"Account {number.account_id} is in {account['country']} and has no Tax ID, without which no funds are added; "
        f'set it with PATCH /v1/accounts/{number.account_id} {{"tax_id": "..."}}.'
    )


async def confirm_draft(gate: Gate, number: Number, topup_id: UUID, reference: str | None) -> Topup | Refused | None:
    """Charge a preview at the price that it showed, once; None where it is none of this number's, or too old.

    Raises asyncpg.UniqueViolationError where the reference is another top-up's.
    """
    now_ms = gate.clock.now_ms()
    draft = await gate.ledger.fetch_one("topup", topup_id)
    asked_micros = draft["amount_micros"] if draft is not None and draft["state"] == State.DRAFT else 0
    if asked_micros and (sentence := await too_much(gate, number, asked_micros)) is not None:
        return Refused(sentence)
    await gate.ledger.fetch("confirm_draft", topup_id, number.number_id, now_ms - PREVIEW_MS, reference, now_ms)
    row = await gate.ledger.fetch_one("topup", topup_id)
    if row is None or row["number_id"] != number.number_id or row["state"] in (State.DRAFT, State.CANCELLED):
        return None
    topup = topup_of(row)
    if topup.state is State.PENDING and topup.method == MANUAL:
        await gate.funds.confirm(number, topup_id)  # whoever may ask for it has seen the money
        return await read(gate, topup_id)
    return await look(gate, number, topup) if topup.state is State.PENDING else topup


def not_switched_on(gate: Gate, method: str) -> str:
    """Say that a payment method is not there, and which are."""
    return (
        f"method: {method} is not switched on; take {' or '.join(sorted(gate.payments))}, or set it up in the settings."
    )


async def write_down(
    gate: Gate, number: Number, topup_id: UUID, *, amount_micros: int, method: str, key: str, why: str, state: State
) -> Refused | None:
    """Fix the price of a top-up in the ledger, once per key. Nothing is charged."""
    way = gate.payments.get(method)
    if way is None:
        return Refused(not_switched_on(gate, method))
    if way.needs_card and await gate.ledger.fetch_one("card", number.account_id, method) is None:
        return Refused(
            f"method: account {number.account_id} has no saved card; save one with "
            f"POST /v1/accounts/{number.account_id}/cards/{method}/link."
        )
    price = charge(amount_micros, way.terms(number.currency), tax_ppm=number.markup.tax_ppm, currency=number.currency)
    if isinstance(price, Unfit):
        return Refused(f"amount: {price.sentence}.")
    if (sentence := await too_much(gate, number, amount_micros)) is not None:
        return Refused(sentence)
    await gate.ledger.fetch(
        "begin_topup",
        topup_id,
        number.number_id,
        key,
        method,
        price.amount_micros,
        price.fee_micros,
        price.tax_micros,
        why,
        state.value,
        gate.clock.now_ms(),
    )
    return None


async def too_much(gate: Gate, number: Number, amount_micros: int) -> str | None:
    """Say that an amount would exceed the largest balance, with all that is on its way; None: it would not.

    Asked before anything is charged: what has been paid must be credited.
    """
    money = await gate.ledger.fetch_one("ledger_money", [number.number_id])
    assert money is not None, "a number has a balance"
    pending = await gate.ledger.fetch_one("pending_topups", [number.number_id])
    there_micros = money["balance_micros"] + (0 if pending is None else pending["pending_micros"])
    if there_micros + amount_micros <= MAX_MICROS:
        return None
    return f"amount: the balance would exceed the largest one, {format_micros(MAX_MICROS)}; ask for less."


async def look(gate: Gate, number: Number, topup: Topup, *, later: bool = True) -> Topup:
    """Ask a top-up's provider how it stands, charging it where that was not done yet, and book what it says.

    Where the provider does not answer nothing changes: somebody looks again `later`. If nobody would, it raises
    MethodUnavailableError.
    """
    way = gate.payments.get(topup.method)
    if way is None:
        log.warning("top-up %s was begun by %s, which is not switched on any more", topup.topup_id, topup.method)
        return topup
    try:
        standing = await _ask(gate, way, number, topup)
    except MethodUnavailableError as error:
        if not later:
            raise
        log.warning("top-up %s: %s", topup.topup_id, error)
        await gate.ledger.fetch(
            "note_payment", topup.topup_id, topup.provider_id, topup.action_url, gate.clock.now_ms()
        )
        return topup
    return await take_in(gate, number, topup, standing)


async def hear(gate: Gate, method: str, provider_id: str | None, topup_id: str | None) -> bool:
    """Look at the payment that a provider's event is about; False where it is none of ours.

    Raises MethodUnavailableError: then the provider should tell again.
    """
    row = await gate.ledger.fetch_one("topup_of_event", method, provider_id, topup_id)
    if row is None or row["number_id"] not in gate.directory.numbers:
        return False
    await look(gate, gate.directory.numbers[row["number_id"]], topup_of(row), later=False)
    return True


async def look_at_all(gate: Gate) -> int:
    """Ask about the payments that are under way, so that a lost event loses nothing; return how many were decided.

    One worker at a time does it. Previews that nobody confirmed end here as well.
    """
    async with gate.ledger.elected(LOOK_LOCK) as elected:
        if not elected:
            return 0
        now_ms = gate.clock.now_ms()
        await gate.ledger.fetch("cancel_drafts", now_ms, now_ms - PREVIEW_MS)
        decided = 0
        rows = await gate.ledger.fetch("topups_under_way", now_ms - LOOK_MS, MAX_LOOKED_AT, MANUAL)
        since = (now_ms - WATCHED_MS, now_ms - WATCH_MS)
        watched = await gate.ledger.fetch("topups_to_watch", *since, MANUAL, MAX_WATCHED)
        unclosed = await gate.ledger.fetch("topups_unclosed", now_ms - LOOK_MS, now_ms - WATCHED_MS, MAX_WATCHED)
        for row in [*rows, *watched, *unclosed]:
            number = gate.directory.numbers.get(row["number_id"])
            if number is None:
                continue
            try:
                decided += (await _look_again(gate, number, row)).state.value not in (State.PENDING, row["state"])
            except UNAVAILABLE:
                raise
            except Exception:
                log.exception("top-up %s was not looked at", row["topup_id"])
        await send_refunds(gate)
        await look_at_links(gate)
    return decided


async def _look_again(gate: Gate, number: Number, row: Any) -> Topup:
    age_ms = gate.clock.now_ms() - int(row["created_at"].timestamp() * 1000)
    if row["state"] == State.PENDING and row["provider_id"] is None and age_ms > UNREACHED_MS:
        reason = f"the provider was not reached; whether it charged is found there under {row['topup_id']}"
        await move(gate, row["topup_id"], Event.FAIL, reason, closed=False)
        return await read(gate, row["topup_id"])
    if row["state"] in (State.FAILED, State.CANCELLED):
        return await _close(gate, number, topup_of(row)) if row["method"] in gate.payments else topup_of(row)
    return await look(gate, number, topup_of(row))


async def cancel(gate: Gate, number: Number, topup: Topup) -> Topup:
    """Give a top-up up that nothing was paid of; return how it stands. Raises MethodUnavailableError."""
    if topup.state is State.PENDING and topup.method in gate.payments:
        standing = await gate.payments[topup.method].cancel(await payment_of(gate, number, topup))
        return await take_in(gate, number, topup, standing)
    await move(gate, topup.topup_id, Event.CANCEL, None, closed=topup.state is State.DRAFT)
    return await read(gate, topup.topup_id)


async def give_up(gate: Gate, number: Number, topup: Topup, reason: str) -> Topup:
    """Let a payment that is under way count as declined, unless it was paid. No answer: nothing changes."""
    if topup.method not in gate.payments:
        return topup
    try:
        standing = await gate.payments[topup.method].cancel(await payment_of(gate, number, topup))
    except MethodUnavailableError as error:
        log.warning("top-up %s could not be given up yet: %s", topup.topup_id, error)
        return topup
    if standing.fate is Fate.CANCELLED:
        standing = replace(standing, fate=Fate.FAILED, reason=reason)
    return await take_in(gate, number, topup, standing)


async def _ask(gate: Gate, way: Method, number: Number, topup: Topup) -> Standing:
    payment = await payment_of(gate, number, topup)
    begun = topup.provider_id is not None or topup.state is not State.PENDING
    return await (way.look(payment) if begun else way.charge(payment))


async def take_in(gate: Gate, number: Number, topup: Topup, standing: Standing) -> Topup:
    """Book what a provider says of a payment. Repeating it, in any order, changes nothing."""
    now_ms = gate.clock.now_ms()
    await gate.ledger.fetch("note_payment", topup.topup_id, standing.provider_id, standing.action_url, now_ms)
    if standing.fate is Fate.FAILED and not standing.closed:
        standing = await _closed(gate, number, await read(gate, topup.topup_id), standing)
    event = _EVENTS.get(standing.fate)
    if event is not None and step(topup.state, event) is not None:
        if event is Event.SUCCEED:
            await gate.funds.confirm(number, topup.topup_id)
        else:
            reason = standing.reason or ("the provider gives no reason" if event is Event.FAIL else None)
            await move(gate, topup.topup_id, event, reason, closed=standing.closed)
    await take_back(gate, number, await read(gate, topup.topup_id), standing)
    return await read(gate, topup.topup_id)


async def _closed(gate: Gate, number: Number, topup: Topup, failed: Standing) -> Standing:
    """Have a payment that was declined given up by its provider, so that no money comes of it late; or it has come."""
    if topup.provider_id is None:
        return failed
    try:
        standing = await gate.payments[topup.method].cancel(await payment_of(gate, number, topup))
    except MethodUnavailableError as error:
        log.warning("top-up %s has failed and is not closed yet: %s", topup.topup_id, error)
        return failed
    return standing if standing.fate is Fate.SUCCEEDED else replace(failed, closed=standing.closed)


async def _close(gate: Gate, number: Number, topup: Topup) -> Topup:
    """Try again to close a payment that has failed or was given up."""
    standing = await _closed(gate, number, topup, Standing(Fate.FAILED, topup.provider_id))
    if standing.closed:
        await gate.ledger.fetch("close_topup", topup.topup_id, gate.clock.now_ms())
    return await take_in(gate, number, topup, replace(standing, closed=True))


async def move(gate: Gate, topup_id: UUID, event: Event, reason: str | None, *, closed: bool) -> bool:
    """Move a top-up into another state; False where that is not possible (any more). `closed`: nothing comes of it."""
    rows = await gate.ledger.fetch(
        "step_topup", topup_id, sources(event), target(event).value, reason, gate.clock.now_ms(), closed
    )
    return bool(rows)


async def read(gate: Gate, topup_id: UUID) -> Topup:
    """Return a top-up as it stands in the ledger."""
    row = await gate.ledger.fetch_one("topup", topup_id)
    assert row is not None, "top-ups are never deleted"
    return topup_of(row)
