"""What the machine's WhatsApp says of messages, and the loop that its steps run on."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from machine_model import Model, Said, Sent


class Loop:
    """An event loop in a thread of its own, for a machine whose steps are ordinary functions."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def name_price(model: Model, said: Said, turn: str) -> None:
    """Let WhatsApp say what it makes of a message: mostly what is expected, at times something else."""
    sent, regime = said.sent, model.regime(said.at)
    before = sent.regime in ("four", "free service")
    if before and regime in ("four", "free service"):
        if sent.by in ("fep", "offer"):
            said.kind, said.category, said.conversation = "free", "referral_conversion", f"f{sent.user}"
            return
        said.kind = "billable" if sent.paid else "free"
        said.category, said.conversation = _conversation_category(model, sent), sent.conversation
        return
    if sent.by == "conversation" and sent.conversation in model.charged and not before:
        said.kind, said.category, said.conversation = "billable", "utility", sent.conversation
        return
    said.category = sent.category
    replies = regime == "replies"
    if sent.by in ("fep", "offer"):
        charged = turn == "other" and (replies or sent.category != "service")
        said.kind = "regular" if charged else "free_entry_point"
    elif turn == "fep":
        said.kind = "free_entry_point"
    elif sent.category == "service" and not sent.paid:
        said.kind = "regular" if turn == "other" and replies else "free_customer_service"
    elif sent.by == "csw":
        said.kind = "regular" if replies else "free_customer_service"
    elif sent.category == "service" and not replies:
        said.kind = "free_customer_service"
    else:
        said.kind = "free_customer_service" if turn == "free" else "regular"
        said.category = "marketing" if turn == "other" else sent.category


def _conversation_category(model: Model, sent: Sent) -> str:
    """Return the category of the conversation that a message is part of: that of the message which first opened it."""
    return next(one.category for one in model.messages if one.conversation == sent.conversation)


def webhook_of(said: Said) -> dict[str, Any]:
    """Write a status as it comes over the wire."""
    fields: dict[str, Any] = {
        "id": said.sent.wamid or f"wamid.{said.sent.hold_id}", "status": said.word, "recipient_id": said.sent.user,
        "timestamp": str(said.at // 1000), "biz_opaque_callback_data": said.sent.hold_id,
    }  # fmt: skip
    if said.kind in ("billable", "free"):
        fields["pricing"] = {"billable": said.kind == "billable", "pricing_model": "CBP", "category": said.category}
        fields["conversation"] = {"id": said.conversation, "origin": {"type": said.category}}
    elif said.kind:
        price = {"billable": said.kind == "regular", "pricing_model": "PMP", "type": said.kind}
        fields["pricing"] = {**price, "category": said.category}
    return fields
