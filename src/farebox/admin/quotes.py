"""What a message would cost, without sending it."""

import json
from dataclasses import replace
from datetime import date, datetime
from typing import Any, Literal

from pydantic import Field, model_validator

from farebox import directory
from farebox.admin.clock import EARLIEST, LATEST
from farebox.admin.fields import Amount, Name, NumberId, RegimeName, refuse
from farebox.admin.models import Given, Nothing, Taken
from farebox.admin.numbers import number_in_use
from farebox.admin.problems import ProblemError
from farebox.admin.routing import Answer, Ask
from farebox.admin.shown import Evidence, moment, shown_evidence
from farebox.core.message import BadMessageError, Kind, Message, parse_message
from farebox.core.tariff import CUSTOMER_SERVICE, FREE_ENTRY_POINT, Term, UnpricedError
from farebox.gate import Gate
from farebox.quotes import Question, Quoted, Supposed, SupposedConversation, quote

TemplateCategory = Literal["marketing", "utility", "authentication"]
ShortKind = Literal["text", "reaction", "direct_utility", "direct_authentication"]
Category = Literal[
    "marketing", "utility", "authentication", "authentication_international", "service",
    "user_initiated", "business_initiated",
]  # fmt: skip
MAX_USED = 10**9
_DEFAULT_LANGUAGE = "en_US"


class ConversationSupposed(Taken):
    """A conversation that is taken to be open."""

    category: Category
    message_class: Literal["free", "paid"] = Field("paid", alias="class")
    delivered: bool = Field(default=True, description="false: the message that opens it has not arrived yet.")


class QuotePost(Taken):
    """A message that might be sent: as the application would send it, or in the short form (`to` and what it is)."""

    number: NumberId = Field(description="The phone number id that would send it.")
    message: dict[str, Any] | None = Field(None, description="The very JSON that the application would send.")
    to: Name | None = Field(None, description="Short form: phone number or user id of the recipient.")
    template: Name | None = Field(None, description="Short form: the name of a template.")
    language: Name | None = Field(None, description="Of the template; null: the one it has.")
    category: TemplateCategory | None = Field(None, description="Short form: a template of this category.")
    kind: ShortKind | None = Field(None, description="Short form: a message that is no template.")
    at: datetime | None = Field(
        None, description="When it would be sent; without an offset, in the number's time zone. null: now."
    )
    regime: RegimeName | None = Field(None, description="Price it by this tariff; null: by the number's own.")
    window_open: bool | None = Field(None, description="Suppose the customer service window open or closed.")
    free_entry_point_open: bool | None = Field(
        None, description="Suppose the free entry point window open, or closed and none offered."
    )
    pool_used: int | None = Field(None, ge=0, le=MAX_USED, description="Suppose so many free units of the month used.")
    conversations: list[ConversationSupposed] | None = Field(
        None, max_length=10, description="Suppose exactly these conversations open."
    )

    @model_validator(mode="after")
    def _one_message(self) -> "QuotePost":
        short = [name for name in ("template", "category", "kind") if getattr(self, name) is not None]
        if (self.message is not None) == (self.to is not None):
            raise refuse("must have either message, or to with one of template, category and kind")
        if len(short) != (self.message is None):
            raise refuse("must have exactly one of template, category and kind beside to, and none beside message")
        return self


class QuotedTerm(Given):
    """A term of the offer: when it holds, and what the message costs if it is the first that does."""

    when: str = Field(description="What it asks: always, pool, conversation, free_entry_point, ...")
    within_window: bool = Field(description="Holds only while the customer service window is open.")
    of: list[str] = Field(description="The conversations that it may ride.")
    opens: str | None = Field(description="The conversation or window that the message opens.")
    why: str
    holds: bool
    applies: bool = Field(description="It is the first that holds.")
    evidence: str = Field(description="What it rests on, where it holds.")
    message_class: str | None = Field(alias="class", description="null: as the conversation that it rides.")
    fare: Amount = Field(description="rate + markup + tax.")
    rate: Amount = Field(description="Meta's own rate.")
    markup: Amount = Field(description="What the account adds.")
    tax: Amount
    rate_source: str = Field(description="File and line of the rate card; empty for a free term.")


class QuotedState(Given):
    """What the wallet knows of recipient and number, or what was supposed."""

    window_until: datetime | None = Field(description="End of the customer service window; null: closed.")
    free_entry_point_until: datetime | None
    pool: str | None = Field(description="The month's pool; null: the tariff has none.")
    pool_used: int
    pool_size: int
    available: Amount


class Quote(Given):
    """What a message would cost, and why."""

    phone_number_id: NumberId
    at: datetime
    day: date = Field(description="In the number's time zone, where tariffs turn.")
    timezone: str
    regime: str
    market: str
    country: str
    category: str
    message_class: str = Field(alias="class")
    fare: Amount
    currency: str
    term: QuotedTerm
    evidence: Evidence
    state: QuotedState
    alternatives: list[QuotedTerm] = Field(description="Every term of the offer, in order.")
    would_be: Literal["accepted", "refused"]
    sentence: str | None = Field(description="What a refusal says.")
    notes: list[str]


async def post(ask: Ask[QuotePost, Nothing]) -> Answer:
    """Quote a message."""
    number = await number_in_use(ask.gate, ask.body.number)
    return Answer(await make_quote(ask.gate, number, ask.body))


