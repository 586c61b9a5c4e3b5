"""What a simulated WhatsApp remembers: the time, the messages it accepted, the requests it saw."""

import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .config import Number
from .conversations import Conversation
from .pricing import Kind, Pricing
from .users import FreeEntryPoint, User

# Bodies and headers of remembered messages together; a sandbox left running over a load test must not eat the machine.
REMEMBERED_BYTES_MAX = 256 * 1024 * 1024
# Requests of every kind kept for `sim.requests`; one is about 300 bytes.
REQUESTS_MAX = 10_000

SECRET_HEADERS = frozenset({"authorization", "d360-api-key", "cookie", "proxy-authorization"})


def without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    """Copy headers for people to read: names as they came, secrets blanked."""
    return {name: "(hidden)" if name.lower() in SECRET_HEADERS else value for name, value in headers.items()}


@dataclass(slots=True)
class Clock:
    """The one clock of the simulator: real time plus an offset that a test may set."""

    offset_s: float = 0.0

    def now(self) -> float:
        """Return the time everything here goes by, in Unix seconds."""
        return time.time() + self.offset_s

    def set(self, unix_s: float) -> None:
        """Make it now this time; it goes on running from there."""
        self.offset_s = unix_s - time.time()


@dataclass(slots=True)
class Accepted:
    """A message that was accepted, and what became of it since."""

    wamid: str
    number: Number
    path: str
    body: dict[str, Any]
    raw: bytes
    headers: dict[str, str]
    accepted_at: float
    type: str
    kind: Kind
    user: User
    dialect: str
    by_user_id: bool = False
    group_id: str = ""
    echo: str | None = None
    template_id: str = ""
    direct_send: bool = False
    members: tuple[User, ...] = ()
    """Who is in the group it went to."""
    in_service_window: bool = False
    free_entry_point: FreeEntryPoint | None = None
    conversation: Conversation | None = None
    """Under conversation-based pricing: the one it belongs to."""
    override: dict[str, Any] = field(default_factory=dict)
    """Wins over the rules in every `pricing` of this message."""
    statuses: list[str] = field(default_factory=list)
    """What happened so far, in order."""
    charges: dict[str, Pricing] = field(default_factory=dict)
    """The price of each delivery, by user id; set once, by the first delivered or read."""

    @property
    def settled(self) -> Pricing | None:
        """The price it was delivered at, once it was."""
        return next(iter(self.charges.values()), None)

    def as_json(self) -> dict[str, Any]:
        """Show it to a person."""
        return {
            "wamid": self.wamid,
            "phone_number_id": self.number.phone_number_id,
            "accepted_at": int(self.accepted_at),
            "path": self.path,
            "type": self.type,
            "category": self.kind.value,
            "to": self.group_id or self.user.wa_id or self.user.user_id,
            "body": self.body,
            "headers": self.headers,
            "statuses": list(self.statuses),
            "pricing": None if self.settled is None else self.settled.as_json(),
        }


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request of any kind, as it arrived; secrets blanked."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    http_status: int


class Memory:
    """The accepted messages in order, the last `limit` of them, found by id."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._by_wamid: OrderedDict[str, Accepted] = OrderedDict()
        self.requests: deque[SeenRequest] = deque(maxlen=REQUESTS_MAX)

    def add(self, message: Accepted) -> None:
        """Remember a message and forget the oldest ones past the limits."""
        self._by_wamid[message.wamid] = message
        self._bytes += len(message.raw)
        while len(self._by_wamid) > self._limit or self._bytes > REMEMBERED_BYTES_MAX:
            _, oldest = self._by_wamid.popitem(last=False)
            self._bytes -= len(oldest.raw)

    def find(self, wamid: str) -> Accepted | None:
        """Return the message of an id, if it is still remembered."""
        return self._by_wamid.get(wamid)

    def __iter__(self) -> Iterator[Accepted]:
        return iter(self._by_wamid.values())

    def clear(self) -> None:
        """Forget everything."""
        self._by_wamid.clear()
        self._bytes = 0
        self.requests.clear()
