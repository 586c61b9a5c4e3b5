"""Where the webhooks of a number go: through the gateway, whatever its application asks 360dialog for.

Applications of 360dialog set their webhook address themselves (`POST /v1/configs/webhook`), some each time that they
are set up. Passed on, that would lead the webhooks around the gateway: no message would be charged any more, and nobody
would notice, because the application still gets its messages. So the gateway answers these calls itself, for numbers
whose webhooks it takes with a secret: an application may ask for the address that its webhooks are relayed to anyway.
"""

import json
from urllib.parse import unquote

from farebox.access import Call
from farebox.core.reply import CODE_PERMISSION, Reply, error_reply

MAX_ADDRESS_BYTES = 16_384  # of a call that sets an address and its headers
NAMES = frozenset({"webhook", "waba_webhook"})  # of a number, of its account


def is_about_address(call: Call) -> bool:
    """Tell whether a call reads or sets the webhook address of a number whose webhooks come through the gateway."""
    named = not NAMES.isdisjoint(unquote(call.request.raw_path).lower().split("/"))
    return named and call.number is not None and call.number.webhook_secret is not None


def answer_address(call: Call) -> Reply:
    """Answer as 360dialog would: with the address that the application gets its webhooks at."""
    number = call.number
    assert number is not None, "it is about the address of a number"
    app_url = number.app_url or ""
    if call.request.method in ("GET", "HEAD") or (call.request.method == "POST" and _asks_for(call, app_url)):
        body = json.dumps({"url": app_url, "headers": {}}).encode()
        return Reply(200, body, (("Content-Type", "application/json"),))
    sentence = (
        "The webhooks of this number come through farebox, which relays them; to get them at this address, set it as "
        f"app_url of number {number.number_id} in the admin API."
    )
    return error_reply(call.route.dialect, status=403, code=CODE_PERMISSION, sentence=sentence)


def _asks_for(call: Call, app_url: str) -> bool:
    try:
        asked = json.loads(call.request.body)
    except (ValueError, RecursionError):
        return False
    return bool(app_url) and isinstance(asked, dict) and asked.get("url") == app_url
