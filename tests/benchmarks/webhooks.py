"""Webhooks: how many statuses are settled a second, and what Valkey keeps for an open hold and for an open window."""

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import aiohttp
import asyncpg
from redis.asyncio import Redis

from benchmarks.load import closed_loop
from benchmarks.population import WABA, id_of
from benchmarks.report import Figure, Section, say
from benchmarks.stage import Stage, open_stage
from farebox.core.signature import sign
from harness import APP_SECRET

ROUNDS = 3
HOLDS = 10_000  # made in a round; they are what is settled
MAX_LOADS = 8  # of a second each: a machine that is too slow for so many makes fewer
CONNECTIONS = 128
BATCHES = (100, 1000)  # statuses in one webhook; Meta sends up to 1,000
MESSAGES = 1000  # in one webhook
POSTS_AT_ONCE = 8
WINDOWS = range(50_000, 100_001, 5_000)  # open at each look: over one doubling, as the table of keys doubles
FIRST_USER = 16_502_000_000
STATUS_BARS = (5_000, 15_000)
HOLD_BARS = (400, 250)
WINDOW_BARS = (130, 80)
QUIET_S = 1.5  # the append-only file is written every second, and its buffer counts as used memory
PATIENCE_S = 60  # for the books, after the last webhook was answered
NUMBER = id_of(1)


def webhook(**value: Any) -> bytes:
    """Return a payload of one change."""
    change = {
        "field": "messages",
        "value": {"messaging_product": "whatsapp", "metadata": {"phone_number_id": NUMBER}, **value},
    }
    return json.dumps({"object": "whatsapp_business_account", "entry": [{"id": WABA, "changes": [change]}]}).encode()


def delivered(wamids: Iterable[str]) -> bytes:
    """Return a payload that says of each message that it was delivered, and at what price."""
    pricing = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"}
    at = str(int(time.time()))
    return webhook(
        statuses=[
            {"id": wamid, "status": "delivered", "timestamp": at, "recipient_id": "16505551234", "pricing": pricing}
            for wamid in wamids
        ]
    )


def written(users: Sequence[int]) -> bytes:
    """Return a payload of one message from each of these users."""
    at = str(int(time.time()))
    return webhook(
        contacts=[{"wa_id": str(user), "profile": {"name": "A"}} for user in users],
        messages=[
            {"from": str(user), "id": f"wamid.in{user}", "timestamp": at, "type": "text", "text": {"body": "hello"}}
            for user in users
        ],
    )


async def post_all(url: str, bodies: Iterable[bytes]) -> None:
    """Post webhooks, several at once; each must be taken."""
    waiting = iter([(body, {"X-Hub-Signature-256": sign(body, APP_SECRET)}) for body in bodies])

    async def post() -> None:
        for body, headers in waiting:
            async with session.post(f"{url}/webhooks/meta", data=body, headers=headers) as answer:
                assert answer.status == 200, await answer.text()

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(post() for _ in range(POSTS_AT_ONCE)))


async def used_bytes(client: "Redis") -> int:
    """Return what the store uses, once it is quiet."""
    await asyncio.sleep(QUIET_S)
    used: int = (await client.info("memory"))["used_memory"]
    return used


async def settle(stage: Stage, url: str, wamids: Sequence[str], batch: int) -> float:
    """Deliver messages; return the statuses settled a second."""
    bodies = [delivered(wamids[at : at + batch]) for at in range(0, len(wamids), batch)]
    ledger = await asyncpg.connect(stage.stores.database_url)
    try:
        started = time.perf_counter()
        await post_all(url, bodies)
        left = "SELECT count(*) FROM hold WHERE wamid = ANY($1) AND state = 'accepted'"
        async with asyncio.timeout(PATIENCE_S):
            # What took longer than a webhook may wait is told afterwards.
            while await ledger.fetchval(left, wamids):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return len(wamids) / (time.perf_counter() - started)
    finally:
        await ledger.close()


async def send(url: str) -> int:
    """Make holds; return how many."""
    made = 0
    for _ in range(MAX_LOADS):
        load = await closed_loop(url, connections=CONNECTIONS, seconds=1, pids={})
        assert not load.failures, f"{load.failures} sends failed"
        made += load.answers
        if made >= HOLDS:
            break
    return made


async def measure() -> Section:
    """Send, look at the memory, settle, open windows, look again."""
    holds, windows = [], []
    speeds: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    async with open_stage() as stage, Redis.from_url(stage.stores.redis_url) as client:
        gateway = await stage.gateway()
        await closed_loop(gateway.url, connections=CONNECTIONS, seconds=1, pids={})
        for _ in range(ROUNDS):
            before = await used_bytes(client)
            made = await send(gateway.url)
            holds.append((await used_bytes(client) - before) / made)
        say(f"  bytes of a hold: {', '.join(f'{each:.0f}' for each in holds)}")
        ledger = await asyncpg.connect(stage.stores.database_url)
        wamids = [row["wamid"] for row in await ledger.fetch("SELECT wamid FROM hold WHERE state = 'accepted'")]
        await ledger.close()
        share = len(wamids) // (ROUNDS * len(BATCHES))
        for _ in range(ROUNDS):
            for batch in BATCHES:
                wamids, own = wamids[share:], wamids[:share]
                speeds[batch].append(await settle(stage, gateway.url, own, batch))
                say(f"  {share:,} statuses, {batch} a webhook: {speeds[batch][-1]:,.0f}/s")
        before = await used_bytes(client)
        for opened, count in pairwise((0, *WINDOWS)):
            users = range(FIRST_USER + opened, FIRST_USER + count)
            await post_all(gateway.url, (written(users[at : at + MESSAGES]) for at in range(0, len(users), MESSAGES)))
            windows.append((await used_bytes(client) - before) / count)
        allocator = (await client.info("memory"))["mem_allocator"]
        say(f"  bytes of a window: {', '.join(f'{each:.0f}' for each in windows)}")
    figures = [
        *(Figure(f"statuses settled a second, {batch} a webhook", speeds[batch], *STATUS_BARS) for batch in BATCHES),
        Figure("Valkey bytes of an open hold", holds, *HOLD_BARS, more_is_better=False),
        Figure("Valkey bytes of an open window", windows, *WINDOW_BARS, more_is_better=False),
    ]
    notes = [
        f"{share:,} statuses a round, {POSTS_AT_ONCE} webhooks at once, each signed and relayed to an application, "
        "until the ledger has all of them. Bytes are the growth of used_memory, divided; this Valkey allocates by "
        f"{allocator}. Windows are weighed at each {WINDOWS.step:,} from {WINDOWS.start:,} to {WINDOWS[-1]:,}: the "
        "store's table of keys doubles once on that way, and a window takes up the most right after.",
    ]
    return Section("Webhooks, and what Valkey keeps", figures, notes=notes)