async def make_quote(gate: Gate, number: directory.Number, body: QuotePost) -> Quote:
    """Quote a message of a number; raises ProblemError where it is none, or can not be priced."""
    if body.regime is not None:
        if body.regime not in gate.tariffs:
            raise ProblemError(422, f"regime: there is no tariff {body.regime}; use {' or '.join(gate.tariffs.names)}.")
        number = replace(number, regime=body.regime)
    try:
        message = _message(gate, number, body)
    except BadMessageError as error:
        raise ProblemError(422, f"message: {error}.") from None
    if message.kind is Kind.NOT_A_MESSAGE:
        raise ProblemError(422, "message: marking as read and typing are no messages; they always pass and are free.")
    if message.group_id:
        raise ProblemError(422, "message: a group message costs a fare for each member; ask for one of them with to.")
    try:
        quoted = await quote(
            gate, Question(number, message, body.category, _at_ms(gate, number, body), _supposed(body))
        )
    except UnpricedError as error:
        raise ProblemError(422, f"This message can not be priced: {error}.") from None
    return _shown(quoted)


def _message(gate: Gate, number: directory.Number, body: QuotePost) -> Message:
    """Read the message as a send would be read; the short form becomes one first."""
    fields: dict[str, Any] = body.message or {"to": body.to}
    if body.template or body.category:
        name = body.template or f"any {body.category} template"
        language = body.language or _language(gate, number, name)
        fields |= {"type": "template", "template": {"name": name, "language": {"code": language}}}
    elif body.kind:
        kind, _, category = body.kind.partition("_")
        fields |= {"type": "text", "category": category} if kind == "direct" else {"type": kind}
    return parse_message(json.dumps(fields).encode(), number.recipients)


def _language(gate: Gate, number: directory.Number, name: str) -> str:
    """Return the language that is meant where none is given: the template's own, or the commonest."""
    known = sorted(
        language
        for registry, template, language in gate.directory.templates
        if (registry, template) == (number.registry, name)
    )
    return known[0] if known and _DEFAULT_LANGUAGE not in known else _DEFAULT_LANGUAGE


def _at_ms(gate: Gate, number: directory.Number, body: QuotePost) -> int:
    if body.at is None:
        return gate.clock.now_ms()
    at = body.at if body.at.tzinfo is not None else body.at.replace(tzinfo=number.zone)
    if not EARLIEST <= at <= LATEST:
        raise ProblemError(422, f"at: must be between {EARLIEST:%Y} and {LATEST:%Y}.")
    return round(at.timestamp() * 1000)


def _supposed(body: QuotePost) -> Supposed:
    conversations = None
    if body.conversations is not None:
        conversations = tuple(
            SupposedConversation(one.category, one.message_class == "paid", not one.delivered)
            for one in body.conversations
        )
    return Supposed(body.window_open, body.free_entry_point_open, body.pool_used, conversations)


def _shown(quoted: Quoted) -> Quote:
    question, part, number = quoted.question, quoted.judgement.part, quoted.question.number
    terms = [
        _term(term, holds=seen.holds, evidence=seen.evidence, paid=seen.paid, applies=index == part.term)
        for index, (term, seen) in enumerate(quoted.terms)
    ]
    return Quote(
        phone_number_id=number.number_id,
        at=moment(question.at_ms),
        day=quoted.tariff.day,
        timezone=number.zone.key,
        regime=quoted.tariff.tariff.name,
        market=quoted.priced.offer.market,
        country=quoted.priced.country,
        category=quoted.priced.offer.category,
        message_class=quoted.message_class.value,
        fare=quoted.term.fare_micros,
        currency=number.currency,
        term=terms[part.term],
        evidence=shown_evidence(part.evidence),
        state=_state(quoted),
        alternatives=terms,
        would_be="refused" if quoted.refused else "accepted",
        sentence=quoted.sentence,
        notes=list(quoted.notes),
    )


def _term(term: Term, *, holds: bool, evidence: str, paid: bool, applies: bool) -> QuotedTerm:
    rule = term.rule
    rides = ("paid" if paid else "free") if holds else None
    return QuotedTerm(
        when=rule.when.value,
        within_window=rule.within_window,
        of=list(rule.of),
        opens=rule.opens,
        why=rule.why,
        holds=holds,
        applies=applies,
        evidence=evidence,
        message_class=rides if rule.message_class is None else rule.message_class.value,
        fare=term.fare_micros,
        rate=term.split.rate_micros,
        markup=term.split.markup_micros,
        tax=term.split.tax_micros,
        rate_source=term.rate_source,
    )


def _state(quoted: Quoted) -> QuotedState:
    def still_open(name: str) -> datetime | None:
        ends_ms = quoted.state.window_end_ms(name)
        return moment(ends_ms) if ends_ms is not None and quoted.question.at_ms < ends_ms else None

    tariff = quoted.tariff.tariff
    pool = tariff.pool(quoted.tariff.month)
    return QuotedState(
        window_until=still_open(CUSTOMER_SERVICE),
        free_entry_point_until=still_open(FREE_ENTRY_POINT),
        pool=pool if tariff.pool_size else None,
        pool_used=quoted.state.used(pool),
        pool_size=tariff.pool_size,
        available=quoted.judgement.decision.available_micros,
    )
