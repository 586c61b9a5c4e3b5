"""The rows of applications' keys, and of who changed what."""

from farebox.admin import audit, key_limits, keys
from farebox.admin.models import Nothing
from farebox.admin.routing import Route, get, write

KEY_ROUTES: tuple[Route, ...] = (
    get("/v1/audit", "List who changed what, and why", audit.index, query=audit.AuditQuery, answers={200: audit.Audit}),
    get("/v1/keys", "List the applications' keys", keys.index, query=keys.KeysQuery, answers={200: keys.Keys}),
    write(
        "POST",
        "/v1/keys",
        "Make a key; it is shown this once",
        keys.post,
        body=keys.KeyPost,
        answers={201: keys.NewKey},
    ),
    write(
        "POST",
        "/v1/keys/{key_id}/rotate",
        "Give a key a new secret, shown this once; the one before works on for a while",
        keys.rotate,
        body=keys.Rotation,
        answers={200: keys.NewKey},
        problems=(404,),
    ),
    get(
        "/v1/keys/{key_id}/limits",
        "Show what a key may spend, and what counts against it",
        key_limits.show,
        query=Nothing,
        answers={200: key_limits.ShownKeyLimits},
        problems=(404,),
    ),
    write(
        "PUT",
        "/v1/keys/{key_id}/limits",
        "Replace what a key may spend on each of its numbers",
        key_limits.put,
        body=keys.KeyLimits,
        answers={200: key_limits.ShownKeyLimits},
        problems=(404,),
    ),
    write(
        "DELETE",
        "/v1/keys/{key_id}",
        "Revoke a key",
        keys.revoke,
        body=Nothing,
        answers={204: None},
        problems=(404,),
    ),
)
