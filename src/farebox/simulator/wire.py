"""How Meta writes things down: JSON, message ids, trace ids, signatures."""

import base64
import hashlib
import hmac
import json
import secrets
from typing import Any


def graph_json(value: Any) -> bytes:
    r"""Write JSON as Meta does: non-ASCII as `\uXXXX` and every slash as `\/`.

    A receiver that parses and dumps again before it checks the signature fails on real traffic; written
    like this it fails here too. A slash can only occur inside a string, so replacing it everywhere is safe.
    """
    return json.dumps(value, separators=(",", ":")).replace("/", "\\/").encode()


def sign(body: bytes, app_secret: str) -> str:
    """Value of `X-Hub-Signature-256` for a webhook body.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/create-webhook-endpoint
    """
    return "sha256=" + hmac.new(app_secret.encode(), body, hashlib.sha256).hexdigest()


def new_wamid(user: str, *, inbound: bool = False) -> str:
    """Make a message id of the form Meta uses: base64 of the user's number, a direction and a random part."""
    name = user.encode()[:64]
    direction = b"\x15\x02\x00\x12\x18\x12" if inbound else b"\x15\x02\x00\x11\x18\x12"
    packed = b"\x1c\x18" + bytes([len(name)]) + name + direction + secrets.token_hex(9).upper().encode() + b"\x00"
    return "wamid." + base64.b64encode(packed).decode()


def new_onpremise_id() -> str:
    """Make a message id of the on-premise form (`gBEGVz...`)."""
    return "gBEG" + secrets.token_urlsafe(15)


def new_trace() -> str:
    """Make an `fbtrace_id`."""
    return "A" + secrets.token_urlsafe(16)
