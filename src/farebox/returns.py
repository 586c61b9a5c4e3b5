"""Money that goes back to its payer: refunds that we make, refunds and disputes that a provider tells of.

    refund    wallet takes | ledger books it | the provider pays it out
    dispute   the bank has taken it | wallet takes, below zero if it must | ledger books it

A refund that is booked and not yet paid out is sent again until its provider has it, under its own id, so once. Where
the provider refuses, the funds come back by a further movement.
"""

import logging
from uuid import UUID, uuid4

from farebox.core.topup import State, Topup, topup_of
from farebox.directory import Number
from farebox.gate import Gate
from farebox.moves import Move, Moved, Short, Unfit
from farebox.payments import MethodUnavailableError, Payment, RefundError, Standing

log = logging.getLogger(__name__)

AUTO_RENEWAL = "auto-renewal"
MANUAL = "manual"
MAX_SENT = 100  # refunds sent in one pass; the others follow in the next


async def refund(
    gate: Gate, number: Number, topup: Topup | None, *, micros: int, reason: str, reference: str
) -> Moved | Short | Unfit:
    """Give unused funds back, once per reference: of a top-up by its payment method, otherwise by whoever asked for it.

    Raises WalletUnavailableError or LedgerUnavailableError: then repeat it under the same reference.
    """
    move = Move(
        kind="refund",
        micros=micros,
        reason=reason,
        reference=reference,
        topup_id=None if topup is None else topup.topup_id,
        from_states=(State.SUCCEEDED,),
        refunded_micros=0 if topup is None else micros,
    )
    moved = await gate.funds.moves.out_of(number, move)
    if isinstance(moved, Moved) and topup is not None:
        await send_refunds(gate, moved.movement_id)
    return moved


async def return_all(gate: Gate, number: Number, reason: str) -> int | Short:
    """Give back everything that is available: to the newest payments first, and the rest by whoever asked for it.

    Return how much. What is held for messages on their way stays; called again it goes too. Short: it was just spent.
    """
    returned = 0
    for row in [*await gate.ledger.fetch("refundable", number.number_id, MANUAL), None]:
        money = await gate.ledger.fetch_one("ledger_money", [number.number_id])
        assert money is not None, "a number has a balance"
        micros = money["balance_micros"] - money["held_micros"]
        topup = None if row is None else topup_of(row)
        if topup is not None:
            if topup.method not in gate.payments:
                continue
            micros = min(micros, topup.amount_micros - topup.refunded_micros)
            micros -= micros % gate.payments[topup.method].terms(number.currency).step_micros
        if micros <= 0:
            continue
        name = f"closing {uuid4() if topup is None else f'{topup.topup_id} at {topup.refunded_micros}'}"
        moved = await refund(gate, number, topup, micros=micros, reason=reason, reference=name)
        if isinstance(moved, Short):
            return moved
        returned += micros if isinstance(moved, Moved) and moved.new else 0
    return returned


async def send_refunds(gate: Gate, movement_id: UUID | None = None) -> None:
    """Hand refunds that are booked to their providers; what does not get there is sent in a later pass."""
    for row in await gate.ledger.fetch("unsent_refunds", movement_id, MAX_SENT):
        number = gate.directory.numbers.get(row["number_id"])
        known = await gate.ledger.fetch_one("topup", row["topup_id"])
        if number is None or known is None or known["method"] not in gate.payments:
            continue
        payment = await payment_of(gate, number, topup_of(known))
        try:
            await gate.payments[known["method"]].refund(payment, row["movement_id"], row["micros"])
        except MethodUnavailableError as error:
            log.warning("refund %s waits for its provider: %s", row["movement_id"], error)
            continue
        except RefundError as error:
            log.warning("refund %s is refused, the funds come back: %s", row["movement_id"], error)
            move = Move(
                kind="refund",
                micros=row["micros"],
                reason=f"the provider did not pay it out: {error}"[:500],
                reference=f"returned {row['movement_id']}",
                topup_id=row["topup_id"],
                from_states=(State.SUCCEEDED, State.REFUNDED),
                refunded_micros=-row["micros"],
                sent=True,
            )
            await gate.funds.moves.into(number, move)
        await gate.ledger.fetch("refund_sent", row["movement_id"], gate.clock.now_ms())


async def take_back(gate: Gate, number: Number, topup: Topup, standing: Standing) -> None:
    """Book what a provider has given or taken back without us: refunds made there, and disputes. May be repeated."""
    left_micros = topup.amount_micros - topup.refunded_micros
    if topup.state is State.SUCCEEDED and standing.refunded_micros > topup.refunded_micros:
        micros = min(left_micros, standing.refunded_micros - topup.refunded_micros)
        move = Move(
            kind="refund",
            micros=micros,
            reason=f"refunded at {topup.method}",
            reference=f"{topup.method} refunded {standing.refunded_micros} of {topup.topup_id}",
            below_zero=True,
            topup_id=topup.topup_id,
            from_states=(State.SUCCEEDED,),
            refunded_micros=micros,
            sent=True,
        )
        await gate.funds.moves.out_of(number, move)
    elif topup.state is State.SUCCEEDED and standing.disputed is not None:
        move = Move(
            kind="dispute",
            micros=left_micros,
            reason=f"the payer's bank took it back: {standing.disputed}"[:500],
            reference=f"dispute {topup.topup_id}",
            below_zero=True,
            topup_id=topup.topup_id,
            from_states=(State.SUCCEEDED,),
            to_state=State.DISPUTED,
        )
        await gate.funds.moves.out_of(number, move)
    elif topup.state is State.DISPUTED and standing.disputed is None:
        move = Move(
            kind="dispute",
            micros=left_micros,
            reason="the dispute was won",
            reference=f"dispute won {topup.topup_id}",
            topup_id=topup.topup_id,
            from_states=(State.DISPUTED,),
        )
        await gate.funds.moves.into(number, move)


async def payment_of(gate: Gate, number: Number, topup: Topup) -> Payment:
    """Return what a payment method has to know."""
    card = await gate.ledger.fetch_one("card", number.account_id, topup.method)
    return Payment(
        topup_id=topup.topup_id,
        account_id=number.account_id,
        number_id=number.number_id,
        currency=number.currency,
        total_micros=topup.total_micros,
        provider_id=topup.provider_id,
        off_session=topup.why == AUTO_RENEWAL,
        customer=None if card is None else card["customer"],
        card=None if card is None else card["card"],
    )
