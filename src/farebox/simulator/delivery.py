"""What becomes of an accepted message: its statuses, and the price each of them names."""

import secrets
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from .behaviour import Behaviour
from .config import Number, SimulatorConfig
from .poster import Poster
from .pricing import Pricing, Situation, regime_on
from .state import Accepted, Clock
from .users import HOUR_S
from .webhooks import Event, status_event

REENGAGEMENT = 131047


class Deliveries:
    """Counts the free pools and tells the webhook receiver what happened."""

    def __init__(self, config: SimulatorConfig, clock: Clock, poster: Poster) -> None:
        self.free_pool = config.free_pool
        self._config = config
        self._clock = clock
        self._poster = poster
        self._pool_used: dict[tuple[str, str], int] = {}
        self._conversations: dict[str, str] = {}

    def pool_used(self, number: Number) -> int:
        """Return how many free service messages the number has had delivered in its current month."""
        return self._pool_used.get(self._month(number), 0)

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
        """Let a status happen now: note it, count the pool, and word the webhook.

        `pricing` is on `sent` and on exactly one of delivered and read. On `sent` it is a forecast; the
        delivery decides, and only the delivery counts in the pool.
        """
        named: Pricing | None = None
        if status == "sent":
            named = self._price(message)
        elif status in ("delivered", "read") and message.settled is None:
            named = message.settled = self._price(message)
            if named.uses_pool:
                month = self._month(message.number)
                self._pool_used[month] = self._pool_used.get(month, 0) + 1
        message.statuses.append(status)
        shown = None if named is None else named.as_json() | message.override
        if pricing is not None:
            shown = (named or self._price(message)).as_json() | pricing
        conversation = None if named is None else self._conversation(message, named, status)
        return status_event(
            message, status, now=self._clock.now(), pricing=shown, conversation=conversation, error_code=error_code
        )

    def _price(self, message: Accepted) -> Pricing:
        regime = regime_on(self._local(message.number).date(), self._config.regime)
        situation = Situation(
            kind=message.kind,
            in_free_entry_point=message.free_entry_point is not None,
            in_service_window=message.in_service_window,
            pool_left=self.free_pool - self.pool_used(message.number),
            to_group=bool(message.group_id),
        )
        price = regime.price(situation)
        kept = {key: value for key, value in message.override.items() if key in ("category", "type")}
        if not kept:
            return price
        return replace(price, **kept, uses_pool=price.uses_pool and "type" not in kept)

    def _conversation(self, message: Accepted, price: Pricing, status: str) -> dict[str, Any] | None:
        """Return the `conversation` object, which from v24.0 on only free entry points have."""
        window = message.free_entry_point
        if window is not None:
            conversation_id, end = window.window_id, window.end
        elif self._config.conversation_in_every_status:
            conversation_id = self._conversations.pop(message.wamid, "") or secrets.token_hex(16)
            if status == "sent":
                self._conversations[message.wamid] = conversation_id
            end = message.accepted_at + 24 * HOUR_S
        else:
            return None
        origin = {"type": price.category.replace("-", "_")}
        expiry = {"expiration_timestamp": str(int(end))} if status == "sent" else {}
        return {"id": conversation_id, **expiry, "origin": origin}

    def _local(self, number: Number) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), ZoneInfo(number.timezone))

    def _month(self, number: Number) -> tuple[str, str]:
        return number.phone_number_id, self._local(number).strftime("%Y-%m")
