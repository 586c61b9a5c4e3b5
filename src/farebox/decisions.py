"""Decisions about sends and their holds: each counted, and one line of the log."""

import logging
from uuid import UUID

from farebox import metrics
from farebox.cells import children
from farebox.core.money import format_micros

log = logging.getLogger(__name__)
_sends = children(metrics.SENDS)


def decided(
    outcome: str,
    *,
    message_class: str,
    category: str,
    number_id: str | None = None,
    hold_id: UUID | str | None = None,
    fare_micros: int | None = None,
    available_micros: int | None = None,
    why: str | None = None,
) -> None:
    """Count a send by its outcome, and write its line. Nothing of the message itself is in it."""
    _sends(message_class, category, outcome).inc()
    if log.isEnabledFor(logging.INFO):
        fields = {
            "hold": hold_id,
            "number": number_id,
            "class": message_class,
            "category": category,
            "fare": None if fare_micros is None else format_micros(fare_micros),
            "available": None if available_micros is None else format_micros(available_micros),
            "why": why,
        }
        log.info("send %s", outcome, extra={"fields": fields})


def ended(hold_id: UUID, number_id: str, billed_micros: int, *, late: bool) -> None:
    """Write the line of a hold's end: what it was charged."""
    if log.isEnabledFor(logging.INFO):
        fields = {"hold": hold_id, "number": number_id, "billed": format_micros(billed_micros), "late": late or None}
        log.info("hold %s", "settled" if billed_micros else "released", extra={"fields": fields})
