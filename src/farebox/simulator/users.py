"""WhatsApp users as a business sees them: a phone number, a business-scoped user id, two windows."""

import base64
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .conversations import Conversation

HOUR_S = 3600
CUSTOMER_SERVICE_WINDOW_S = 24 * HOUR_S
# The business has a day to answer somebody who came from an ad; only then a free entry point opens.
ANSWER_WITHIN_S = 24 * HOUR_S
# People remembered, oldest forgotten first: about 500 bytes each, far more than a sandbox or a test meets.
USERS_MAX = 100_000
# More than any test needs; groups are never forgotten.
GROUPS_MAX = 10_000

# Calling codes of the countries that tests and examples use. The prefix only names the user's country in the
# business-scoped user id; prices are not this simulator's business.
ISO_BY_CALLING_CODE = {
    "1": "US", "20": "EG", "27": "ZA", "31": "NL", "33": "FR", "34": "ES", "36": "HU", "39": "IT", "40": "RO",
    "44": "GB", "48": "PL", "49": "DE", "51": "PE", "52": "MX", "54": "AR", "55": "BR", "56": "CL", "57": "CO",
    "60": "MY", "61": "AU", "62": "ID", "63": "PH", "65": "SG", "66": "TH", "7": "RU", "77": "KZ", "81": "JP",
    "82": "KR", "84": "VN", "86": "CN", "90": "TR", "91": "IN", "92": "PK", "94": "LK", "212": "MA", "234": "NG",
    "254": "KE", "263": "ZW", "351": "PT", "380": "UA", "41": "CH", "43": "AT", "45": "DK", "46": "SE", "852": "HK",
    "880": "BD", "964": "IQ", "965": "KW", "966": "SA", "968": "OM", "971": "AE", "972": "IL", "974": "QA",
    "977": "NP",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class User:
    """Somebody on WhatsApp. `wa_id` is empty where the business knows only the business-scoped user id."""

    wa_id: str
    user_id: str
    name: str = "Simulated User"


def bsuid_of(wa_id: str) -> str:
    """Return the business-scoped user id of a phone number: always the same one.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
    """
    iso = next((ISO_BY_CALLING_CODE[wa_id[:n]] for n in (3, 2, 1) if wa_id[:n] in ISO_BY_CALLING_CODE), "ZZ")
    digits = int.from_bytes(hashlib.sha256(wa_id.encode()).digest()[:8], "big")
    return f"{iso}.{digits:020d}"


@dataclass(slots=True)
class FreeEntryPoint:
    """A window in which every message is free, opened by answering somebody who came from an ad."""

    window_id: str
    end: float
    delivered: bool = False
    """Whether its first message arrived; under conversation-based pricing the window starts only then."""


@dataclass(slots=True)
class Windows:
    """What is open between one number and one user. A window is open while `now < end`."""

    service_end: float = 0.0
    answer_until: float = 0.0
    free_entry_point: FreeEntryPoint | None = None
    conversations: dict[str, Conversation] = field(default_factory=dict)
    """Under conversation-based pricing: what is open, by category."""

    def write_in(self, now: float, *, from_ad: bool) -> None:
        """Note that the user wrote: opens or refreshes the customer service window.

        https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages
        ("customer service windows").
        """
        self.service_end = now + CUSTOMER_SERVICE_WINDOW_S
        if from_ad:
            self.answer_until = now + ANSWER_WITHIN_S

    def answer(self, now: float, fep_length_s: float) -> FreeEntryPoint | None:
        """Note that the business sends, and return the free entry point that covers the message, if any.

        https://developers.facebook.com/documentation/business-messaging/whatsapp/pricing ("free entry point"):
        the answer within 24 hours is free and opens the window.
        """
        if self.free_entry_point is not None and now < self.free_entry_point.end:
            return self.free_entry_point
        self.free_entry_point = None
        if now < self.answer_until:
            self.answer_until = 0.0
            self.free_entry_point = FreeEntryPoint(secrets.token_hex(16), now + fep_length_s)
        return self.free_entry_point


@dataclass(frozen=True, slots=True)
class Group:
    """A group with its members; each of them gets, and pays for, a delivery of their own.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/groups/reference
    """

    id: str
    subject: str
    members: tuple[User, ...]

    def as_json(self) -> dict[str, Any]:
        """Write it as Graph does."""
        return {
            "id": self.id,
            "subject": self.subject,
            "suspended": False,
            "total_participant_count": len(self.members),
            "participants": [{"wa_id": user.wa_id, "user_id": user.user_id} for user in self.members],
        }


class Users:
    """Everybody whom the simulator met, and what is open between them and each number."""

    def __init__(self) -> None:
        self._users: OrderedDict[str, User] = OrderedDict()
        self._windows: OrderedDict[tuple[str, str], Windows] = OrderedDict()
        self.groups: dict[str, Group] = {}

    def by_phone(self, wa_id: str, name: str = "") -> User:
        """Return the user of a phone number, who keeps the name that was last heard."""
        user_id = bsuid_of(wa_id)
        known = self._users.get(user_id)
        if known is None or (name and known.name != name):
            known = User(wa_id, user_id, name) if name else User(wa_id, user_id)
            self._users[user_id] = known
            if len(self._users) > USERS_MAX:
                self._users.popitem(last=False)
        return known

    def add_group(self, wa_ids: Sequence[str], subject: str = "", group_id: str = "") -> Group:
        """Make a group of phone numbers, or replace the one of that id."""
        made_up = base64.b64encode(f"capi_group:{secrets.token_hex(12)}".encode()).decode()
        group = Group(group_id or made_up, subject, tuple(self.by_phone(wa_id) for wa_id in wa_ids))
        if len(self.groups) >= GROUPS_MAX and group.id not in self.groups:
            raise ValueError(f"there are {GROUPS_MAX} groups already")
        self.groups[group.id] = group
        return group

    def by_user_id(self, user_id: str) -> User:
        """Return the user of a business-scoped user id; the phone number is known only if it was met before."""
        return self._users.get(user_id) or User("", user_id)

    def windows(self, phone_number_id: str, key: str) -> Windows:
        """Return what is open between a number and a user (`user_id`) or a group (its id)."""
        windows = self._windows.setdefault((phone_number_id, key), Windows())
        self._windows.move_to_end((phone_number_id, key))
        if len(self._windows) > USERS_MAX:
            self._windows.popitem(last=False)
        return windows
