"""Cards by Stripe: a customer for each account, its saved card, and a PaymentIntent for each top-up.

A card is entered at a page of Stripe's (Checkout in setup mode, https://docs.stripe.com/payments/save-and-reuse), so
no page of ours meets one. A PaymentIntent is made and confirmed in one call, under the top-up's id as idempotency key:
repeated within a day it is the same payment (https://docs.stripe.com/api/idempotent_requests). Where a bank wants its
customer to confirm, Stripe gives a link that leads to the bank and back. A decline is final here, so the PaymentIntent
is cancelled: the next try is another top-up. Its state at Stripe is the only thing believed; an event is checked for
its signature, and only says what to look at.
"""

import json
import logging
from calendar import monthrange
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import stripe

from farebox.core.charge import Terms
from farebox.core.money import MICROS_PER_UNIT
from farebox.payments.method import (
    Card,
    CardError,
    CardLink,
    EventError,
    Fate,
    MethodUnavailableError,
    Payment,
    RefundError,
    Standing,
)

log = logging.getLogger(__name__)
logging.getLogger("stripe").setLevel(logging.WARNING)  # it writes two lines a call
TIMEOUT_S = 20  # Stripe answers a charge in about two seconds; the bank behind it may take ten
RETRIES = 1  # of the library, for a connection that was cut; whoever is still without an answer looks again later

# https://docs.stripe.com/currencies: those without decimals, those with three (of which the last must be 0), and those
# that are written with two for old times' sake, and charged in whole units.
NO_DECIMALS = frozenset(("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF",
                         "XOF", "XPF"))  # fmt: skip
THREE_DECIMALS = frozenset(("BHD", "JOD", "KWD", "OMR", "TND"))
WHOLE_UNITS = frozenset(("ISK", "UGX"))
_AUTHENTICATION = "authentication_required"  # off-session: the bank wants its customer to be asked
_LOST = ("won", "warning_closed", "prevented")  # disputes that take no money (any more)


