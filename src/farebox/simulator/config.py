"""What a simulated WhatsApp is told before it starts: its numbers, its secrets, its habits."""

import re
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from .pricing import REGIMES

# The number and the business account of Meta's own examples, so that its documentation can be followed as it stands.
DEFAULT_PHONE_NUMBER_ID = "106540352242922"
DEFAULT_WABA_ID = "102290129340398"
DEFAULT_DISPLAY_NUMBER = "15550783881"

STATUSES = ("sent", "delivered", "read", "played", "failed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """A business phone number: the sender of messages."""

    phone_number_id: str = DEFAULT_PHONE_NUMBER_ID
    waba_id: str = DEFAULT_WABA_ID
    display_number: str = DEFAULT_DISPLAY_NUMBER
    timezone: str = "UTC"
    """Time zone of the WhatsApp Business Account: prices change and the free pool refills at its midnight."""
    token: str = ""
    """An access token (or `D360-API-KEY`) of its own, the only one it then answers to. Empty: the simulator's."""
    webhook_url: str = ""
    """Where its webhooks go, as Meta's webhook override allows. Empty: where all go."""
    webhook_headers: dict[str, str] = field(default_factory=dict)
    """Headers added to its webhooks, as 360dialog's clients may ask for."""
    app_secret: str = ""
    """Signs its webhooks, for a number of another app. Empty: the simulator's."""
    signed: bool = True
    """Whether its webhooks are signed; those of a 360dialog client can not be checked."""

    def __post_init__(self) -> None:
        if not self.phone_number_id.isdigit() or not self.waba_id.isdigit() or not self.display_number.isdigit():
            ids = f"{self.phone_number_id}:{self.waba_id}:{self.display_number}"
            raise ValueError(f"a number is PHONE_NUMBER_ID:WABA_ID:DISPLAY_NUMBER, digits only, got {ids}")
        ZoneInfo(self.timezone)

    @classmethod
    def parse(cls, text: str) -> "Number":
        """Read `PHONE_NUMBER_ID:WABA_ID:DISPLAY_NUMBER`, optionally followed by `:TIME_ZONE`."""
        parts = text.split(":")
        if len(parts) not in (3, 4):
            raise ValueError(f"{text!r} is not PHONE_NUMBER_ID:WABA_ID:DISPLAY_NUMBER[:TIME_ZONE]")
        display = "".join(char for char in parts[2] if char.isdigit())
        timezone = parts[3] if len(parts) == 4 else "UTC"
        return cls(phone_number_id=parts[0], waba_id=parts[1], display_number=display, timezone=timezone)


@dataclass(kw_only=True, slots=True)
class SimulatorConfig:
    """Everything a simulator is started with. The defaults are those of a test: no delay, no retry.

    What it says about delivery and prices (from `webhook_version` on) may be changed while it runs.
    """

    token: str = "simulated-token"  # noqa: S105  a default for a toy, printed in the help
    """The access token every call must carry (`Authorization: Bearer`, `?access_token=` or `D360-API-KEY`)."""
    app_secret: str = "simulated-app-secret"  # noqa: S105  see above
    """Signs webhooks. Empty: they go out unsigned, as a 360dialog client gets them."""
    webhook_url: str = ""
    """Where webhooks go. Empty: statuses still happen (and use the free pool), nobody is told."""
    numbers: tuple[Number, ...] = field(default_factory=lambda: (Number(),))
    account_fields: dict[str, Any] = field(default_factory=dict)
    """What an account tells about itself besides the usual (`auth_international_rate_eligibility`)."""
    public_url: str = ""
    """How links to the simulator start. Empty: the address the request came in on."""

    webhook_version: str = "v25.0"
    """Version of the webhook subscription. Up to v23.0 every priced status carries a `conversation`."""
    statuses: tuple[str, ...] = ("sent", "delivered", "read")
    """What becomes of an accepted message, unless a behaviour says otherwise."""
    delay_s: float = 0.0
    """Time before each status. 0: as fast as the receiver takes them."""
    webhook_batch: int = 1
    """Most updates in one POST. Meta sends up to 1,000."""
    webhook_lanes: int = 1
    """POSTs under way at once. One lane keeps the order across messages; each message keeps its own in any case."""
    webhook_attempts: int = 1
    """How often an update is posted until it is answered 200."""
    webhook_retry_s: float = 1.0
    """Pause before the second attempt; it doubles with each further one."""
    webhook_timeout_s: float = 10.0

    regime: str = "auto"
    """Which pricing rules: `auto` goes by the number's local date, or one of `pricing.REGIMES` by name."""
    free_pool: int = 1000
    """Free delivered service messages per number and calendar month (since 2026-10-01)."""
    fep_hours: int = 72
    """Length of a free entry point window. Meta announced up to 7 days, so it is a setting."""
    enforce_window: bool = True
    """A free-form message outside the customer service window is accepted and then fails with 131047, as at Meta."""
    remember: int = 10_000
    """Accepted messages kept for `GET /simulator/sent` and for later statuses; older ones are forgotten."""
    compress: bool = True
    """Answer gzip to clients that accept it, as Graph does."""

    def __post_init__(self) -> None:
        if not self.numbers:
            raise ValueError("a simulator needs at least one number")
        unknown = set(self.statuses) - set(STATUSES)
        if unknown:
            raise ValueError(f"unknown statuses {sorted(unknown)}, known are {', '.join(STATUSES)}")
        if not re.fullmatch(r"v\d+(\.\d+)?", self.webhook_version):
            raise ValueError(f"webhook_version looks like v25.0, got {self.webhook_version!r}")
        if self.regime not in ("auto", *REGIMES):
            raise ValueError(f"unknown regime {self.regime!r}, known are auto, {', '.join(REGIMES)}")
        for name in ("free_pool", "fep_hours", "delay_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        for name in ("webhook_batch", "webhook_lanes", "webhook_attempts", "remember"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")

    @property
    def conversation_in_every_status(self) -> bool:
        """Whether webhooks are of v23.0 or older.

        https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/status
        ("conversation": omitted entirely for v24.0+ unless free entry point).
        """
        return int(self.webhook_version.lstrip("v").split(".")[0]) <= 23
