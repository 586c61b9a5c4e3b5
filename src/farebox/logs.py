"""The log: one line a record, as JSON or as text for people, each with the id of its request.

No line shows a token: what looks like one is masked here, whoever wrote it, in stack traces too, and there also every
number that a user could be called by. Message texts and full phone numbers are not logged in the first place.
"""

import asyncio
import json
import logging
import math
import random
import re
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any, Literal, TextIO

Format = Literal["text", "json"]

REQUEST_ID = "X-Request-Id"  # as it came, or a new one; answers and log lines carry it
TRACEPARENT = "traceparent"
MAX_REQUEST_ID = 128
_REQUEST_ID = re.compile(rf"[A-Za-z0-9._:/+=@-]{{1,{MAX_REQUEST_ID}}}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")  # W3C Trace Context
_trace_id: ContextVar[str] = ContextVar("farebox_trace_id", default="")
_request_id: ContextVar[str] = ContextVar("farebox_request_id", default="")

# farebox's keys, Meta's tokens, and what stands where a token stands.
_TOKENS = re.compile(
    r"fbx_[\w-]{8,}|EAA\w{8,}|(?<=access_token=)[^&\s\"']+|(?<=input_token=)[^&\s\"']+"
    r"|(?<=hub.verify_token=)[^&\s\"']+|(?<=appsecret_proof=)[^&\s\"']+|(?i:(?<=bearer )|(?<=oauth ))[^\s\"',]{8,}"
    r"|(?<=://)[^/@\s]*:[^/@\s]*(?=@)"
)
_NUMBERS = re.compile(r"(?<![\w.-])\+?\d{4,11}(\d{4})(?![\w.-])")  # 8 to 15 digits, as telephone numbers have
HIDDEN = "***"
# One of these is in every text that _TOKENS finds something in, and in few lines: to look for them is much faster.
_MARKS = ("fbx_", "eaa", "token=", "appsecret_proof=", "bearer ", "oauth ", "://")
_encode, _text = json.JSONEncoder(default=str).encode, encode_basestring_ascii
_ids = random.Random()  # noqa: S311  ids of requests tell them apart and are no secret


def start_request(headers: Mapping[str, str]) -> str:
    """Give the request at hand its id: the one that it brings, if it is one, else a new one; and note its trace."""
    given, traceparent = headers.get(REQUEST_ID, ""), headers.get(TRACEPARENT, "")
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    _trace_id.set(found[1] if found else "")
    request_id = given if given and _REQUEST_ID.fullmatch(given) else f"{_ids.getrandbits(64):016x}"
    _request_id.set(request_id)
    return request_id


def request_id() -> str:
    """Return the id of the request at hand, empty outside of one."""
    return _request_id.get()


def masked(text: str) -> str:
    """Return a text without what looks like a token."""
    return _TOKENS.sub(HIDDEN, text) if _may_hold_token(text) else text


def _may_hold_token(text: str) -> bool:
    return any(map(text.lower().__contains__, _MARKS))


class Record(logging.LogRecord):
    """A record without what no line shows: the file, thread and process, which logging takes twice as long to find."""

    filename, lineno = "", 0  # asked for where a line can not be written

    def __init__(
        self, name: str, level: int, _path: str, _line: int, msg: object, args: Any, exc_info: Any, *_: Any
    ) -> None:
        self.created = time.time()
        self.name, self.levelno, self.levelname = name, level, logging.getLevelName(level)
        self.msg, self.exc_info, self.exc_text, self.stack_info = msg, exc_info, None, None
        self.args = args[0] if len(args) == 1 and isinstance(args[0], Mapping) and args[0] else args


class Lines(logging.Formatter):
    """Writes records: `extra={"fields": {...}}` of a log call are fields of the line."""

    def __init__(self, form: Format) -> None:
        super().__init__()
        self._json = form == "json"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line (or, with a stack trace as text, the lines) of a record."""
        given = {"request_id": request_id(), "trace_id": _trace_id.get(), **getattr(record, "fields", {})}
        fields = {name: value for name, value in given.items() if value is not None and value != ""}
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        line = self._line(record, fields, trace, mask=str)
        return self._line(record, fields, trace, mask=masked) if _may_hold_token(line) else line

    def _line(
        self, record: logging.LogRecord, fields: dict[str, Any], trace: str, *, mask: Callable[[str], str]
    ) -> str:
        at, message = _at(record.created), mask(record.getMessage())
        trace = _NUMBERS.sub(rf"{HIDDEN}\1", mask(trace)) if trace else ""
        if self._json:
            head = {"at": at, "level": record.levelname, "logger": record.name, "message": message}
            return mask(_object(head | fields | ({"trace": trace} if trace else {})))
        pairs = "".join(f" {name}={value}" for name, value in fields.items())
        return f"{at} {record.levelname} {record.name} {message}{mask(pairs)}" + (f"\n{trace}" if trace else "")


def _at(created_s: float) -> str:
    """Write a moment as JSON texts do: the second of many lines is written once."""
    fraction, whole = math.modf(created_s)
    micros = round(fraction * 1_000_000)  # as datetime rounds, which then cuts to milliseconds
    second = int(whole) + micros // 1_000_000
    return f"{_second(second)}.{micros % 1_000_000 // 1000:03d}Z"


@lru_cache(maxsize=16)
def _second(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


def _object(fields: dict[str, Any]) -> str:
    """Write a JSON object as json.dumps does, which would make an encoder for each; nearly all values are texts."""
    pairs = [
        f"{_text(name)}: {_text(value) if isinstance(value, str) else _encode(value)}" for name, value in fields.items()
    ]
    return "{" + ", ".join(pairs) + "}"


class TurnHandler(logging.StreamHandler[TextIO]):
    """Writes the lines of one turn of the event loop together; what is a warning or worse at once."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []
        self._turn_of: asyncio.AbstractEventLoop | None = None  # the loop at the end of whose turn they are written

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line; it is written when the turn ends, at once where no turn will."""
        try:
            self._lines.append(self.format(record) + self.terminator)
            if record.levelno >= logging.WARNING:
                self.flush()
            elif self._turn_of is None or self._turn_of.is_closed():  # it may have ended before its turn did
                self._wait_for_the_end_of_the_turn()
        except Exception:
            self.handleError(record)

    def _wait_for_the_end_of_the_turn(self) -> None:
        try:
            self._turn_of = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            self._turn_of.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._turn_of = None
        self.flush()

    def flush(self) -> None:
        """Write what was taken."""
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            if lines:
                self.stream.write("".join(lines))
            super().flush()


def start_logs(level: str, form: Format) -> None:
    """Write everything from a level on to stderr."""
    handler = TurnHandler()
    handler.setFormatter(Lines(form))
    logging.basicConfig(level=level, handlers=[handler])
    # What no line shows need not be found out for each (logging's HOWTO, "Optimization").
    logging._srcfile = None
    logging.setLogRecordFactory(Record)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
