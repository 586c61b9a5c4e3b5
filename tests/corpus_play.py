"""Plays one line of the corpus. The words are those of corpus/README.txt."""

import json
import re
from collections.abc import Callable, Coroutine
from datetime import date
from typing import Any
from uuid import uuid4

from corpus_before import Before
from corpus_files import Case
from corpus_stage import Stage, bare, local_ms, message, parse_duration_ms
from farebox.core.hold import State
from farebox.core.money import format_micros, parse_micros
from farebox.core.reply import Reply
from farebox.core.tariff import When
from farebox.sweep import Sweep

DAY = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}(:\d{2})?")
RESULT = re.compile(r"(free|paid) ([\d.]+) by (\w+) in (.+?)( of note)?")
BY = {When.FREE_ENTRY_POINT: "fep", When.FREE_ENTRY_POINT_OFFERED: "offer"}
ENDS = {"settled": State.SETTLED, "released": State.RELEASED, "expired": State.EXPIRED, "waiting": State.ACCEPTED}
MOODS = ("rejects", "vanishes", "unreachable")
STATUSES = ("sent", "delivered", "read by user", "failed")
WITHOUT_HOLD = {"refused": 402, "bad": 400, "unavailable": 503}
SENDS = ("text", "image", "reaction", "read", "typing", "template", "direct", "{")


