"""What must be true once the faults have stopped: read from the stores, from WhatsApp's own list and from the logs."""

import re
from collections import Counter
from dataclasses import dataclass, field

import asyncpg
from redis.asyncio import Redis

from chaos.load import NOT_SENT, TEXT, Load
from chaos.stage import POOR, Stage
from farebox.simulator import Accepted
from harness import ADMIN_TOKEN, APP_SECRET, NUMBER, UPSTREAM_TOKEN

PHONE = re.compile(r"\b1650\d{7}\b")  # all users of the load have such a number
HOLDS = """
SELECT h.hold_id::text, h.recipient, h.state, (SELECT count(*) FROM entry e WHERE e.hold_id = h.hold_id) AS charges
FROM hold h WHERE h.recipient = ANY ($1::text[])
"""
POSITIONS = """
SELECT b.number_id, b.balance_micros,
       (SELECT coalesce(sum(fare_micros), 0) FROM hold h
        WHERE h.number_id = b.number_id AND state IN ('reserved', 'accepted'))::bigint AS held_micros,
       (SELECT coalesce(sum(CASE WHEN into_book = 'number' THEN amount_micros ELSE -amount_micros END), 0)
        FROM entry e WHERE e.number_id = b.number_id)::bigint AS entries_micros
FROM balance b WHERE b.number_id = ANY ($1::text[])
"""


@dataclass
class Verdict:
    """One look. What is `unresolved` may still come; what is `wrong` never becomes right."""

    sends: int = 0
    accepted: int = 0
    lost: int = 0
    doubled: int = 0
    unresolved: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def count(self, what: str, number: int, into: list[str]) -> None:
        if number:
            into.append(f"{number} {what}")


async def judge(stage: Stage, load: Load, since: int) -> Verdict:
    """Look at everything that a cycle of the load has left; `since` is where it begins in WhatsApp's list."""
    accepted = stage.whatsapp.sent[since:]
    verdict = Verdict(sends=len(load.outcomes) + len(load.refused), accepted=len(accepted))
    verdict.wrong += load.mistakes
    database = await stage.stores.connect()
    try:
        users = [*load.outcomes, *load.refused]
        holds = await database.fetch(HOLDS, users)
        _messages(verdict, load, accepted, holds)
        await _money(verdict, load, stage, database)
        waiting = await database.fetchval("SELECT count(*) FROM unmatched_status")
        verdict.count("statuses wait for their message", waiting, verdict.unresolved)
    finally:
        await database.close()
    _webhooks(verdict, stage)
    _logs(verdict, stage)
    return verdict


def _messages(verdict: Verdict, load: Load, accepted: list[Accepted], holds: list[asyncpg.Record]) -> None:
    by_id = {hold["hold_id"]: hold for hold in holds}
    took = Counter(message.body.get("biz_opaque_callback_data") for message in accepted)
    reached = Counter(message.user.wa_id for message in accepted)
    settled = Counter(hold["recipient"] for hold in holds if hold["state"] == "settled")
    verdict.lost = sum(hold_id not in by_id for hold_id in took)
    verdict.doubled = sum(times > 1 for times in reached.values()) + sum(times > 1 for times in settled.values())
    verdict.doubled += sum(hold["charges"] > 1 for hold in holds)
    wrong, open_ = verdict.wrong, verdict.unresolved
    verdict.count("messages without a hold", verdict.lost, wrong)
    verdict.count("messages or charges doubled", verdict.doubled, wrong)
    verdict.count(
        "messages not settled",
        sum(by_id[hold_id]["state"] != "settled" for hold_id in took if hold_id in by_id),
        open_,
    )
    verdict.count("charges without a message", len(set(settled) - set(reached)), wrong)
    refused = {user for user, status in (load.outcomes | load.refused).items() if status in NOT_SENT}
    verdict.count("messages sent in spite of a refusal", len(refused & set(reached)), wrong)
    verdict.count("answers of 500", sum(status == 500 for status in load.outcomes.values()), wrong)
    answered = {user for user, status in load.outcomes.items() if status == 200}
    verdict.count("messages answered with 200 that WhatsApp does not know", len(answered - set(reached)), wrong)


async def _money(verdict: Verdict, load: Load, stage: Stage, database: "asyncpg.Connection[asyncpg.Record]") -> None:
    async with Redis.from_url(stage.stores.redis_url, decode_responses=True) as client:
        for row in await database.fetch(POSITIONS, [NUMBER, POOR]):
            if row["entries_micros"] != row["balance_micros"]:
                verdict.wrong.append("a balance is not the sum of its entries")
            wallet = await client.hmget(f"farebox:{{{row['number_id']}}}:wallet", ["available", "held"])
            expected = [str(row["balance_micros"] - row["held_micros"]), str(row["held_micros"])]
            if wallet not in (expected, [None, None]):
                verdict.unresolved.append(f"a wallet shows {wallet}, the ledger {expected}")
    booked = Counter(
        row["reference"]
        for row in await database.fetch(
            "SELECT reference FROM topup JOIN entry USING (topup_id) WHERE reference = ANY ($1)", list(load.topups)
        )
    )
    verdict.count("top-ups booked twice", sum(times > 1 for times in booked.values()), verdict.wrong)
    confirmed = {reference for reference, status in load.topups.items() if status in (200, 201)}
    verdict.count("confirmed top-ups lost", len(confirmed - set(booked)), verdict.wrong)


def _webhooks(verdict: Verdict, stage: Stage) -> None:
    posted = {posted.body for posted in stage.whatsapp.posted}
    verdict.count("webhooks are still to be posted", stage.whatsapp.poster.pending, verdict.unresolved)
    verdict.count("webhooks given up", stage.whatsapp.poster.given_up, verdict.wrong)
    verdict.count("webhooks lost on their way to the application", len(posted - stage.seen), verdict.unresolved)
    # Of what was posted long ago WhatsApp's list knows no more; of what it knows, each byte is as it was.
    unheard = stage.postman.delivered - stage.seen
    verdict.count("webhooks answered with 200 that the application has not seen", len(unheard), verdict.wrong)


def _logs(verdict: Verdict, stage: Stage) -> None:
    text = stage.logged()
    secrets = (ADMIN_TOKEN, APP_SECRET, UPSTREAM_TOKEN, stage.key, stage.poor_key, TEXT)
    verdict.count("secrets in the log", sum(secret in text for secret in secrets), verdict.wrong)
    verdict.count("full phone numbers in the log", len(set(PHONE.findall(text))), verdict.wrong)
