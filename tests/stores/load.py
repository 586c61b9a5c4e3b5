"""Many numbers that send at once through several gates, and what must be true of them afterwards."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import uuid4

from farebox.core.fare import price
from farebox.core.hold import Event
from farebox.core.message import Kind, Message
from farebox.directory import Number
from farebox.funds import Fare, Refused, Reserved
from farebox.gate import Gate
from farebox.ledger import LedgerUnavailableError
from farebox.reconcile import compare, repair
from farebox.rows import Resolution
from farebox.wallet import WalletUnavailableError
from stores.servers import until

FARE = 3_400  # a utility template to North America
USER = "1650555"
PAUSE_S = 0.01  # between two sends of one sender: the point is that they overlap, not how many there are


@dataclass
class Load:
    """Numbers with money for `fares` sends each, and what their sends came to."""

    gates: Sequence[Gate]
    numbers: list[Number]
    fares: int
    reserved: dict[str, list[Reserved]] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    sends: int = 0

    @classmethod
    async def on(cls, gates: Sequence[Gate], *, numbers: int, fares: int) -> "Load":
        """Make the numbers and fund them."""
        pool = gates[0].ledger._pool
        await pool.execute("INSERT INTO account (account_id, name, currency, created_at) VALUES ('a','A','USD',now())")
        ids = [str(100 + place) for place in range(numbers)]
        await pool.execute(
            "INSERT INTO number (number_id, account_id, currency, created_at) SELECT unnest($1::text[]), 'a', 'USD',"
            " now()",
            ids,
        )
        await pool.execute("INSERT INTO balance SELECT unnest($1::text[])", ids)
        for gate in gates:
            await gate.directory.load(gate.ledger)
        load = cls(gates, [gates[0].directory.numbers[id_] for id_ in ids], fares)
        for number in load.numbers:
            await gates[0].funds.credit(
                number, topup_id=uuid4(), amount_micros=fares * FARE, reference=str(uuid4()), method="manual"
            )
        return load

    async def send(self, gate: Gate, number: Number) -> str:
        """Send once, to a user of its own; some are delivered or fail at once. Return what became of it."""
        self.sends += 1
        message = Message(Kind.TEMPLATE, user=f"{USER}{self.sends:04}", template_name="t")
        priced = price(message, template_category="utility", tariff=gate.tariffs.at(number, gate.clock.now_ms()))
        try:
            reserved = await gate.funds.reserve(number, message, [Fare(message.user, priced, message.user)])
            if isinstance(reserved, Refused):
                outcome = "refused"
            else:
                outcome = "reserved"
                self.reserved.setdefault(number.number_id, []).append(reserved)
        except (WalletUnavailableError, LedgerUnavailableError) as error:
            outcome = type(error).__name__
        self.outcomes[outcome] += 1
        return outcome

    async def settle(self, gate: Gate, number: Number) -> None:
        """Deliver one of a number's messages and fail another."""
        waiting = self.reserved.get(number.number_id, [])
        for event in (Event.DELIVER, Event.FAIL):
            if waiting:
                (hold,) = await gate.ledger.find_holds([waiting.pop(0).hold_id], [])
                try:
                    await gate.funds.resolve(
                        event, [Resolution(hold, hold.fare_micros if event is Event.DELIVER else 0)]
                    )
                    self.outcomes[event.value] += 1
                except WalletUnavailableError:
                    self.outcomes[f"{event.value} late"] += 1  # the ledger has it, the wallet follows

    async def until(self, stop: asyncio.Event, *, settling: bool = True) -> None:
        """Send from every gate for every number until told to stop; settle some of it."""

        async def sender(gate: Gate, number: Number) -> None:
            while not stop.is_set():
                await self.send(gate, number)
                if settling and self.sends % 5 == 0:
                    await self.settle(gate, number)
                await asyncio.sleep(PAUSE_S)

        await asyncio.gather(*(sender(gate, number) for gate in self.gates for number in self.numbers))

    async def more(self, outcome: str = "") -> None:
        """Wait until the senders have sent as often again as there are numbers (with this outcome)."""

        def count() -> int:
            return self.outcomes[outcome] if outcome else self.outcomes.total()

        enough = count() + len(self.numbers)
        while count() < enough:  # noqa: ASYNC110  the senders set no event
            await asyncio.sleep(PAUSE_S)

    async def epochs(self) -> list[int]:
        """Return the epoch of each number's wallet in the ledger: it grows with every rebuild."""
        rows = await self.gates[0].ledger._pool.fetch("SELECT epoch FROM number ORDER BY number_id")
        return [row["epoch"] for row in rows]

    async def rebuilt_since(self, epochs: Sequence[int]) -> bool:
        """Tell whether every wallet was rebuilt."""
        return all(epoch > before for epoch, before in zip(await self.epochs(), epochs, strict=True))

    async def spend_all(self) -> None:
        """Send until every number is refused."""

        async def spend(number: Number) -> None:
            for gate in self.gates:
                while (outcome := await self.send(gate, number)) != "refused":
                    assert outcome == "reserved", outcome

        await asyncio.gather(*(spend(number) for number in self.numbers))

    async def sums_up(self) -> None:
        """Nothing doubled, nothing overspent, both stores agree; money that a crash left in the wallet comes back."""
        gate = self.gates[0]
        await until(partial(mended, gate))
        await self.spend_all()
        rows = [row async for row in compare(gate.ledger, gate.wallet)]
        assert [text for row in rows for text in row.differences] == []
        assert len(rows) == len(self.numbers)
        for row in rows:
            # Every fare that the money pays for was sold, and not one more: fares divide the money evenly.
            assert row.facts.available_micros == 0, row
        spent = await gate.ledger._pool.fetch(
            "SELECT number_id, count(*) FILTER (WHERE state IN ('reserved', 'accepted', 'settled')) AS paid FROM hold"
            " GROUP BY number_id"
        )
        assert {row["number_id"]: row["paid"] for row in spent} == {
            number.number_id: self.fares for number in self.numbers
        }


async def mended(gate: Gate) -> bool:
    """Do what the sweep does: rebuild each wallet that the ledger contradicts. False while a store is away."""
    try:
        async for row in compare(gate.ledger, gate.wallet):
            if row.differences:
                await repair(gate, row)
    except WalletUnavailableError:
        return False
    return True
