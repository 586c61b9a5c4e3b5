"""What payment providers tell. An event only makes us look: the provider's answer is what is booked."""

from pydantic import Field

from farebox import cards, topups
from farebox.admin.models import Given, Nothing
from farebox.admin.problems import RETRY_AFTER_S, ProblemError
from farebox.admin.routing import Answer, Ask
from farebox.payments import EventError, MethodUnavailableError


class Heard(Given):
    """An event that was heard."""

    known: bool = Field(description="Whether it is about a top-up of ours, or a page where a card is entered.")


async def hear(ask: Ask[Nothing, Nothing]) -> Answer:
    """Look at the payment or card that an event is about. Repeated, late or reordered it changes nothing twice."""
    method = ask.gate.payments.get(ask.path["method"])
    if method is None:
        raise ProblemError(404, topups.not_switched_on(ask.gate, ask.path["method"]))
    assert ask.signed is not None, "its path says so"
    try:
        named = method.read_event(ask.signed.body, ask.signed.signature)
    except EventError as error:
        raise ProblemError(400, f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
    try:
        known = await topups.hear(ask.gate, method.name, *named) or await cards.hear(ask.gate, method.name, named[0])
        return Answer(Heard(known=known))
    except MethodUnavailableError as error:
        sentence = f"{error}; tell it again."
        raise ProblemError(503, sentence, headers={"Retry-After": RETRY_AFTER_S}) from error
