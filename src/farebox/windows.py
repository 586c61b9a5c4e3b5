"""Windows that webhooks open: what a user's message opens, and what a status proves to be open."""

from collections.abc import Iterable

from farebox.core.tariff import (
    CUSTOMER_SERVICE,
    FREE_ENTRY_POINT,
    FREE_ENTRY_POINT_OFFER,
    LONGEST_WINDOW_MS,
    Window,
)
from farebox.core.webhook import Inbound, Status
from farebox.directory import Number
from farebox.gate import Gate


async def take_inbound(gate: Gate, number: Number, inbound: Iterable[Inbound]) -> None:
    """Open the windows of users who wrote."""
    now_ms = gate.clock.now_ms()
    tariff, _ = gate.tariffs.regime_at(number, now_ms)
    windows: list[Window] = []
    for message in inbound:
        # A window starts when the user wrote, which can not lie in the future whatever the timestamp says.
        start_ms = min(message.at_ms or now_ms, now_ms)
        for user in message.users:
            windows.append((user, CUSTOMER_SERVICE, start_ms + tariff.customer_service_ms, None))
            if message.from_ad:
                windows.append((user, FREE_ENTRY_POINT_OFFER, start_ms + tariff.free_entry_point_answer_ms, None))
    await _open(gate, number, windows)


async def take_proven(gate: Gate, number: Number, statuses: Iterable[Status]) -> None:
    """Open the free entry points that statuses prove.

    Where one says until when, that counts. Every message of the window proves it; without an end, the first one does.
    """
    now_ms = gate.clock.now_ms()
    tariff, _ = gate.tariffs.regime_at(number, now_ms)
    windows: list[Window] = [
        (user, FREE_ENTRY_POINT, believable_end_ms(status.conversation_until_ms, now_ms), None)
        if status.conversation_until_ms is not None
        else (user, FREE_ENTRY_POINT, min(status.at_ms, now_ms) + tariff.free_entry_point_ms, status.at_ms)
        for status in statuses
        if status.pricing is not None and status.pricing.free_entry_point
        for user in status.users
    ]
    await _open(gate, number, windows)


def believable_end_ms(ends_ms: int, now_ms: int) -> int:
    """Return the end of a window or conversation as far as it is believed: none lasts longer than all that there are.

    An end in the year 9999 would make a user's messages free for ever.
    """
    return min(ends_ms, now_ms + LONGEST_WINDOW_MS)


async def _open(gate: Gate, number: Number, windows: list[Window]) -> None:
    """Open windows in the ledger first: a wallet that is rebuilt meanwhile finds them there."""
    if not windows:
        return
    # One statement may not touch a row twice: a known end counts, the latest one; else the earliest start.
    ranked = sorted(windows, key=lambda window: (window[3] is None, window[2] if window[3] is None else -window[2]))
    rows = list({(user, kind): (user, kind, ends_ms, start_ms) for user, kind, ends_ms, start_ms in ranked}.values())
    await gate.ledger.fetch("open_windows", [number.number_id] * len(rows), *zip(*rows, strict=True))
    await gate.wallet.open_windows(number.number_id, rows)
