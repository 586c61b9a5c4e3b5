"""One top-up: how it stands, and what its payer or an admin does about it."""

from uuid import UUID

from farebox import topups
from farebox.admin.models import Nothing
from farebox.admin.numbers import number_in_use
from farebox.admin.problems import RETRY_AFTER_S, ProblemError
from farebox.admin.routing import Answer, Ask, Get
from farebox.admin.topups import answer_topup
from farebox.core.topup import CREDITED, State, Topup, topup_of
from farebox.directory import Number
from farebox.gate import Gate
from farebox.payments import MethodUnavailableError
from farebox.returns import MANUAL


async def show(ask: Get) -> Answer:
    """Show a top-up."""
    number, topup = await find_topup(ask)
    return await answer_topup(ask.gate, number, topup)


async def confirm(ask: Ask[Nothing, Nothing]) -> Answer:
    """Credit a top-up whose money an admin has seen arrive. Repeating it changes nothing."""
    number, topup = await find_topup(ask)
    if topup.method != MANUAL:
        raise ProblemError(
            409, f"A top-up by {topup.method} is confirmed by its provider alone; ask it with POST .../look."
        )
    if topup.state not in (State.PENDING, *CREDITED):
        raise ProblemError(409, f"The top-up is {topup.state}; begin another one.")
    await ask.gate.funds.confirm(number, topup.topup_id)
    return await answer_topup(ask.gate, number, await topups.read(ask.gate, topup.topup_id))


async def cancel(ask: Ask[Nothing, Nothing]) -> Answer:
    """Give up a top-up that nothing was paid of yet. Repeating it changes nothing."""
    number, topup = await find_topup(ask)
    try:
        topup = await topups.cancel(ask.gate, number, topup)
    except MethodUnavailableError as error:
        raise ProblemError(
            503,
            f"It is not known whether the payment can be stopped ({error}); try again.",
            headers={"Retry-After": RETRY_AFTER_S},
        ) from error
    if topup.state is not State.CANCELLED:
        raise ProblemError(409, f"The top-up is {topup.state}, so it can not be cancelled; {_instead(number, topup)}.")
    return await answer_topup(ask.gate, number, topup)


def _instead(number: Number, topup: Topup) -> str:
    """Say what to do with a top-up that can not be cancelled."""
    if topup.state is State.SUCCEEDED:
        return f"refund it with POST /v1/numbers/{number.number_id}/refunds"
    if topup.state is State.PENDING:
        return "its provider is about to decide it: look again in a minute"
    return "there is nothing left to cancel"


async def look(ask: Ask[Nothing, Nothing]) -> Answer:
    """Ask the provider how a payment stands, now rather than in the next pass."""
    number, topup = await find_topup(ask)
    if topup.state is not State.DRAFT:
        topup = await topups.look(ask.gate, number, topup)
    return await answer_topup(ask.gate, number, topup)


async def find_topup(ask: Ask[Nothing, Nothing]) -> tuple[Number, Topup]:
    """Return the number and the top-up that a path names."""
    number = await number_in_use(ask.gate, ask.path["phone_number_id"])
    return number, await topup_of_number(ask.gate, number, ask.path["topup_id"])


async def topup_of_number(gate: Gate, number: Number, text: str) -> Topup:
    """Return a number's top-up by its id."""
    try:
        row = await gate.ledger.fetch_one("topup", UUID(text))
    except ValueError:
        row = None
    if row is None or row["number_id"] != number.number_id:
        sentence = (
            f"Number {number.number_id} has no top-up {text}; GET /v1/numbers/{number.number_id}/topups lists them."
        )
        raise ProblemError(404, sentence)
    return topup_of(row)
