"""What a message would cost: priced like a send, judged by the wallet like a send, and nothing is taken.

The wallet's script decides here too, on a copy of the number's state in which a caller may suppose something else. A
number whose wallet is missing gets it first, as before a send. WhatsApp is not asked about templates that the registry
does not know: a quote leaves no trace.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from farebox.asks import Ask, Judgement, Mode, Part, State, TermSeen
from farebox.core.fare import Priced, price
from farebox.core.in_force import InForce
from farebox.core.message import Kind, Message
from farebox.core.recipient import USER_ID
from farebox.core.reply import OUT_OF_FUNDS
from farebox.core.tariff import Class, Term
from farebox.directory import Number
from farebox.gate import Gate
from farebox.wallet import WalletUnavailableError

APPROVED = "APPROVED"
_NO_HOLD = str(UUID(int=0))
MAX_TRIES = 3  # a quote may meet a missing wallet, then a recipient that was not read yet


@dataclass(frozen=True, slots=True)
class SupposedConversation:
    """A conversation that is taken to be open, or pending because its first message has not arrived."""

    category: str
    paid: bool
    pending: bool


@dataclass(frozen=True, slots=True)
class Supposed:
    """What takes the place of what the wallet knows; None: as it is."""

    window_open: bool | None = None
    free_entry_point_open: bool | None = None
    pool_used: int | None = None
    conversations: tuple[SupposedConversation, ...] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A message that might be sent by a number at a moment."""

    number: Number
    message: Message
    template_category: str | None  # where the caller names it; otherwise the registry is asked
    at_ms: int
    supposed: Supposed = Supposed()


@dataclass(frozen=True, slots=True)
class Quoted:
    """The answer: what applies, and everything that it was decided by."""

    question: Question
    tariff: InForce
    priced: Priced
    state: State
    judgement: Judgement
    notes: tuple[str, ...]

    @property
    def term(self) -> Term:
        """The term that applies."""
        return self.priced.offer.terms[self.judgement.part.term]

    @property
    def message_class(self) -> Class:
        """Whether the message would count as paid."""
        return Class.PAID if self.judgement.part.paid else Class.FREE

    @property
    def refused(self) -> bool:
        """Tell whether a send would be refused."""
        return not self.judgement.decision.taken and self.question.number.mode == "enforce"

    @property
    def sentence(self) -> str | None:
        """What a refusal would say."""
        if not self.refused:
            return None
        reached = self.judgement.decision.reached
        return OUT_OF_FUNDS if reached is None else reached.sentence(self.question.number.currency)

    @property
    def terms(self) -> Iterator[tuple[Term, TermSeen]]:
        """Every term of the offer in order, and how the wallet saw it."""
        return zip(self.priced.offer.terms, self.judgement.terms, strict=True)


async def quote(gate: Gate, question: Question) -> Quoted:
    """Say what a message would cost. Raises UnpricedError, WalletUnavailableError or LedgerUnavailableError."""
    number, message = question.number, question.message
    tariff = gate.tariffs.at(number, question.at_ms)
    category = question.template_category
    status = None
    if message.kind is Kind.TEMPLATE and category is None:
        known = gate.directory.templates.get((number.registry, message.template_name, message.template_language))
        category, status = (known.category, known.status) if known else (None, None)
    priced = price(message, template_category=category, tariff=tariff)
    state = _suppose(await _state(gate, number, message.user), question, tariff)
    ask = Ask(
        number_id=number.number_id,
        parts=(Part(_NO_HOLD, message.user, priced.offer.category, priced.offer.wire),),
        block_at_micros=number.block_at_micros,
        cover=number.funds_rule == "cover",
        mode=Mode.DRY,
        now_ms=question.at_ms,
        limits=number.limits,
        today=tariff.day,
    )
    judgement = await gate.wallet.judge(ask, state)
    notes = tuple(_notes(question, priced, judgement, status))
    return Quoted(question, tariff, priced, state, judgement, notes)


async def _state(gate: Gate, number: Number, user: str) -> State:
    for _ in range(MAX_TRIES):
        state = await gate.wallet.state(number.number_id, user)
        if isinstance(state, State):
            return state
        await gate.rebuild.close(state, number, [user])
    raise WalletUnavailableError(f"the wallet of number {number.number_id} was lost again")


def _suppose(state: State, question: Question, tariff: InForce) -> State:
    supposed, at_ms, rules = question.supposed, question.at_ms, tariff.tariff
    if supposed.window_open is not None:
        state = state.with_window(at_ms + rules.customer_service_ms if supposed.window_open else None)
    if supposed.free_entry_point_open is not None:
        state = state.with_free_entry_point(
            at_ms + rules.free_entry_point_ms if supposed.free_entry_point_open else None
        )
    if supposed.pool_used is not None:
        state = state.with_used(rules.pool(tariff.month), supposed.pool_used)
    if supposed.conversations is not None:
        state = state.with_conversations(
            (one.category, 0 if one.pending else at_ms + rules.conversation_ms, one.paid)
            for one in supposed.conversations
        )
    return state


def _notes(question: Question, priced: Priced, judgement: Judgement, template_status: str | None) -> Iterator[str]:
    """Say what whoever reads the quote should know."""
    if priced.note:
        yield from priced.note.split("; ")
    if template_status is not None and template_status != APPROVED:
        yield f"the template is {template_status.lower()}: WhatsApp takes approved ones only"
    if priced.offer.category == "authentication" and USER_ID.fullmatch(question.message.user):
        yield "WhatsApp takes authentication templates for phone numbers only, not for a user id"
    if priced.unknown_market:
        yield f'no market names the country {priced.country or "of this recipient"}: it is priced as "Other"'
    if question.number.mode == "off":
        yield "metering is off for this number: a send would pass, cost nothing here and leave no record"
    elif question.number.mode == "shadow" and not judgement.decision.taken:
        yield "the number is in shadow mode: the message would be sent, enforcement would refuse it"
