"""What is written down of a hold once WhatsApp has answered. Whatever fails here, the answer to the client stands."""

import asyncio
import logging
from functools import partial
from typing import Any
from uuid import UUID

from farebox.answers import ids_of
from farebox.batch import OverloadedError
from farebox.core.reply import Reply
from farebox.funds import Reserved
from farebox.gate import UNAVAILABLE, Gate

log = logging.getLogger(__name__)


async def note_accepted(gate: Gate, reserved: Reserved, reply: Reply, *, wait: bool) -> None:
    """Record the wamid, and `wait` until it is recorded.

    If that fails the message is out all the same, and WhatsApp's answer stands: to one of ours the client would send
    again. A status webhook that brings the hold id brings the wamid too; only without one the client waits.
    """
    wamid, wa_id = ids_of(reply.body)
    try:
        noted = gate.funds.accept(reserved, wamid, wa_id, may_gather=not wait)
    except OverloadedError:
        log.warning("hold %s: accepted by the upstream, not yet noted: overloaded", reserved.hold_id)
        return
    except Exception:
        log.exception("hold %s: accepted by the upstream, not noted", reserved.hold_id)
        return
    noted.add_done_callback(partial(_noted, reserved.hold_id))
    if wait:
        await asyncio.wait([noted])


async def give_back(gate: Gate, reserved: Reserved) -> None:
    """Give back the hold of a message that WhatsApp did not take."""
    try:
        await gate.funds.reject(reserved)
    except UNAVAILABLE as error:
        log.warning("hold %s: not given back yet: %s", reserved.hold_id, error)
    except Exception:
        log.exception("hold %s: not given back", reserved.hold_id)


def _noted(hold_id: UUID, noted: "asyncio.Future[Any]") -> None:
    error = asyncio.CancelledError() if noted.cancelled() else noted.exception()
    if isinstance(error, UNAVAILABLE):
        log.warning("hold %s: accepted by the upstream, not yet noted: %s", hold_id, error)
    elif error is not None:
        log.error("hold %s: accepted by the upstream, not noted", hold_id, exc_info=error)
