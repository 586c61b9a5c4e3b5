"""Who pays: applies the rules of the day to a message, counts pools, opens conversations."""

import hashlib
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from .analytics import Analytics
from .config import Number, SimulatorConfig
from .conversations import CONVERSATION_S, SERVICE_FREE_FROM, is_free, join
from .pricing import FREE_ENTRY_POINT, Pricing, Situation, regime_on
from .state import Accepted, Clock
from .users import HOUR_S, User, Users


class Billing:
    """The simulator's cash desk. Prices on `sent` are forecasts; a delivery is what counts."""

    def __init__(self, config: SimulatorConfig, clock: Clock, users: Users, analytics: Analytics) -> None:
        self._config = config
        self._clock = clock
        self._users = users
        self._analytics = analytics
        self._pool_used: dict[tuple[str, str], int] = {}

    def pool_used(self, number: Number) -> int:
        """Return how many free service messages the number has had delivered in its current month."""
        return self._pool_used.get((number.phone_number_id, self._month(number)), 0)

    def cover(self, message: Accepted) -> None:
        """Note at acceptance which windows and which conversation the message falls into."""
        now = message.accepted_at
        key = message.group_id or message.user.user_id
        windows = self._users.windows(message.number.phone_number_id, key)
        message.in_service_window = now < windows.service_end
        message.free_entry_point = windows.answer(now, self._config.fep_hours * HOUR_S)
        if message.free_entry_point is None and self._by_conversation(message.number):
            message.conversation = join(windows.conversations, message.kind, now)

    def forecast(self, message: Accepted) -> Pricing:
        """Return the price if the message were delivered now."""
        return _overridden(self._price(message), message.override)

    def charge(self, message: Accepted, recipient: User) -> Pricing:
        """Price the delivery to one person; count it."""
        if self._by_conversation(message.number):
            opened = self._open_conversation(message)
            price = _overridden(self._price(message), message.override)
            if opened:
                self._analytics.record_conversation(message.number, recipient, price, self._clock.now())
            return price
        price = _overridden(self._price(message), message.override)
        if price.uses_pool:
            self._use((message.number.phone_number_id, self._month(message.number)))
        self._analytics.record(message.number, recipient, price, self._clock.now())
        return price

    def conversation(self, message: Accepted, price: Pricing, status: str) -> dict[str, Any] | None:
        """Return the `conversation` object of a priced status; per-message pricing mostly has none."""
        window, open_one = message.free_entry_point, message.conversation
        if window is not None:
            conversation_id, end = window.window_id, window.end
        elif open_one is not None and price.model == "CBP":
            conversation_id, end = open_one.id, open_one.end or message.accepted_at + CONVERSATION_S
        elif self._config.conversation_in_every_status and not message.group_id:
            # Up to v23.0: one id for each message.
            conversation_id = hashlib.sha256(message.wamid.encode()).hexdigest()[:32]
            end = message.accepted_at + CONVERSATION_S
        else:
            return None
        expiry = {"expiration_timestamp": str(int(end))} if status == "sent" else {}
        # The hyphen of `authentication-international` is the pricing spelling, the underscore the one used here.
        return {"id": conversation_id, **expiry, "origin": {"type": price.category.replace("-", "_")}}

    def _price(self, message: Accepted) -> Pricing:
        number = message.number
        regime = regime_on(self._local(number).date(), self._config.regime)
        if regime.price is None:
            return self._conversation_price(message)
        situation = Situation(
            kind=message.kind,
            in_free_entry_point=message.free_entry_point is not None,
            in_service_window=message.in_service_window,
            pool_left=self._config.free_pool - self.pool_used(number),
            to_group=bool(message.group_id),
        )
        return regime.price(situation)

    def _conversation_price(self, message: Accepted) -> Pricing:
        if message.free_entry_point is not None or message.conversation is None:
            return replace(FREE_ENTRY_POINT, type=None, model="CBP")
        price = message.conversation.pricing()
        if message.conversation.end is not None:
            return price
        free = is_free(message.conversation, self._local(message.number).date(), self._account_pool_left(message))
        return replace(price, billable=not free)

    def _open_conversation(self, message: Accepted) -> bool:
        """Open what the first delivery opens: a free entry point, which closes all else, or a conversation.

        Return whether that was a conversation, and this the delivery that opened it.
        """
        now = self._clock.now()
        window, conversation = message.free_entry_point, message.conversation
        if window is not None:
            if not window.delivered:
                window.delivered = True
                window.end = now + self._config.fep_hours * HOUR_S
                self._users.windows(message.number.phone_number_id, message.user.user_id).conversations.clear()
            return False
        if conversation is None or conversation.end is not None:
            return False
        conversation.billable = self._conversation_price(message).billable
        conversation.end = now + CONVERSATION_S
        limited = self._local(message.number).date() < SERVICE_FREE_FROM
        if limited and conversation.category == "service" and not conversation.billable:
            self._use((message.number.waba_id, self._month(message.number)))
        return True

    def _account_pool_left(self, message: Accepted) -> int:
        month = self._month(message.number)
        return self._config.free_pool - self._pool_used.get((message.number.waba_id, month), 0)

    def _use(self, key: tuple[str, str]) -> None:
        self._pool_used[key] = self._pool_used.get(key, 0) + 1

    def _by_conversation(self, number: Number) -> bool:
        return regime_on(self._local(number).date(), self._config.regime).price is None

    def _local(self, number: Number) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), ZoneInfo(number.timezone))

    def _month(self, number: Number) -> str:
        return self._local(number).strftime("%Y-%m")


def _overridden(price: Pricing, override: dict[str, Any]) -> Pricing:
    """Let a test's words win; a type that is not `regular` is then not billable unless the test says so."""
    kept = {key: value for key, value in override.items() if key in ("category", "type", "billable")}
    if "type" in kept:
        kept = {"billable": kept["type"] == "regular", "uses_pool": False} | kept
    return replace(price, **kept)
