"""What the log says: a line for each decision with its hold, the request's id; and what it never says."""

import asyncio
import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from farebox import logs
from farebox.core.tariff import Class
from farebox.logs import HIDDEN, Format, Lines, Record, TurnHandler, masked
from harness import APP_SECRET, NUMBER, UPSTREAM_TOKEN, USER, World, lead_upstream, template, text

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TEXT = "the quick brown fox"


class Kept(logging.Handler):
    """Keeps lines as they are written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(Lines("json"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def about(self, message: str) -> list[Any]:
        return [line for line in map(json.loads, self.lines) if line["message"].startswith(message)]


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler, logger = Kept(), logging.getLogger()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


async def test_each_decision_is_a_line_with_its_hold_and_its_request(world: World, kept: Kept) -> None:
    refused = await world.send(template(), headers={"X-Request-Id": "shop-17", "traceparent": TRACEPARENT})
    await world.fund("1.00")
    sent = await world.send(template())
    await world.books_kept()
    assert (refused.status, refused.headers["X-Request-Id"]) == (402, "shop-17")
    (line,) = kept.about("send refused")
    assert (line["request_id"], line["number"], line["class"], line["available"]) == ("shop-17", NUMBER, "paid", "0.00")
    assert line["trace_id"] == TRACEPARENT.split("-")[1]
    (line,) = kept.about("send accepted")
    assert (line["hold"], line["fare"]) == (sent.headers["X-Farebox-Hold"], sent.headers["X-Farebox-Fare"])
    assert line["request_id"] == sent.headers["X-Request-Id"]
    (line,) = kept.about("hold settled")
    assert (line["hold"], line["billed"]) == (sent.headers["X-Farebox-Hold"], "0.0034")


async def test_no_token_text_or_number_is_in_it(world: World, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.fund("1.00")
    path = f"/v23.0/{NUMBER}/messages?access_token={world.key}"
    await world.call("POST", path, json=text(body=TEXT))
    await world.call("GET", f"/v23.0/{NUMBER}?access_token={world.key}")
    await world.call("POST", "/v23.0//messages?access_token=EAAGsecret12345678", json=text(body=TEXT))
    await world.whatsapp.write_in(USER, TEXT)
    await world.books_kept()
    lead_upstream(world.gate, "http://127.0.0.1:9")
    assert (await world.send(text(body=TEXT))).status == 502

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"failed for {USER} with Bearer {world.key} at access_token={world.key}")

    monkeypatch.setattr(type(world.gate.funds), "reserve", broken)
    assert (await world.send(text(body=TEXT))).status == 500
    written = "\n".join(kept.lines)
    assert "RuntimeError" in written
    for secret in (world.key, UPSTREAM_TOKEN, APP_SECRET, TEXT, USER, "EAAGsecret"):
        assert secret not in written


async def test_a_request_id_that_is_none_is_replaced(world: World) -> None:
    answered = await world.send(template(), headers={"X-Request-Id": "a b\tc"})
    assert len(answered.headers["X-Request-Id"]) == 16
    async with world.session.get(f"{world.admin_url}/healthz", headers={"X-Request-Id": "x-1"}) as answer:
        assert answer.headers["X-Request-Id"] == "x-1"
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"mode": "shadow"})
    (row, *_) = (await world.admin("GET", "/v1/audit"))["audit"]
    assert row["request_id"]


@pytest.mark.parametrize(
    ("said", "secret"),
    [
        ("key fbx_abcdefgh12345678", "abcdefgh"),
        ("GET /v1?access_token=abc&x=1", "abc"),
        ("Authorization: Bearer s3cret-token", "s3cret"),
        ("postgresql://farebox:pa55@db/x", "pa55"),
        ("token EAAGm0PX4ZCpsBA", "EAAGm0"),
    ],
)
def test_what_looks_like_a_token_is_masked(said: str, secret: str) -> None:
    assert secret not in masked(said)


def test_text_for_people() -> None:
    record = logging.LogRecord("farebox.x", logging.INFO, "", 0, "send %s", ("accepted",), None)
    record.fields = {"hold": "h-1", "why": None}
    line = Lines("text").format(record)
    assert line.endswith("Z INFO farebox.x send accepted hold=h-1")


class Wire(io.StringIO):
    """A stream that knows how often it was written to."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return len(text)


@pytest.fixture
def wire() -> Iterator[Wire]:
    """What a logger of the test's own writes."""
    handler, wire = TurnHandler(), Wire()
    handler.setStream(wire)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("test.turns")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield wire
    logger.removeHandler(handler)


async def test_the_lines_of_one_turn_are_written_together_and_in_order(wire: Wire) -> None:
    log = logging.getLogger("test.turns")
    log.info("one")
    log.info("two")
    assert wire.writes == []
    await asyncio.sleep(0)
    assert wire.writes == ["one\ntwo\n"]
    log.info("three")
    await asyncio.sleep(0)
    assert wire.writes == ["one\ntwo\n", "three\n"]


async def test_a_warning_is_written_at_once_behind_what_came_before(wire: Wire) -> None:
    log = logging.getLogger("test.turns")
    log.info("one")
    log.warning("two")
    assert wire.writes == ["one\ntwo\n"]
    await asyncio.sleep(0)
    assert wire.writes == ["one\ntwo\n"]


def test_a_loop_that_ends_before_its_turn_does_keeps_no_later_line_back(wire: Wire) -> None:
    log = logging.getLogger("test.turns")
    loop = asyncio.new_event_loop()
    loop.call_soon(lambda: (log.info("one"), loop.stop()))
    loop.run_forever()
    loop.close()

    async def later() -> None:
        log.info("two")
        await asyncio.sleep(0)

    asyncio.run(later())
    assert "".join(wire.writes) == "one\ntwo\n"


