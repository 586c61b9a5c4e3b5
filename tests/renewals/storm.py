"""The rounds."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from farebox import topups
from farebox.config import Settings
from farebox.core.fare import price
from farebox.core.message import Kind, Message
from farebox.core.renewal import BACKOFF_MS, PENDING_MS
from farebox.core.topup import topup_of
from farebox.funds import Fare, Refused
from farebox.gate import Gate, open_gate
from farebox.reconcile import compare
from farebox.watch import follow_wakes, look, watch_pass
from renewals.provider import Provider

GATES = 3
THRESHOLD, AMOUNT = 1_000_000, 1_000_000  # micro-units
CHARGE = 1_040_000  # with the provider's 4 %
FARE = 136_500  # a marketing template to Germany
CAPPED_AT = 10  # payments that fit under the cap of a capped number
MORE_SENDS = 3  # than a crossing needs, at most
MINUTE_MS = 60_000
KINDS = {"on": 40, "off": 4, "capped": 4, "declined": 2}  # numbers of a storm


@dataclass
class Storm:
    """Gateways, numbers, and what was seen."""

    gates: list[Gate]
    provider: Provider
    dice: random.Random
    kinds: dict[str, str]
    seen: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    async def cross(self, number_id: str) -> None:
        """Let a number fall below its threshold by concurrent sends of all gateways, and its payment play out."""
        before = await self.paid(number_id)
        available = (await self.money(number_id))["available_micros"]
        sends = max(1, -(-(available - THRESHOLD + 1) // FARE)) + self.dice.randrange(MORE_SENDS + 1)
        await asyncio.gather(*(self.send(self.dice.choice(self.gates), number_id) for _ in range(sends)))
        self.seen["crossings" if self.kinds[number_id] == "on" else f"crossings {self.kinds[number_id]}"] += 1
        kind = self.kinds[number_id]
        for _ in range(12):
            await asyncio.gather(*(self.look(gate, number_id) for gate in self.gates))
            await self.events(number_id)
            if kind != "on" or (await self.money(number_id))["available_micros"] >= THRESHOLD:
                break
            self.advance(MINUTE_MS + (BACKOFF_MS[0] if number_id in self.provider.declined_last else 0))
            await watch_pass(self.dice.choice(self.gates))
        paid = await self.paid(number_id) - before
        self.seen[f"paid {kind}"] += paid
        if kind == "on" and paid != 1:
            self.wrong.append(f"number {number_id}: {paid} payments for a crossing")
        if kind == "off" and paid:
            self.wrong.append(f"number {number_id} is off, and {paid} payments were made")
        if kind != "on" and (await self.money(number_id))["available_micros"] <= 0:
            await self.fund(number_id, 2 * AMOUNT)

    async def send(self, gate: Gate, number_id: str) -> None:
        number = gate.directory.numbers[number_id]
        message = Message(Kind.TEMPLATE, user="4915112345678", template_name="t")
        priced = price(message, template_category="marketing", tariff=gate.tariffs.at(number, gate.clock.now_ms()))
        outcome = await gate.funds.reserve(number, message, [Fare(message.user, priced, message.user)])
        gate.wakes.saw(number_id, outcome.available_micros, watch_micros=number.watch_micros)
        self.seen["refused" if isinstance(outcome, Refused) else "sends"] += 1

    async def look(self, gate: Gate, number_id: str) -> None:
        self.seen["looks"] += 1
        await look(gate, gate.directory.numbers[number_id])

    async def events(self, number_id: str) -> None:
        """Deliver the events of a number's payments: lost, or up to three times, to any gateway, in any order."""
        rows = await self.gates[0].ledger.fetch("topups", [number_id], 5)
        told = []
        for row in (row for row in rows if row["topup_id"] in self.provider.payments):
            self.provider.free(row["topup_id"])
            times = self.dice.choice((0, 0, 1, 1, 2, 3))
            self.seen[("lost", "told once", "doubled", "doubled")[times]] += 1
            told += [topup_of(row)] * times
        self.dice.shuffle(told)
        await asyncio.gather(*(self.hear(self.dice.choice(self.gates), topup) for topup in told))

    async def hear(self, gate: Gate, topup: Any) -> None:
        await topups.look(gate, gate.directory.numbers[topup.number_id], topup)

    async def money(self, number_id: str) -> Any:
        now_ms = self.gates[0].clock.now_ms()
        return await self.gates[0].ledger.fetch_one("watched", number_id, now_ms, now_ms - PENDING_MS)

    async def paid(self, number_id: str) -> int:
        """How many automatic payments the ledger has credited, or waits for."""
        return int(
            await self.gates[0].ledger._pool.fetchval(
                "SELECT count(*) FROM topup WHERE number_id = $1 AND why = 'auto-renewal' "
                "AND state IN ('pending', 'succeeded')",
                number_id,
            )
        )

    async def fund(self, number_id: str, micros: int) -> None:
        number = self.gates[0].directory.numbers[number_id]
        key = f"by hand {self.dice.random()}"
        topup = await topups.begin(self.gates[0], number, amount_micros=micros, method="manual", key=key)
        assert isinstance(topup, topups.Topup)
        await self.gates[0].funds.confirm(number, topup.topup_id)

    def advance(self, ms: int) -> None:
        for gate in self.gates:
            gate.clock._ahead_ms += ms