class Stripe:
    """A card that Stripe keeps."""

    name = "stripe"
    needs_card = True

    def __init__(self, terms: Terms, *, api_key: str, webhook_secret: str | None, url: str, return_url: str) -> None:
        self._terms = terms
        self._webhook_secret = webhook_secret
        self._return_url = return_url
        self._http = stripe.AIOHTTPClient(timeout=TIMEOUT_S)
        self._api = stripe.StripeClient(
            api_key, base_addresses={"api": url.rstrip("/")}, http_client=self._http, max_network_retries=RETRIES
        ).v1

    def terms(self, currency: str) -> Terms:
        """Return the terms of a card, with the smallest step that Stripe charges."""
        return replace(self._terms, step_micros=step_micros(currency))

    async def save_card(self, account_id: str, email: str | None, token: str, customer: str | None) -> Card:
        """Attach a payment method to the account's customer, who is made where there is none."""
        async with _asked_of_cards():
            customer = customer or await self._new_customer(account_id, email)
            return _card(customer, await self._api.payment_methods.attach_async(token, {"customer": customer}))

    async def card_link(self, account_id: str, email: str | None, customer: str | None) -> CardLink:
        """Make a page of Stripe's where a card is entered; it is good for a day."""
        async with _asked_of_cards():
            customer = customer or await self._new_customer(account_id, email)
            parameters: Any = {
                "mode": "setup",
                "customer": customer,
                "payment_method_types": ["card"],
                "success_url": self._return_url,
                "cancel_url": self._return_url,
                "metadata": {"account_id": account_id},
            }
            session: Any = await self._api.checkout.sessions.create_async(parameters)
        return CardLink(session.id, customer, session.url, datetime.fromtimestamp(session.expires_at, UTC))

    async def linked_card(self, link_id: str) -> Card | Fate:
        """Return the card that was entered at a page of Stripe's."""
        async with _asked_of_cards():
            session: Any = await self._api.checkout.sessions.retrieve_async(
                link_id, {"expand": ["setup_intent.payment_method"]}
            )
        if session.status == "complete":
            return _card(session.customer, session.setup_intent.payment_method)
        return Fate.PENDING if session.status == "open" else Fate.CANCELLED

    async def forget_card(self, card: str) -> None:
        """Detach a payment method from its customer: Stripe charges nothing to it any more."""
        async with _asked():
            try:
                await self._api.payment_methods.detach_async(card)
            except stripe.InvalidRequestError as error:
                log.warning("Stripe had no such card to detach: %s", _said(error))

    async def _new_customer(self, account_id: str, email: str | None) -> str:
        made: Any = await self._api.customers.create_async(
            {"metadata": {"account_id": account_id}, **({"email": email} if email else {})},
            {"idempotency_key": f"customer-{account_id}"},
        )
        return str(made.id)

    async def charge(self, payment: Payment) -> Standing:
        """Make and confirm the PaymentIntent of a top-up; a decline is an answer."""
        parameters: Any = {
            "amount": minor_units(payment.total_micros, payment.currency),
            "currency": payment.currency.lower(),
            "customer": payment.customer,
            "payment_method": payment.card,
            "payment_method_types": ["card"],
            "confirm": True,
            "return_url": self._return_url,
            "metadata": {"topup_id": str(payment.topup_id), "number_id": payment.number_id},
            **({"off_session": True} if payment.off_session else {}),
        }
        async with _asked():
            try:
                intent: Any = await self._api.payment_intents.create_async(
                    parameters, {"idempotency_key": str(payment.topup_id)}
                )
            except stripe.CardError as error:
                intent = _declined(error)
                if intent is None:
                    return Standing(Fate.FAILED, reason=f"The card was declined: {_said(error)}")
            except stripe.InvalidRequestError as error:
                return Standing(Fate.FAILED, reason=f"Stripe does not take the payment: {_said(error)}", closed=True)
            return await self._stands(intent, payment)

    async def _stands(self, intent: Any, payment: Payment) -> Standing:
        """Tell how a payment stands. One that its bank wants confirmed is confirmed again, as with its payer there.

        Charged off-session, Stripe has only noted what the bank wants; this makes the link to it
        (https://docs.stripe.com/payments/save-and-reuse#charge-saved-payment-method).
        """
        if not _wants_payer(intent):
            return _standing(intent)
        parameters: Any = {"return_url": self._return_url, **({"payment_method": payment.card} if payment.card else {})}
        options: Any = {"idempotency_key": f"{payment.topup_id} payer"}
        try:
            return _standing(await self._api.payment_intents.confirm_async(intent.id, parameters, options))
        except stripe.CardError as error:
            return _standing(_declined(error) or intent)
        except stripe.InvalidRequestError as error:
            return Standing(Fate.FAILED, intent.id, f"Stripe does not take the payment: {_said(error)}")

    async def look(self, payment: Payment) -> Standing:
        """Read how a payment stands. One that nobody knows the name of is begun, or found by its idempotency key."""
        if payment.provider_id is None:
            return await self.charge(payment)
        async with _asked():
            intent: Any = await self._api.payment_intents.retrieve_async(
                payment.provider_id, {"expand": ["latest_charge"]}
            )
            standing = await self._stands(intent, payment)
            charge = intent.latest_charge
            if charge is None or isinstance(charge, str):
                return standing
            refunded = micros_of(charge.amount_refunded or 0, payment.currency)
            disputed = None
            if getattr(charge, "disputed", False):
                disputes: Any = await self._api.disputes.list_async({"payment_intent": payment.provider_id})
                disputed = next((each.reason for each in disputes.data if each.status not in _LOST), None)
        return replace(standing, refunded_micros=refunded, disputed=disputed)

    async def cancel(self, payment: Payment) -> Standing:
        """Cancel a PaymentIntent; one that has succeeded meanwhile stays so."""
        if payment.provider_id is None:
            raise MethodUnavailableError("it is not known yet whether Stripe has begun it")
        async with _asked():
            try:
                return _standing(await self._api.payment_intents.cancel_async(payment.provider_id))
            except stripe.InvalidRequestError:
                return await self.look(payment)

    async def refund(self, payment: Payment, refund_id: UUID, micros: int) -> None:
        """Give part of a payment back. Looked for first: the idempotency key is forgotten after a day."""
        if payment.provider_id is None:
            raise RefundError("Stripe's name of the payment is not known")
        async with _asked():
            try:
                made: Any = await self._api.refunds.list_async({"payment_intent": payment.provider_id, "limit": 100})
                if any(_of(each.metadata, "refund_id") == str(refund_id) for each in made.data):
                    return
                parameters: Any = {
                    "payment_intent": payment.provider_id,
                    "amount": minor_units(micros, payment.currency),
                    "metadata": {"refund_id": str(refund_id)},
                }
                await self._api.refunds.create_async(parameters, {"idempotency_key": str(refund_id)})
            except (stripe.CardError, stripe.InvalidRequestError) as error:
                raise RefundError(_said(error)) from error

    def read_event(self, body: bytes, signature: str) -> tuple[str | None, str | None]:
        """Return what a signed event is about: the payment or page by Stripe's name, and the top-up that it names."""
        if self._webhook_secret is None:
            raise EventError("the secret that signs Stripe's events is not set; set FAREBOX_STRIPE_WEBHOOK_SECRET")
        try:
            stripe.WebhookSignature.verify_header(body.decode(), signature, self._webhook_secret, EVENT_AGE_S)
            about = json.loads(body)["data"]["object"]
            own = about["object"] in ("payment_intent", "checkout.session")
            named = about["id"] if own else about.get("payment_intent")
            topup_id = (about.get("metadata") or {}).get("topup_id")
        except (stripe.SignatureVerificationError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise EventError(
                "the event is not signed by Stripe with FAREBOX_STRIPE_WEBHOOK_SECRET, or it is too old"
            ) from error
        return (named if isinstance(named, str) else None), (topup_id if isinstance(topup_id, str) else None)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.close_async()  # type: ignore[no-untyped-call]  # of a typed library


EVENT_AGE_S = 300  # Stripe signs each delivery anew, so an older one is a replay by somebody else


@asynccontextmanager
async def _asked() -> AsyncIterator[None]:
    """Make one error of everything that says nothing about the payment."""
    try:
        yield
    except stripe.StripeError as error:
        raise MethodUnavailableError(f"Stripe does not say what became of it: {type(error).__name__}") from error


@asynccontextmanager
async def _asked_of_cards() -> AsyncIterator[None]:
    """Tell what Stripe does not take of cards, besides."""
    async with _asked():
        try:
            yield
        except (stripe.CardError, stripe.InvalidRequestError) as error:
            raise CardError(f"Stripe does not take it: {_said(error)}") from error


def _card(customer: str, method: Any) -> Card:
    if method.type != "card":
        raise CardError(f"it is a {method.type}, not a card; save a card")
    year, month = method.card.exp_year, method.card.exp_month
    expires = date(year, month, monthrange(year, month)[1])
    return Card(customer, method.id, method.card.brand[:32], method.card.last4, expires)


def _declined(error: stripe.CardError) -> Any:
    """Return the PaymentIntent that a decline is of; None where Stripe does not say."""
    return _of(error.error, "payment_intent")


def _wants_payer(intent: Any) -> bool:
    """Tell whether a payment was charged off-session, and the bank wants its customer to be asked."""
    asked: bool = _of(intent.last_payment_error, "code") == _AUTHENTICATION
    return asked and intent.status == "requires_payment_method"


def _standing(intent: Any) -> Standing:
    """Read a PaymentIntent (https://docs.stripe.com/payments/paymentintents/lifecycle)."""
    match intent.status:
        case "succeeded":
            return Standing(Fate.SUCCEEDED, intent.id)
        case "canceled":
            return Standing(Fate.CANCELLED, intent.id, closed=True)
        case "requires_payment_method":
            said = _of(intent.last_payment_error, "message") or "no reason is given."
            return Standing(Fate.FAILED, intent.id, f"The card was declined: {said}")
        case "requires_action":
            bank = _of(intent.next_action, "redirect_to_url")
            return Standing(Fate.PENDING, intent.id, action_url=None if bank is None else str(bank.url))
    return Standing(Fate.PENDING, intent.id)


def _said(error: stripe.StripeError) -> str:
    return str(error.user_message or type(error).__name__)[:400]


def _of(thing: Any, name: str) -> Any:
    """Return what an object of Stripe's calls so; None where it is not there."""
    return getattr(thing, name, None)


def _places(currency: str) -> int:
    return 0 if currency in NO_DECIMALS else 3 if currency in THREE_DECIMALS else 2


def step_micros(currency: str) -> int:
    """Return the smallest step that Stripe charges in a currency."""
    whole = currency in NO_DECIMALS or currency in WHOLE_UNITS
    return MICROS_PER_UNIT if whole else MICROS_PER_UNIT // 100


def minor_units(micros: int, currency: str) -> int:
    """Return an amount as Stripe writes it."""
    units, rest = divmod(micros * 10 ** _places(currency), MICROS_PER_UNIT)
    assert rest == 0, "amounts and fees are multiples of the smallest step"
    return int(units)


def micros_of(minor: int, currency: str) -> int:
    """Return what Stripe writes as an amount, in micro-units."""
    return int(minor * MICROS_PER_UNIT // 10 ** _places(currency))
