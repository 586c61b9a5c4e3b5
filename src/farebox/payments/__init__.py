"""How money comes in: one small interface (`method.py`), and a module for each provider."""

from collections.abc import Mapping

from farebox.config import Settings
from farebox.core.charge import Terms
from farebox.core.markup import parse_percent
from farebox.core.money import parse_micros
from farebox.payments.manual import Manual
from farebox.payments.method import (
    Card,
    CardError,
    CardLink,
    EventError,
    Fate,
    Method,
    MethodUnavailableError,
    Payment,
    RefundError,
    Standing,
)
from farebox.payments.sandbox import Sandbox

__all__ = [
    "Card",
    "CardError",
    "CardLink",
    "EventError",
    "Fate",
    "Method",
    "MethodUnavailableError",
    "Payment",
    "RefundError",
    "Standing",
    "open_methods",
]


def open_methods(settings: Settings) -> Mapping[str, Method]:
    """Make the payment methods that the settings switch on, by name. Manual is always there."""
    card = Terms(
        percent_ppm=parse_percent(settings.card_fee_percent),
        fixed_micros=parse_micros(settings.card_fee_fixed),
        min_micros=parse_micros(settings.topup_min),
        max_micros=parse_micros(settings.topup_max),
    )
    methods: list[Method] = [Manual(Terms())]
    if settings.sandbox_payments:
        methods.append(Sandbox(card))
    if settings.stripe_api_key is not None:
        from farebox.payments.stripe_cards import Stripe  # noqa: PLC0415  20 MB and half a second that few need

        secret = settings.stripe_webhook_secret
        scheme = "https" if settings.tls_certificate else "http"
        methods.append(
            Stripe(
                card,
                api_key=settings.stripe_api_key.get_secret_value(),
                webhook_secret=None if secret is None else secret.get_secret_value(),
                url=settings.stripe_url,
                return_url=settings.stripe_return_url or f"{scheme}://{settings.host}:{settings.admin_port}/",
            )
        )
    return {method.name: method for method in methods}