def test_without_a_loop_every_line_is_written_at_once(wire: Wire) -> None:
    log = logging.getLogger("test.turns")
    log.info("one")
    log.info("two")
    assert wire.writes == ["one\n", "two\n"]


async def test_the_line_of_a_thread_is_written_too(wire: Wire) -> None:
    await asyncio.to_thread(logging.getLogger("test.turns").info, "one")
    assert wire.writes == ["one\n"]


PIECES = (
    *("fbx_abcdefgh", "EAAabcdefgh1", "eaa", "access_token=abc", "hub.verify_token=x", "input_token=y"),
    *(" Bearer abcdefghi", "BEARER abcdefghij", "oauth ABCDEFGHI", "appsecret_proof=z", "redis://u:p@h"),
    *("://", "token", "=", " ", "plain"),
)


@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
def test_the_short_cut_past_lines_without_a_token_finds_every_token(text: str) -> None:
    assert masked(text) == logs._TOKENS.sub(HIDDEN, text)


def as_it_was_defined(record: logging.LogRecord, form: str) -> str:
    """A line, written with no regard to what it costs."""
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    own = {"request_id": logs.request_id(), "trace_id": logs._trace_id.get()}
    fields = {name: value for name, value in {**own, **record.fields}.items() if value not in (None, "")}
    trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
    trace = logs._NUMBERS.sub(rf"{HIDDEN}\1", logs._TOKENS.sub(HIDDEN, trace))
    message = logs._TOKENS.sub(HIDDEN, record.getMessage())
    if form == "json":
        head = {"at": at, "level": record.levelname, "logger": record.name, "message": message}
        return logs._TOKENS.sub(HIDDEN, json.dumps(head | fields | ({"trace": trace} if trace else {}), default=str))
    pairs = logs._TOKENS.sub(HIDDEN, "".join(f" {name}={value}" for name, value in fields.items()))
    return f"{at} {record.levelname} {record.name} {message}{pairs}" + (f"\n{trace}" if trace else "")


SAID = st.lists(st.sampled_from((*PIECES, '"', "\n", "\\", "ü", "\ud800", "+4915112345678")), max_size=5).map("".join)
VALUES = SAID | st.none() | st.booleans() | st.integers() | st.uuids() | st.sampled_from(Class) | st.lists(SAID)
NAMES = st.sampled_from(["hold", "number", "why", "message", "at", "ü"])
MOMENTS = st.floats(0, 4e9) | st.integers(0, 4_000_000_000_000).map(lambda ms: ms / 1000)


@given(st.sampled_from(["json", "text"]), MOMENTS, SAID, st.dictionaries(NAMES, VALUES), st.none() | SAID)
@example("json", 1_795_000_000.9999999, "", {}, None)  # rounds up into the next second
@example("json", 1_795_000_000.0009999, "", {}, None)
@example("text", 1.0, "bearer", {"hold": "abcdefghi"}, None)  # not a token, though it looks like one across the line
def test_a_line_says_what_it_did_when_nothing_was_spared(
    form: Format, created: float, said: str, fields: dict[str, Any], failed: str | None
) -> None:
    error = None if failed is None else (RuntimeError, RuntimeError(failed), None)
    record = logging.LogRecord("farebox.x", logging.INFO, "", 0, "send %s", (said,), error)
    record.created, record.fields = created, fields
    assert Lines(form).format(record) == as_it_was_defined(record, form)


@pytest.mark.parametrize("args", [(), ("x",), ("x", 1), ({"a": 1},), ({},), (["x"],)])
@pytest.mark.parametrize("failed", [None, (ValueError, ValueError("x"), None)])
def test_our_records_say_what_loggings_own_do(args: Any, failed: Any) -> None:
    made = [
        make("farebox.x", logging.INFO, "", 0, "%s", args, failed, None, None) for make in (logging.LogRecord, Record)
    ]
    for record in made:
        record.created = 1.5
    assert made[0].args == made[1].args
    if args and args != ("x", 1):
        assert Lines("json").format(made[0]) == Lines("json").format(made[1])


WORKER = """
import logging
from farebox.logs import start_logs
start_logs("INFO", "json")
log = logging.getLogger("farebox.x")
log.debug("no line")
log.info("of a %(kind)s", {"kind": "dictionary"}, extra={"fields": {"hold": "h-1"}})
log.info("%d", "no number")
log.warning("the last one")
"""


def test_a_process_that_logs_writes_its_lines_and_says_which_it_could_not() -> None:
    ended = subprocess.run([sys.executable, "-c", WORKER], check=True, capture_output=True, text=True)
    lines = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    assert [line["message"] for line in lines] == ["of a dictionary", "the last one"]
    assert (lines[0]["level"], lines[0]["logger"], lines[0]["hold"]) == ("INFO", "farebox.x", "h-1")
    assert "no number" in ended.stderr


def test_ids_of_requests_tell_them_apart() -> None:
    given = [logs.start_request({}) for _ in range(1000)]
    assert len(set(given)) == 1000
    assert all(re.fullmatch(r"[0-9a-f]{16}", request_id) for request_id in given)
    assert logs.start_request({"X-Request-Id": "shop-17", "traceparent": TRACEPARENT}) == logs.request_id() == "shop-17"
    assert logs._trace_id.get() == TRACEPARENT.split("-")[1]
    assert logs.start_request({"X-Request-Id": "a b"}) != "a b"
    assert logs._trace_id.get() == ""