class Play:
    """One number and what happens to it."""

    def __init__(self, stage: Stage, number_id: str) -> None:
        self.stage = stage
        self.before = Before(stage, number_id)
        self.mood = "takes"
        self.reply: Reply | None = None
        self.sent: list[tuple[str, str, str]] = []  # hold id, wamid, user
        self.forwarded = 0
        self.moved: set[str] = set()  # templates that are in another category during this line

    async def run(self, case: Case) -> None:
        given = [*case.given]
        cells = list(case.cells)
        while cells and self.before.takes(cells[0]):
            given.append(cells.pop(0))
        await self.before.set_up(given)
        try:
            await self._play_all(case, cells)
        finally:
            for name in self.moved:
                await self._category(f"category {name} -> {name}")

    async def _play_all(self, case: Case, cells: list[str]) -> None:
        for cell in cells:
            for part in cell.split(", ") if not cell.startswith("{") else [cell]:
                try:
                    await self._play(part)
                except AssertionError as error:
                    error.add_note(f"{case.place}: {part}")
                    raise

    async def check_books(self) -> None:
        assert (await self.stage.compared(self.before.number)).differences == []

    async def _play(self, cell: str) -> None:
        verbs: dict[str, Callable[[str], Coroutine[Any, Any, None]]] = {
            "wrote": self._inbound, "clicked ad": self._inbound, "called": self._inbound,
            "category": self._category, "top up": self._top_up, "lost wallet": self._lose, "sweep": self._sweep,
            "opens": self._check_opens, "overdrawn": self._check_overdrawn,
            "left": self._check_money, "held": self._check_money, "pool": self._check_pool,
        }  # fmt: skip
        if DAY.fullmatch(cell):
            await self.stage.set_clock(local_ms(cell, self.before.zone))
        elif cell.startswith("+"):
            await self.stage.set_clock(self._now_ms() + parse_duration_ms(cell[1:]))
        elif cell in MOODS:
            self.mood = cell
        elif cell.startswith(STATUSES):
            await self._status(cell)
        elif cell.startswith(tuple(verbs)):
            await next(verb for word, verb in verbs.items() if cell.startswith(word))(cell)
        elif cell.startswith(tuple(ENDS)):
            await self._check_end(cell)
        elif cell.startswith(("free ", "paid ")):
            await self._check_taken(cell)
        elif cell in ("refused", "bad", "unmetered", "rejected", "unknown", "unavailable"):
            self._check_reply(cell)
        else:
            await self._send(cell)

    def _now_ms(self) -> int:
        return self.stage.gate.clock.now_ms()

    async def _send(self, cell: str) -> None:
        what, _, to = cell.partition(" to ")
        user = to or self.before.user
        assert what.startswith(SENDS), f"nothing known begins like {cell!r}"
        body = json.loads(cell) if cell.startswith("{") else message(what.split(), user)
        self.forwarded = len(self.stage.upstream.sent)
        self.reply = await self.stage.send(self.before.number, body, self.mood)
        self.mood = "takes"
        headers = dict(self.reply.headers)
        if "X-Farebox-Hold" in headers:
            wamid = json.loads(self.reply.body)["messages"][0]["id"] if self.reply.status == 200 else ""
            self.sent.append((headers["X-Farebox-Hold"], wamid, user))

    def _check_reply(self, wanted: str) -> None:
        assert self.reply is not None
        headers, passed = dict(self.reply.headers), len(self.stage.upstream.sent) > self.forwarded
        if wanted in WITHOUT_HOLD:
            assert (self.reply.status, passed) == (WITHOUT_HOLD[wanted], False), (self.reply.status, headers)
        elif wanted == "unmetered":
            assert (self.reply.status, passed, "X-Farebox-Hold" in headers) == (200, True, False)
        else:
            assert self.reply.status == {"rejected": 400, "unknown": 504}[wanted]

    async def _check_taken(self, cell: str) -> None:
        assert self.reply is not None
        assert "X-Farebox-Hold" in dict(self.reply.headers), self.reply.body
        found = RESULT.fullmatch(cell)
        assert found is not None, f"not understood: {cell!r}"
        wanted_class, fare, by, market, note = found.groups()
        headers = dict(self.reply.headers)
        hold = await self.stage.hold(headers["X-Farebox-Hold"])
        wanted = (wanted_class, format_micros(parse_micros(fare)), by, market)
        found_here = (headers["X-Farebox-Class"], headers["X-Farebox-Fare"], self._by(hold), hold["market"])
        assert found_here == wanted, found_here
        assert (hold["class"], hold["fare_micros"]) == (wanted_class, parse_micros(fare))
        assert bool(hold["note"]) >= bool(note)

    def _by(self, hold: Any) -> str:
        tariff = self.stage.gate.tariffs.of(hold["regime"], date.max)
        rules = {rule for rules in tariff.rules.values() for rule in rules if rule.why == hold["why"]}
        (when,) = {rule.when for rule in rules}
        if when is When.ALWAYS and hold["state_evidence"].startswith("csw") and hold["fare_micros"] == 0:
            return "csw"
        return BY.get(when, when.value)

    async def _status(self, cell: str) -> None:
        said = next(word for word in STATUSES if cell.startswith(word))
        hold_id, wamid, user = self.sent[self._which(cell)]
        fields: dict[str, Any] = {"id": wamid or "wamid.unknown", "status": "read" if said == "read by user" else said}
        if not wamid:
            fields["biz_opaque_callback_data"] = hold_id
        recipient = _after(cell, "for") or user
        fields["recipient_id" if recipient[:1] in "+0123456789" else "recipient_user_id"] = bare(recipient)
        on = re.search(r" on (\d{4}-\d{2}-\d{2} [\d:]{5,8})", cell)
        at_ms = local_ms(on[1], self.before.zone) if on else self._now_ms()
        fields["timestamp"] = str(at_ms // 1000)
        plain = re.sub(r" (of|for|conversation|until) \S+| on \S+ \S+", "", cell.removeprefix(said)).split()
        conversation = _after(cell, "conversation")
        if plain:
            fields["pricing"] = _pricing(*plain)
        if conversation or _after(cell, "until"):
            fields["conversation"] = {"id": conversation or uuid4().hex, "origin": {"type": plain[-1]}}
            if until := _after(cell, "until"):
                ends_ms = at_ms + parse_duration_ms(until)
                fields["conversation"]["expiration_timestamp"] = str(ends_ms // 1000)
        if said == "failed":
            fields["errors"] = [{"code": 131026, "title": "undeliverable"}]
        await self.stage.webhook(self.before.number, {"statuses": [fields]})

    def _which(self, cell: str) -> int:
        which = _after(cell, "of")
        return int(which) - 1 if which else -1

    async def _inbound(self, cell: str) -> None:
        ago = re.search(r"(\S+) ago", cell)
        at_ms = self._now_ms() - (parse_duration_ms(ago[1]) if ago else 0)
        user = _after(cell, "by") or self.before.user
        name = "from" if user[:1] in "+0123456789" else "from_user_id"
        fields = {name: bare(user), "id": uuid4().hex, "timestamp": str(at_ms // 1000), "type": "text"}
        if cell.startswith("called"):
            await self.stage.webhook(self.before.number, {"calls": [{**fields, "direction": "USER_INITIATED"}]})
            return
        if cell.startswith("clicked"):
            fields |= {"referral": {"source_type": "ad", "source_id": "1", "ctwa_clid": "x"}}
        await self.stage.webhook(self.before.number, {"messages": [fields]})

    async def _category(self, cell: str) -> None:
        """Move a template to another category, for this line only."""
        name, category = cell.removeprefix("category ").split(" -> ")
        self.moved = self.moved | {name}
        change = {
            "message_template_name": name, "message_template_language": "en",
            "previous_category": name.upper(), "new_category": category.upper(),
        }  # fmt: skip
        await self.stage.webhook(self.before.number, change, "template_category_update")
        await self.stage.gate.directory.load_templates(self.stage.gate.ledger)

    async def _top_up(self, cell: str) -> None:
        await self.before.top_up(parse_micros(cell.removeprefix("top up ")))

    async def _lose(self, _cell: str) -> None:
        client, key = self.stage.gate.wallet._redis, f"farebox:{{{self.before.number.number_id}}}:*"
        await client.delete(*[name async for name in client.scan_iter(match=key, count=10_000)])

    async def _sweep(self, _cell: str) -> None:
        await Sweep(self.stage.gate).run()

    async def _check_opens(self, cell: str) -> None:
        opens = (await self.stage.hold(self.sent[-1][0]))["opens"]
        assert opens == cell.removeprefix("opens "), opens

    async def _check_overdrawn(self, _cell: str) -> None:
        assert (await self.stage.hold(self.sent[-1][0]))["overdrawn"] is True

    async def _check_end(self, cell: str) -> None:
        word, *rest = re.sub(r" of \S+", "", cell).split()
        hold = await self.stage.hold(self.sent[self._which(cell)][0])
        state = State(hold["state"])
        assert state is ENDS[word] or (word == "waiting" and state is State.RESERVED), state
        if rest:
            assert hold["billed_micros"] == parse_micros(rest[0]), hold["billed_micros"]

    async def _check_money(self, cell: str) -> None:
        facts = (await self.stage.compared(self.before.number)).facts
        what, amount = cell.split()
        micros = facts.held_micros if what == "held" else facts.available_micros
        assert micros == parse_micros(amount), format_micros(micros)

    async def _check_pool(self, cell: str) -> None:
        count, _, month = cell.removeprefix("pool ").partition(" of ")
        used = await self.stage.units(self.before.number, self.before.pool(month))
        assert used == int(count), used


def _after(cell: str, word: str) -> str:
    found = re.search(rf" {word} (\S+)", cell)
    return found[1] if found else ""


def _pricing(kind: str, category: str) -> dict[str, Any]:
    """Write what a webhook says about a price. Conversation-based pricing has no type, only whether it is billable."""
    if kind in ("billable", "free"):
        return {"billable": kind == "billable", "pricing_model": "CBP", "category": category}
    return {"billable": kind == "regular", "pricing_model": "PMP", "type": kind, "category": category}
