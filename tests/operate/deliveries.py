"""What WhatsApp says when a message was delivered."""

import json
import time

from acceptance.site import Site
from farebox.core.signature import sign
from harness import APP_SECRET, NUMBER, USER, WABA


async def deliver(site: Site, wamid: str, hold_id: str) -> None:
    """Report a delivery, with the hold id that the message carried, as WhatsApp does."""
    status = {
        "biz_opaque_callback_data": hold_id,
        "id": wamid,
        "status": "delivered",
        "timestamp": str(int(time.time())),
        "recipient_id": USER,
        "pricing": {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"},
    }
    value = {"metadata": {"phone_number_id": NUMBER}, "statuses": [status]}
    body = json.dumps({"entry": [{"id": WABA, "changes": [{"field": "messages", "value": value}]}]}).encode()
    headers = {"X-Hub-Signature-256": sign(body, APP_SECRET)}
    async with site.session.post(f"{site.url}/webhooks/meta", data=body, headers=headers) as answer:
        assert answer.status == 200
