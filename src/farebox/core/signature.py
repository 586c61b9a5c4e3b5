"""Meta's signature of a webhook: proof of who sent it, over the bytes as they came.

Source: Meta, "Webhooks, validate payloads" (developers.facebook.com): HMAC-SHA256 with the app secret.
"""

import hashlib
import hmac

SIGNATURE_HEADER = "X-Hub-Signature-256"


def sign(body: bytes, secret: str) -> str:
    """Return the signature header's value for a body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signature_ok(body: bytes, secret: str, header: str) -> bool:
    """Tell whether a payload was signed with this secret."""
    # A header that is no UTF-8 arrives with half surrogates; it is wrong, and no reason to fail.
    return hmac.compare_digest(sign(body, secret).encode(), header.encode(errors="surrogateescape"))