@asynccontextmanager
async def open_storm(settings: Settings, seed: int, kinds: dict[str, int]) -> AsyncIterator[Storm]:
    """Make gateways and numbers; the clock stands at the beginning of next month, so that a cap lasts a whole storm."""
    async with AsyncExitStack() as stack:
        dice = random.Random(seed)
        provider = Provider(dice)
        settings = settings.model_copy(
            update={"sandbox_payments": True, "wallet_timeout_s": 30, "ledger_timeout_s": 60}
        )
        gates = [await stack.enter_async_context(open_gate(settings)) for _ in range(GATES)]
        names = [(f"{place + 1}", kind) for place, kind in enumerate(k for k, n in kinds.items() for _ in range(n))]
        storm = Storm(gates, provider, dice, dict(names))
        now = datetime.fromtimestamp(gates[0].clock.now_ms() / 1000, UTC)
        first = (now.replace(day=1, hour=1, minute=0) + timedelta(days=32)).replace(day=1)
        storm.advance(int((first - now).total_seconds() * 1000))
        await _add_numbers(storm)
        for gate in gates:
            gate.payments["sandbox"] = provider  # type: ignore[index]
            await gate.directory.load(gate.ledger)
        for number_id, _ in names:
            await storm.fund(number_id, THRESHOLD + FARE)
        tasks = [asyncio.create_task(follow_wakes(gate)) for gate in gates]
        yield storm
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _add_numbers(storm: Storm) -> None:
    gate = storm.gates[0]
    pool = gate.ledger._pool
    await pool.execute("INSERT INTO account (account_id, name, currency, created_at) VALUES ('a', 'A', 'USD', now())")
    for number_id, kind in storm.kinds.items():
        await pool.execute(
            "INSERT INTO number (number_id, account_id, currency, mode, created_at) "
            "VALUES ($1, 'a', 'USD', 'shadow', now())",
            number_id,
        )
        await pool.execute("INSERT INTO balance (number_id) VALUES ($1)", number_id)
        cap = CAPPED_AT * CHARGE + CHARGE // 2 if kind == "capped" else 10**12
        mode = "off" if kind == "off" else "manual"
        rule = (number_id, mode, "sandbox", THRESHOLD, AMOUNT, cap, None, gate.clock.now_ms())
        await gate.ledger.fetch("put_renewal_rule", *rule)
        if kind == "declined":
            storm.provider.always_declined.add(number_id)


async def storm(settings: Settings, *, crossings: int, seed: int, kinds: dict[str, int]) -> Storm:
    """Cross thresholds until there were so many, then look at all books."""
    async with open_storm(settings, seed, kinds) as it:
        while it.seen["crossings"] < crossings and not it.wrong:
            await asyncio.gather(*(it.cross(number_id) for number_id in it.kinds))
            if it.seen["crossings"] % 1_000 < kinds["on"]:
                print(f"\r{it.seen['crossings']} of {crossings} crossings ", end="", flush=True)  # noqa: T201
        for _ in range(3):  # what is still under way is found
            it.advance(MINUTE_MS)
            await watch_pass(it.gates[0])
        await _books(it)
    return it


async def _books(it: Storm) -> None:
    """Compare the ledger with the provider's books, the wallets with the ledger, and the caps with both."""
    for number_id, kind in it.kinds.items():
        row = await it.gates[0].ledger._pool.fetchrow(
            "SELECT coalesce(sum(amount_micros + fee_micros) FILTER (WHERE credited_at IS NOT NULL), 0)::bigint "
            "AS total, "
            "count(*) FILTER (WHERE state = 'pending') AS pending, count(*) FILTER (WHERE state = 'failed') AS failed "
            "FROM topup WHERE number_id = $1 AND why = 'auto-renewal'",
            number_id,
        )
        charged = it.provider.charged_micros(number_id)
        it.seen["charged"] += charged
        if (row["total"], row["pending"]) != (charged, 0):
            it.wrong.append(f"number {number_id}: the provider charged {charged}, the ledger credited {dict(row)}")
        if kind == "capped":
            it.seen["most of a capped number"] = max(it.seen["most of a capped number"], charged)
        if kind == "capped" and charged > CAPPED_AT * CHARGE + CHARGE // 2:
            it.wrong.append(f"number {number_id}: {charged} charged, above the cap")
        if kind == "declined" and charged:  # seen at the end alone: before, a try of another gateway may be on its way
            it.wrong.append(f"number {number_id} is always declined, and {charged} were charged")
        if kind == "declined":
            it.seen["tries of a declined number"] = max(it.seen["tries of a declined number"], row["failed"])
    async for row in compare(it.gates[0].ledger, it.gates[0].wallet):
        it.wrong += [f"number {row.facts.number_id}: {text}" for text in row.differences]
