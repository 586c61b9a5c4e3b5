"""The state before a line of the corpus: the number's settings, its money, windows, conversations and units.

Everything goes into the ledger through the product's own queries; the wallet is then written by the product's rebuild.
"""

import re
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from corpus_stage import Stage, bare, local_ms, parse_duration_ms
from farebox.core.hold import Event
from farebox.core.money import parse_micros
from farebox.core.tariff import CUSTOMER_SERVICE, FREE_ENTRY_POINT, FREE_ENTRY_POINT_OFFER, month_of
from farebox.directory import Number
from farebox.rows import End, NewHold, new_hold_id
from farebox.windows import _open

DAY = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}(:\d{2})?")
WORDS = ("zone", "regime", "user", "funds", "cover", "block at", "shadow", "off", "markup")
STATE = ("csw", "fep", "offer", "conversation", "pool")
WINDOWS = {"csw": CUSTOMER_SERVICE, "fep": FREE_ENTRY_POINT, "offer": FREE_ENTRY_POINT_OFFER}
CURRENCY = re.compile(r"[A-Z]{3}")
MARKUP = re.compile(r"([\d.]+)%(?: \+ ([\d.]+))?(?: tax ([\d.]+)%)?")


class Before:
    """A number as a line finds it."""

    number: Number

    def __init__(self, stage: Stage, number_id: str) -> None:
        self._stage = stage
        self._number_id = number_id
        self.zone = ZoneInfo("UTC")
        self.user = "+16505551234"

    def takes(self, cell: str) -> bool:
        """Tell whether a cell speaks of the state before: all that stand in front of the first thing that happens."""
        return DAY.fullmatch(cell) is not None or CURRENCY.fullmatch(cell) is not None or cell.startswith(WORDS + STATE)

    async def set_up(self, cells: list[str]) -> None:
        """Write the state."""
        said = {"zone": "UTC", "regime": "auto", "funds": "10", "user": self.user, "block at": "0"}
        time, currency, state = "", "USD", []
        for cell in cells:
            word = next((word for word in WORDS if cell.startswith(word)), "")
            if DAY.fullmatch(cell):
                time = cell
            elif CURRENCY.fullmatch(cell):
                currency = cell
            elif cell.startswith(STATE):
                state.append(cell)
            else:
                said[word] = cell.removeprefix(word).strip()
        self.zone, self.user = ZoneInfo(said["zone"]), said["user"]
        await self._stage.set_clock(local_ms(time, self.zone))
        columns = {
            "currency": currency, "timezone": said["zone"], "regime": said["regime"],
            "mode": next((mode for mode in ("shadow", "off") if mode in said), "enforce"),
            "funds_rule": "cover" if "cover" in said else "above_zero",
            "block_at_micros": parse_micros(said["block at"]),
        }  # fmt: skip
        self.number = await self._stage.add_number(self._number_id, columns, _markup(said.get("markup", "0%")))
        funds_micros = parse_micros(said["funds"])
        if funds_micros > 0:
            await self.top_up(funds_micros)
        elif funds_micros < 0:
            await self._spend(-funds_micros)
        for cell in state:
            await self._add(cell)
        position = await self._stage.gate.wallet.position(self._number_id)  # made by the top-up, before the state
        await self._stage.gate.rebuild(self.number, stale_epoch=position.epoch if position else None)

    async def top_up(self, micros: int) -> None:
        await self._stage.gate.funds.credit(
            self.number, topup_id=uuid4(), amount_micros=micros, reference=uuid4().hex, method="manual"
        )

    def pool(self, month: str) -> str:
        """Return the name of the pool of now, or of a month."""
        tariff, day = self._stage.gate.tariffs.regime_at(self.number, self._stage.gate.clock.now_ms())
        return tariff.pool(month or month_of(day))

    async def _add(self, cell: str) -> None:
        match cell.split():
            case ["pool", count, *month]:
                await self._use_units(int(count), self.pool(month[1] if month else ""))
            case ["conversation", category, kind, left]:
                await self._open_conversation(category, kind, parse_duration_ms(left))
            case [window, left]:
                ends_ms = self._stage.gate.clock.now_ms() + parse_duration_ms(left)
                user = bare(self.user)
                await _open(self._stage.gate, self.number, [(user, WINDOWS[window], ends_ms, None)])
            case _:
                raise AssertionError(f"not understood: {cell!r}")

    async def _use_units(self, count: int, pool: str) -> None:
        """Let messages to others have used free units."""
        await self._stage.gate.ledger._pool.execute(
            "WITH used AS (INSERT INTO hold (hold_id, number_id, epoch, state, class, fare_micros, billed_micros, "
            "regime, category, market, why, rate_source, state_evidence, pool, recipient, created_at, expires_at, "
            "ended_by, ended_at, usage_day) SELECT gen_random_uuid(), $1, 0, 'settled', 'free', 0, 0, 'x', 'service', "
            "'x', 'x', '', '', $3, 'x', now(), now(), 'deliver', now(), current_date FROM generate_series(1, $2::int) "
            "RETURNING number_id, usage_day, category, market, class) "
            "INSERT INTO usage (number_id, day, category, market, class, messages, billed_micros) "
            "SELECT number_id, usage_day, category, market, class, count(*), 0 FROM used GROUP BY 1, 2, 3, 4, 5",
            self._number_id, count, pool,
        )  # fmt: skip

    async def _spend(self, micros: int) -> None:
        """Let earlier messages have cost more than there was."""
        hold = await self._past_hold(self._facts(message_class="paid", fare_micros=micros, category="marketing"))
        now_ms = self._stage.gate.clock.now_ms()
        assert await self._stage.gate.ledger.end(Event.DELIVER, [End(hold, self._number_id, micros)], now_ms)

    async def _open_conversation(self, category: str, kind: str, left_ms: int) -> None:
        """Let an earlier message have opened a conversation; it was charged a micro-unit that was there for it."""
        billed = int(kind == "paid")
        if billed:
            await self.top_up(billed)
        facts = self._facts(message_class=kind, fare_micros=billed, category=category, opens=category)
        hold = await self._past_hold(facts)
        now_ms = self._stage.gate.clock.now_ms()
        end = End(
            hold, self._number_id, billed, conversation_id=f"c-{category}", conversation_until_ms=now_ms + left_ms
        )
        assert await self._stage.gate.ledger.end(Event.DELIVER, [end], now_ms)

    def _facts(self, **facts: Any) -> dict[str, Any]:
        nothing = dict.fromkeys(NewHold._fields)
        texts = dict.fromkeys(("why", "rate_source", "state_evidence", "regime", "market"), "")
        return {**nothing, **texts, **facts, "recipient": bare(self.user), "overdrawn": False}

    async def _past_hold(self, facts: dict[str, Any]) -> UUID:
        gate = self._stage.gate
        now_ms = gate.clock.now_ms()
        epoch = await gate.ledger._pool.fetchval("SELECT epoch FROM number WHERE number_id = $1", self._number_id)
        named = {"hold_id": new_hold_id(now_ms), "number_id": self._number_id, "epoch": epoch}
        hold = NewHold(**{**facts, **named, "created_ms": now_ms, "expires_ms": now_ms + 1})
        assert await gate.ledger.record(hold)
        return hold.hold_id


def _markup(text: str) -> tuple[int, int, int]:
    found = MARKUP.fullmatch(text)
    assert found is not None, f"not understood: {text!r}"
    percent, fixed, tax = found.groups()
    return round(float(percent) * 10_000), parse_micros(fixed or "0"), round(float(tax or 0) * 10_000)
