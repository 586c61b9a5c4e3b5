"""A year of a busy account, made from a seed: roll-ups, top-ups and balances that agree, and the last days raw.

The months before are as `farebox retain` leaves them: their holds and entries dropped, their totals kept. So the books
are exact at any volume, and only as many single messages are written as somebody wants to look at.
"""

import random
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

import asyncpg

MARKETS = {
    "Germany": (136_500, 55_000), "North America": (25_000, 3_400), "Brazil": (62_500, 6_800),
    "India": (11_800, 1_400), "United Kingdom": (52_900, 22_000), "Spain": (61_500, 20_000),
    "France": (85_900, 30_000), "Mexico": (30_500, 8_500), "Indonesia": (41_100, 25_000), "Other": (60_400, 7_700),
}  # fmt: skip
CATEGORIES = (("marketing", "paid", 0, 34), ("utility", "paid", 1, 27), ("utility", "free", None, 14),
              ("service", "free", None, 20), ("authentication", "paid", 1, 5))  # fmt: skip
WEEKDAYS = (100, 108, 112, 110, 125, 70, 55)  # a shop's week


@dataclass
class Year:
    """What is made: for these numbers, until before this day, about so many messages."""

    numbers: list[str]
    until: date
    messages: int
    days: int = 365
    seed: int = 20261125
    raw_days: int = 0  # of the last days, each message has a hold and its entry
    spent: dict[str, int] = field(default_factory=dict)

    async def write(self, connection: asyncpg.Connection) -> None:
        chance = random.Random(self.seed)
        rows = []
        for place, number in enumerate(self.numbers):
            share = self.messages * 2 * (len(self.numbers) - place) // (len(self.numbers) * (len(self.numbers) + 1))
            rows += list(self._usage(chance, number, share))
        await connection.copy_records_to_table(
            "usage",
            records=rows,
            columns=["number_id", "day", "category", "market", "class", "messages", "billed_micros",
                     "dropped_messages", "dropped_micros"],
        )  # fmt: skip
        async with connection.transaction():
            await self._money(connection, rows)
        await self._raw(connection)
        await connection.execute("ANALYZE")
        if self.raw_days:  # as autovacuum does in the course of a day; it tells the block range indexes what is where
            await connection.execute("VACUUM hold, entry")

    def _usage(self, chance: random.Random, number: str, share: int):  # type: ignore[no-untyped-def]
        first = self.until - timedelta(days=self.days)
        for offset in range(self.days):
            day = first + timedelta(days=offset)
            season = 100 + (60 if day.month in (11, 12) else 0) + offset * 40 // self.days
            today = share * WEEKDAYS[day.weekday()] * season * chance.randint(85, 115) // (97 * 127 * 100 * self.days)
            for category, class_, rate, part in CATEGORIES:
                for market, rates in MARKETS.items():
                    count = today * part * chance.randint(4, 16) // (100 * 100)
                    billed = count * rates[rate] if rate is not None else 0
                    if count:
                        raw = (self.until - day).days <= self.raw_days
                        gone = (0, 0) if raw else (count, billed)
                        yield number, day, category, market, class_, count, billed, *gone

    async def _money(self, connection: asyncpg.Connection, rows: list[tuple[object, ...]]) -> None:
        """Top-ups at the start of each month that pay for what it used, and the totals of what was dropped."""
        used: dict[tuple[str, date], int] = {}
        dropped: dict[tuple[str, date], list[int]] = {}
        for number, day, *_, count, billed, _gone, gone_micros in rows:
            month = day.replace(day=1)  # type: ignore[attr-defined]
            used[number, month] = used.get((number, month), 0) + billed  # type: ignore[index, operator]
            if gone_micros:
                total = dropped.setdefault((number, month), [0, 0])  # type: ignore[arg-type]
                total[0] += count  # type: ignore[operator]
                total[1] += gone_micros  # type: ignore[operator]
        for (number, month), micros in used.items():
            at = datetime.combine(month, time(9), UTC)
            amount = (
                micros // 1_000_000 + 20 + 9 * len(self.numbers) * (1 + self.numbers.index(number)) ** 2
            ) * 1_000_000
            topup = uuid.uuid5(uuid.NAMESPACE_URL, f"{number}/{month}")
            await connection.execute(
                "INSERT INTO topup (topup_id, number_id, reference, method, amount_micros, state, created_at, "
                "credited_at) "
                "VALUES ($1, $2, $3, 'manual', $4, 'succeeded', $5, $5)",
                topup, number, f"invoice {month:%Y-%m}", amount, at,
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO entry (number_id, kind, from_book, into_book, amount_micros, topup_id, at) "
                "VALUES ($1, 'topup', 'outside', 'number', $2, $3, $4)",
                number, amount, topup, at,
            )  # fmt: skip
            self.spent[number] = self.spent.get(number, 0) - amount
        for (number, month), (count, micros) in dropped.items():
            await connection.execute(
                "INSERT INTO entry_total VALUES ($1, $2, 'settle', 'number', 'usage', $3, $4)",
                number, month, count, micros,
            )  # fmt: skip
            self.spent[number] = self.spent.get(number, 0) + micros
        for number, spent in self.spent.items():
            await connection.execute(
                "UPDATE balance SET balance_micros = balance_micros - $2, entries_micros = balance_micros - $2 "
                "WHERE number_id = $1",
                number, spent,
            )  # fmt: skip

    async def _raw(self, connection: asyncpg.Connection) -> None:
        """Write the single messages of the last days, as the roll-up counts them."""
        for back in range(self.raw_days, 0, -1):
            async with connection.transaction():
                await connection.execute(_RAW, self.until - timedelta(days=back))


