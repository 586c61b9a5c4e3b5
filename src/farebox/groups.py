"""Who is in a group: a group message costs a fare for each member.

Source: Meta, "Groups API, pricing" and "get group info" (developers.facebook.com, business-messaging/whatsapp/groups).
"""

import logging
from typing import Any
from urllib.parse import quote

import aiohttp

from farebox.clock import Clock
from farebox.core.recipient import USER_ID
from farebox.directory import Number
from farebox.templates import GRAPH_VERSION
from farebox.upstream import Upstream

log = logging.getLogger(__name__)

KEEP_MS = 30_000  # people join and leave; a campaign to a group asks once
MAX_GROUPS = 10_000  # remembered at a time; a bound on memory
MAX_MEMBERS = 1_024  # of a group; one script call decides about all of them
_TIMEOUT = aiohttp.ClientTimeout(total=5)  # a send waits for it


class UnknownGroupError(Exception):
    """The members of a group could not be read, so its message can not be priced."""


class Groups:
    """Reads and remembers the members of groups."""

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        self._upstream = upstream
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}

    async def members(self, number: Number, group_id: str, token: str) -> tuple[str, ...]:
        """Return the members of a group as WhatsApp names them; raises UnknownGroupError."""
        key = (number.number_id, group_id)
        read_at_ms, members = self._known.get(key, (0, ()))
        if members and self._clock.now_ms() < read_at_ms + KEEP_MS:
            return members
        members = await self._read(group_id, token)
        if len(self._known) >= MAX_GROUPS:
            self._known.clear()
        self._known[key] = (self._clock.now_ms(), members)
        return members

    async def _read(self, group_id: str, token: str) -> tuple[str, ...]:
        url = f"{self._upstream.base_url}/{GRAPH_VERSION}/{quote(group_id, safe='')}"
        headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"}
        try:
            async with self._upstream.session.get(
                url, params={"fields": "participants"}, headers=headers, timeout=_TIMEOUT
            ) as answer:
                answer.raise_for_status()
                content = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise UnknownGroupError(type(error).__name__) from error
        members = tuple(user for user in map(_user, _participants(content)) if user)
        if not 0 < len(members) <= MAX_MEMBERS:
            raise UnknownGroupError(f"{len(members)} members")
        return members


def _participants(content: Any) -> list[Any]:
    found = content.get("participants") if isinstance(content, dict) else None
    return found if isinstance(found, list) else []


def _user(participant: Any) -> str:
    """Return a member's phone number, or business-scoped user id where the number is hidden."""
    if not isinstance(participant, dict):
        return ""
    wa_id, user_id = participant.get("wa_id"), participant.get("user_id")
    if isinstance(wa_id, str) and wa_id.isascii() and wa_id.isdigit():
        return wa_id
    return user_id if isinstance(user_id, str) and USER_ID.fullmatch(user_id) else ""
