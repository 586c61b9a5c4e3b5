"""Tells alerts: webhooks that are signed, and e-mail and chat through apprise. At least once, and patiently.

A webhook is signed as the Standard Webhooks specification says (https://www.standardwebhooks.com): the header
`webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`. A repeated
webhook has the same id. What no try reaches is dead and stays in `GET /v1/alerts?state=dead` until it is told again.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import secrets
from datetime import datetime
from typing import Any

import aiohttp
import apprise
import asyncpg

from farebox import metrics
from farebox.core.money import format_micros
from farebox.gate import Gate
from farebox.relays import check_literal

log = logging.getLogger(__name__)

TELL_LOCK = 0x7465_6C6C  # "tell"
BACKOFF_S = (5, 30, 120, 600, 3_600, 10_800, 21_600)  # after each failed try; a day and a half of an hour in all
MAX_DUE = 100  # deliveries of one pass
AT_ONCE = 10  # of them at a time
WEBHOOK_TIMEOUT_S = 10
NOTIFY_TIMEOUT_S = 30  # mail servers are slow, and a thread waits for them
MAX_ERROR = 300  # characters kept of what went wrong
SECRET_PREFIX = "whsec_"  # noqa: S105  what a secret begins with
TITLE = "Prepaid balance"

# What may be told through apprise: mail and chat. Others of its targets run programs or show windows on this machine.
SCHEMES = frozenset(
    {"mailto", "mailtos", "slack", "discord", "msteams", "workflows", "tgram", "ntfy", "ntfys", "matrix", "matrixs",
     "mmost", "mmosts", "gchat", "rocket", "rockets", "pagerduty", "opsgenie", "sendgrid", "mailgun", "twilio"}
)  # fmt: skip


def new_secret() -> str:
    """Make a secret that signs webhooks."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the signature of a webhook."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def is_target(text: str) -> bool:
    """Tell whether apprise knows how to reach this, and may."""
    scheme, _, rest = text.partition("://")
    return bool(rest) and scheme.lower() in SCHEMES and apprise.Apprise().add(text)


async def tell(gate: Gate) -> int | None:
    """Try every delivery that is due; return how many, None where another worker does."""
    async with gate.ledger.elected(TELL_LOCK) as elected:
        if not elected:
            return None
        due = await gate.ledger.fetch("deliveries_due", gate.clock.now_ms(), MAX_DUE)
        turns = asyncio.Semaphore(AT_ONCE)

        async def in_turn(row: asyncpg.Record) -> None:
            async with turns:
                await _try(gate, row)

        await asyncio.gather(*map(in_turn, due))
    return len(due)


async def _try(gate: Gate, row: asyncpg.Record) -> None:
    try:
        error = await (_post(gate, row) if row["channel"] == "webhook" else _notify(row))
    except Exception as unexpected:  # a target that breaks its library must not keep the others waiting
        log.exception("alert %d was not told", row["alert_id"])
        error = type(unexpected).__name__
    state, wait_s = "sent", 0
    if error is not None:
        last = row["tries"] >= len(BACKOFF_S)
        state, wait_s = ("dead", 0) if last else ("waiting", BACKOFF_S[row["tries"]])
        log.warning("alert %d was not told (%s): %s", row["alert_id"], row["channel"], error)
    outcome = "failed" if state == "waiting" else state
    metrics.ALERTS_TOLD.labels(row["channel"], outcome).inc()
    next_ms = gate.clock.now_ms() + wait_s * 1000
    await gate.ledger.fetch(
        "delivery_tried", row["alert_id"], row["channel_id"], state, next_ms, error and error[:MAX_ERROR]
    )


async def _post(gate: Gate, row: asyncpg.Record) -> str | None:
    """Post a webhook; return what went wrong."""
    body, message_id = json.dumps(_content(row), ensure_ascii=False).encode(), f"alert_{row['alert_id']}"
    timestamp_s = gate.clock.now_ms() // 1000
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "farebox",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": sign(row["secret"], message_id, timestamp_s, body),
    }
    timeout = aiohttp.ClientTimeout(total=WEBHOOK_TIMEOUT_S)
    try:
        if gate.settings.private_app_urls == "refuse":
            check_literal(row["target"])
        async with gate.upstream.relays.post(
            row["target"], data=body, headers=headers, timeout=timeout, allow_redirects=False
        ) as answer:
            return None if 200 <= answer.status < 300 else f"HTTP {answer.status}"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return type(error).__name__


async def _notify(row: asyncpg.Record) -> str | None:
    """Tell through apprise, in a thread of its own: it waits. Return what went wrong."""
    teller = apprise.Apprise()
    teller.add(row["target"])
    text = f"Number {row['number_id']}: {row['sentence']}"
    async with asyncio.timeout(NOTIFY_TIMEOUT_S):
        sent = await asyncio.to_thread(teller.notify, body=text, title=TITLE)
    return None if sent else "the service did not take it"


def _content(row: asyncpg.Record) -> dict[str, Any]:
    at: datetime = row["at"]
    return {
        "type": f"farebox.{row['kind']}",
        "timestamp": at.isoformat(),
        "data": {
            "alert_id": row["alert_id"],
            "account_id": row["account_id"],
            "phone_number_id": row["number_id"],
            "sentence": row["sentence"],
            "available": format_micros(row["available_micros"]),
            "missing": format_micros(row["missing_micros"]),
            "currency": row["currency"],
        },
    }