# Spread over the day; ids of holds sort by time, recipients and wamids differ.
_RAW = """
WITH counted AS (
    SELECT u.*, row_number() OVER (ORDER BY number_id, category, market, class, n) AS i,
           count(*) OVER () AS whole
    FROM usage u, generate_series(1, u.messages) AS n WHERE day = $1
), timed AS (
    SELECT *, billed_micros / messages AS fare, ($1::date)::timestamp AT TIME ZONE 'UTC'
              + interval '24 hours' * ((i * 7919) % whole) / whole AS at
    FROM counted
), held AS (
    INSERT INTO hold (hold_id, number_id, epoch, state, class, fare_micros, billed_micros, regime, category, market,
                      why, rate_source, state_evidence, recipient, template, client_reference, wamid, ended_by, webhook,
                      created_at, expires_at, ended_at, usage_day)
    SELECT overlay(first_hold_id(at)::text placing lpad(to_hex(i), 12, '0') from 25)::uuid, number_id, 0, 'settled',
           class, fare, fare,
           'pmp-2026-10', category, market, CASE class WHEN 'paid' THEN 'a template outside the window is paid'
                                                 ELSE 'the customer service window is open' END,
           '', '', '49151' || lpad((i * 48271 % 100000000)::text, 8, '0'), 'order_update/en_US',
           CASE WHEN i % 10 = 0 THEN 'order-' || i END, 'wamid.' || md5($1::text || i), 'deliver',
           '{"status": "delivered"}', at, at + interval '30 days', at, $1
    FROM timed
    RETURNING hold_id, number_id, billed_micros, ended_at
), booked AS (
    INSERT INTO entry (number_id, kind, from_book, into_book, amount_micros, hold_id, at)
    SELECT number_id, 'settle', 'number', 'usage', billed_micros, hold_id, ended_at FROM held
    WHERE billed_micros > 0 ORDER BY ended_at
    RETURNING number_id, amount_micros
)
UPDATE balance SET balance_micros = balance_micros - moved.micros
FROM (SELECT number_id, sum(amount_micros)::bigint AS micros FROM booked GROUP BY number_id) AS moved
WHERE balance.number_id = moved.number_id
"""
