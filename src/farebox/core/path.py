"""Which requests are sends: by the shape of the path, so that nothing walks around the box.

    POST /{version}/{phone number id}/messages            Cloud API, metered
    POST /{version}/{phone number id}/marketing_messages  Cloud API, metered
    POST /messages                                        360dialog, metered; the key says which number
    POST /marketing_messages                              360dialog, metered; likewise
    POST /v1/messages                                     on-premise style, metered; likewise
    POST /{version}/{phone number id}/calls               Calling API; a call that connects is paid

A POST that has a send's look and is none of these is refused unless a setting says otherwise, so that an endpoint that
Meta adds tomorrow can not walk around the box. Everything else passes, except what could be a send in disguise: an
encoded slash, a dot segment, a `#` or a stray space (two parsers may disagree on where it leads), a POST to the root or
to `/me` (Graph's batch of calls), another path that ends in a send's name.
"""

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from farebox.core.reply import Dialect

SEND_NAMES = frozenset({"messages", "marketing_messages"})
CALLS = "calls"
# Words in the name of an endpoint that make it look like a send, and the endpoints that only look so.
_SEND_WORDS = ("message", "send", "broadcast", "campaign")
_NO_SENDS = frozenset({"message_templates", "upsert_message_templates", "message_template_previews", "message_qrdls"})
_VERSION = re.compile(r"v\d{1,3}(\.\d{1,3})?")
_ID = re.compile(r"\d{1,64}")
# What ends or changes a path for some readers and not for others; no path of WhatsApp has any of it. An HTTP client
# cuts a fragment off, so that `/messages#x` would arrive as `/messages`.
_STRAY = re.compile(r"[\x00-\x20\x7f#;?\\]|//")
_READING = ("GET", "HEAD", "OPTIONS", "DELETE")  # methods that send nothing, wherever they lead
# Graph takes the fields of a call from the query as well as from the body, and `method` replaces the HTTP method.
_SEND_FIELDS = frozenset(
    {"to", "recipient", "recipient_type", "type", "template", "category", "text", "status", "method", "batch"}
)


class BadPathError(ValueError):
    """The path could mean different things to different readers. The text says what to do."""


class UnknownSendError(BadPathError):
    """The path looks like a send and is none that is known."""


class Route(NamedTuple):
    """Where a request leads. `ids` are what could name a number or an account: segments, and `phone_number_id`.

    `send`: it is metered; `call`: as a call, not as a message.
    """

    send: bool
    number_id: str | None
    dialect: Dialect
    ids: tuple[str, ...]
    call: bool = False


def dialect_of(raw_path: str, *, d360_key: bool) -> Dialect:
    """Return whose errors the caller of any path reads: by its first segments, else by the header of its key."""
    match raw_path.strip("/").split("/"):
        case [version, number, *_] if _VERSION.fullmatch(version) and _ID.fullmatch(number):
            return Dialect.CLOUD
        case ["v1", *_]:
            return Dialect.ON_PREMISE
        case [first, *_] if first in ("configs", "media", *SEND_NAMES):
            return Dialect.D360
    return Dialect.D360 if d360_key else Dialect.CLOUD


def read_path(
    method: str, raw_path: str, query: str, *, d360_key: bool = False, pass_unknown_sends: bool = False
) -> Route:
    """Classify a request; raises BadPathError."""
    read = _classify if query else _known
    return read(method, raw_path, query, d360_key, pass_unknown_sends)


def _classify(method: str, raw_path: str, query: str, d360_key: bool, pass_unknown_sends: bool) -> Route:  # noqa: FBT001
    segments = _segments(raw_path)
    pairs = parse_qsl(query, keep_blank_values=True) if query else []
    fields = {name for name, _ in pairs}
    if "method" in fields or "batch" in fields:
        raise BadPathError("method and batch in the query are not supported; make the call itself")
    # Media ids say nothing about their number, so clients of several numbers name it beside them.
    named = [value for name, value in pairs if name == "phone_number_id"]
    ids = tuple([id_ for id_ in [*segments, *named] if _ID.fullmatch(id_)])
    last = segments[-1].lower() if segments else ""
    if method == "POST":
        _refuse_disguises(segments)
    known = last in SEND_NAMES or last == CALLS
    if method not in _READING and (known or (method == "POST" and _looks_like_send(last))):
        if method != "POST":
            raise BadPathError(f"a message is sent with POST, not with {method}")
        if known and fields & _SEND_FIELDS:
            raise BadPathError(
                f"{', '.join(sorted(fields & _SEND_FIELDS))} must be in the body of a send, not in its query"
            )
        send = _send(segments, ids) if known else None
        if send is not None:
            return send
        if not pass_unknown_sends:
            raise UnknownSendError(
                f"{last[:40]} looks like a send but is none that is known; "
                "use /{version}/{phone number id}/messages"
            )
    return Route(send=False, number_id=None, dialect=dialect_of(raw_path, d360_key=d360_key), ids=ids)


# Sends go to few paths, and one without a query holds no token.
_known = lru_cache(maxsize=512)(_classify)


def _send(segments: list[str], ids: tuple[str, ...]) -> Route | None:
    match segments:
        case ["messages" | "marketing_messages"]:
            return Route(send=True, number_id=None, dialect=Dialect.D360, ids=ids)
        case ["v1", "messages"]:
            return Route(send=True, number_id=None, dialect=Dialect.ON_PREMISE, ids=ids)
        case [version, number, name] if _VERSION.fullmatch(version) and _ID.fullmatch(number):
            return Route(send=True, number_id=number, dialect=Dialect.CLOUD, ids=ids, call=name.lower() == CALLS)
        case [number, name] if _ID.fullmatch(number):
            return Route(send=True, number_id=number, dialect=Dialect.CLOUD, ids=ids, call=name.lower() == CALLS)
    return None


def _looks_like_send(last: str) -> bool:
    return last not in _NO_SENDS and any(word in last for word in _SEND_WORDS)


def _refuse_disguises(segments: list[str]) -> None:
    if _takes_batches(segments):
        raise BadPathError("batches of calls are not supported; make each call on its own")
    if not SEND_NAMES.isdisjoint([segment.lower() for segment in segments[:-1]]):
        # Below a send only marking as read is known, and that is a PUT.
        raise BadPathError("nothing is posted below /messages; send with POST /messages, mark as read with PUT")


def _segments(raw_path: str) -> list[str]:
    path = unquote(raw_path)
    if path.count("/") != raw_path.count("/") or _STRAY.search(path):
        raise BadPathError(
            "the path has an encoded or doubled slash or a stray character; write the path that you mean"
        )
    segments = path.strip("/").split("/")
    if "." in segments or ".." in segments:
        raise BadPathError("the path has a dot segment; write the path that you mean")
    return [] if segments == [""] else segments


def _takes_batches(segments: list[str]) -> bool:
    named = segments[1:] if segments and _VERSION.fullmatch(segments[0]) else segments
    return not named or [name.lower() for name in named] == ["me"]
