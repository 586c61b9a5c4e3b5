"""Closing a number: nothing is sent from it any more, and its funds are given back or kept, as is said."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from farebox.admin.fields import Amount, NumberId
from farebox.admin.models import Given, Nothing, Taken
from farebox.admin.moves import Reason
from farebox.admin.numbers import Balance, Number, number_in_use, show_number
from farebox.admin.problems import ProblemError
from farebox.admin.routing import Answer, Ask
from farebox.moves import Short
from farebox.returns import return_all


class ClosePost(Taken):
    """What becomes of the funds."""

    funds: Literal["return", "keep"] = Field(
        description="return: all that is available goes back, to card payments first, the rest you pay out yourself; "
        "keep: it stays, and is there when the number is opened again."
    )
    reason: Reason


class Closed(Given):
    """A number that is closed."""

    phone_number_id: NumberId
    closed_at: datetime
    returned: Amount = Field(description="Given back by this call; what is still held can be by a later one.")
    currency: str
    balance: Balance


async def close(ask: Ask[ClosePost, Nothing]) -> Answer:
    """Close a number. Repeated, it gives back what has become available since."""
    gate = ask.gate
    number = await number_in_use(gate, ask.path["phone_number_id"])
    row = await gate.ledger.fetch_one("close_number", number.number_id, gate.clock.now_ms())
    assert row is not None, "a number in use has its row"
    await gate.directory.load_numbers(gate.ledger)
    returned = await return_all(gate, number, ask.body.reason) if ask.body.funds == "return" else 0
    if isinstance(returned, Short):
        raise ProblemError(409, "Messages that were on their way have just been charged; close the number again.")
    balance = (await show_number(gate, number.number_id)).balance
    return Answer(
        Closed(
            phone_number_id=number.number_id,
            closed_at=row["closed_at"],
            returned=returned,
            currency=number.currency,
            balance=balance,
        )
    )


async def reopen(ask: Ask[Nothing, Nothing]) -> Answer:
    """Open a number again."""
    number = await number_in_use(ask.gate, ask.path["phone_number_id"])
    await ask.gate.ledger.fetch("open_number", number.number_id)
    await ask.gate.directory.load_numbers(ask.gate.ledger)
    shown: Number = await show_number(ask.gate, number.number_id)
    return Answer(shown)
