"""What becomes of an accepted message: its statuses, one after the other."""

from typing import Any

from .behaviour import Behaviour
from .billing import Billing
from .config import SimulatorConfig
from .poster import Poster
from .pricing import Pricing
from .state import Accepted, Clock
from .users import User
from .webhooks import Event, status_entry, status_event

REENGAGEMENT = 131047


class Deliveries:
    """Lets statuses happen and tells the webhook receiver."""

    def __init__(self, config: SimulatorConfig, clock: Clock, poster: Poster, billing: Billing) -> None:
        self._config = config
        self._clock = clock
        self._poster = poster
        self._billing = billing

    def plan(self, message: Accepted, behaviour: Behaviour, *, reachable: bool) -> None:
        """Queue the statuses of a message. `reachable`: it is a template, or the customer service window is open."""
        statuses = self._config.statuses if behaviour.statuses is None else behaviour.statuses
        error_code = behaviour.status_error
        if behaviour.statuses is None and not reachable:
            # Meta accepts a free-form message outside the window and lets it fail afterwards, without a `sent`.
            statuses, error_code = ("failed",), REENGAGEMENT
        delay_s = self._config.delay_s if behaviour.status_delay_s is None else behaviour.status_delay_s
        for step, status in enumerate(statuses[::-1] if behaviour.reverse else statuses, start=1):

            def build(status: str = status) -> list[Event]:
                event = self.happen(message, status, error_code=error_code if status == "failed" else None)
                return [event, event] if behaviour.duplicate else [event]

            self._poster.put(build, key=message.wamid, delay_s=step * delay_s)

    def happen(
        self,
        message: Accepted,
        status: str,
        *,
        pricing: dict[str, Any] | None = None,
        error_code: int | None = None,
    ) -> Event:
        """Let a status happen now and word the webhook. `pricing` forces that object in.

        A group hears `sent` and `failed` once, and of deliveries one webhook with a status for each member:
        https://developers.facebook.com/documentation/business-messaging/whatsapp/groups/groups-messaging
        """
        message.statuses.append(status)
        each_member = bool(message.group_id) and status in ("delivered", "read", "played")
        recipients: list[User] = list(message.members) if each_member else [message.user]
        entries = []
        for recipient in recipients:
            price = self._price(message, status, recipient)
            shown = None if price is None else price.as_json() | message.override
            if pricing is not None:
                shown = (price or self._billing.forecast(message)).as_json() | pricing
            entries.append(
                status_entry(
                    message,
                    status,
                    now=self._clock.now(),
                    pricing=shown,
                    conversation=None if price is None else self._billing.conversation(message, price, status),
                    error_code=error_code,
                    participant=recipient if each_member else None,
                )
            )
        contacts = [] if message.group_id and not each_member else recipients
        return status_event(message, status, entries, contacts)

    def _price(self, message: Accepted, status: str, recipient: User) -> Pricing | None:
        """Return the price a status names: a forecast on `sent`, the charge on the first of delivered and read."""
        if status == "sent" and not message.group_id:
            return self._billing.forecast(message)
        if status not in ("delivered", "read") or recipient.user_id in message.charges:
            return None
        message.charges[recipient.user_id] = self._billing.charge(message, recipient)
        return message.charges[recipient.user_id]
