"""What `farebox doctor` looks at, one by one: settings, stores, clocks, WhatsApp, webhooks, tariffs, books."""

import secrets
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from urllib.parse import urlencode

import aiohttp
from redis.exceptions import RedisError

from farebox.assets import asset
from farebox.config import Settings
from farebox.core.in_force import InForce
from farebox.gate import Gate
from farebox.ledger import LedgerUnavailableError
from farebox.redis_client import open_redis
from farebox.spool import FOLDER
from farebox.sql import migrations
from farebox.strength import weakness
from farebox.tariff_files import TariffError, load_folder
from farebox.wallet import WalletUnavailableError

SKEW_WARN_MS = (
    2_000  # between this machine's clock and the database's: logs and TLS go by ours, money by the database's
)
TIMEOUT_S = 10
CARD_AHEAD_DAYS = 14  # Meta announces new cards a month ahead; two weeks are enough to fetch one
MAX_NAMED = 5  # numbers in one line

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look found: a verdict, what was looked at, what is so, and what to do about it."""

    verdict: Verdict
    what: str
    detail: str
    todo: str = ""


def look_at_settings(settings: Settings, *, explicit_stores: bool) -> Iterator[Finding]:
    """Look at what the settings alone say."""
    token = settings.admin_token.get_secret_value() if settings.admin_token else ""
    weak = weakness(token) if token else "is not set"
    if weak:
        todo = "set a long random one: openssl rand -hex 24; farebox serve does not start without"
        yield Finding("fail", "admin token", f"FAREBOX_ADMIN_TOKEN {weak}", todo)
    else:
        yield Finding("ok", "admin token", "set, and no easy guess")
    if settings.app_secret is None:
        yield Finding("warn", "app secret", "FAREBOX_APP_SECRET is not set", "needed unless every number has its own")
    else:
        yield Finding("ok", "app secret", "set")
    if not explicit_stores:
        yield Finding("warn", "stores", "farebox runs its own in the data folder", "fine for one machine; back it up")


def look_at_tariffs(settings: Settings, day: date) -> Iterator[Finding]:
    """Look at the rate cards: those of today, and whether one is about to end."""
    try:
        tariffs = load_folder(settings.tariffs_dir or asset("config/tariffs"))
    except TariffError as error:
        yield Finding("fail", "tariffs", error.mistakes[0], "farebox check lists every mistake with file and line")
        return
    latest_first = sorted(tariffs, key=lambda tariff: tariff.effective_from, reverse=True)
    soon = day + timedelta(days=CARD_AHEAD_DAYS)
    now, then = (next((t for t in latest_first if t.effective_from <= when), latest_first[-1]) for when in (day, soon))
    for currency in sorted(now.cards):
        note = InForce(now, now.card(currency, day), day).note
        if currency in then.cards:
            coming = InForce(then, then.card(currency, soon), soon).note
        else:
            coming = f"{then.name} of {then.effective_from} has no card in {currency}"
        if note:
            yield Finding("fail", f"card {currency}", note, "add the card to the tariffs folder; it is read in seconds")
        elif coming:
            yield Finding("warn", f"card {currency}", f"about to expire: {coming}", "fetch the new card from Meta now")
        else:
            valid_from = now.card(currency, day).valid_from
            yield Finding("ok", f"card {currency}", f"{now.name}, of {valid_from}; right until {soon} at least")


async def look_at_redis(settings: Settings) -> AsyncIterator[Finding]:
    """Look at the wallets' store by itself: does it answer, and may it throw wallets away."""
    assert settings.redis_url is not None, "the stores are named by now"
    client = open_redis(settings.redis_url, timeout_s=TIMEOUT_S)
    try:
        started = time.perf_counter()
        await client.ping()
        took_ms = (time.perf_counter() - started) * 1000
        memory = await client.info("memory")
    except (RedisError, OSError, TimeoutError, WalletUnavailableError) as error:
        yield Finding("fail", "wallets", f"no answer ({type(error).__name__})", "see FAREBOX_REDIS_URL and its server")
        return
    finally:
        await client.aclose()
    verdict: Verdict = "ok" if took_ms / 1000 < settings.wallet_timeout_s else "warn"
    slow = "" if verdict == "ok" else "slower than FAREBOX_WALLET_TIMEOUT_S: sends get 503; move it nearer"
    yield Finding(verdict, "wallets", f"answers in {took_ms:.1f} ms", slow)
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield Finding(
            "warn", "eviction", f"maxmemory-policy is {policy}", "set noeviction: else wallets are rebuilt often"
        )


async def look_at_ledger(gate: Gate) -> AsyncIterator[Finding]:
    """Look at the ledger: does it answer, is its schema ours, does its clock agree with ours."""
    row = await gate.ledger.fetch_one("now")
    assert row is not None, "the clock table has its one row"
    skew_ms = row["now_ms"] - row["offset_ms"] - time.time_ns() // 1_000_000
    yield Finding("ok", "ledger", "answers")
    known = {row["number"] for row in await gate.ledger.fetch("applied_migrations")}
    ours = {number for number, _, _ in migrations()}
    if ours - known:
        yield Finding("fail", "schema", f"{len(ours - known)} migrations are missing", "run farebox migrate")
    else:
        newer = f"; {len(known - ours)} newer than this farebox" if known - ours else ""
        yield Finding("ok", "schema", f"current ({max(known)}){newer}")
    if abs(skew_ms) > SKEW_WARN_MS:
        detail = f"the database's is {skew_ms / 1000:+.1f} s off this machine's"
        yield Finding("warn", "clock", detail, "run an NTP client on both; money goes by the database's")
    else:
        yield Finding("ok", "clock", f"the database's agrees within {abs(skew_ms)} ms")


async def look_at_numbers(gate: Gate) -> AsyncIterator[Finding]:
    """Look at the numbers: can their webhooks be checked and relayed, are their templates known."""
    numbers = gate.directory.numbers.values()
    if not numbers:
        yield Finding("warn", "numbers", "none is set up", "PUT /v1/accounts/{id}, then PUT /v1/numbers/{id}")
        return
    yield Finding("ok", "numbers", f"{len(numbers)} set up")
    checks = {
        "have no app_url": ([n for n in numbers if not n.app_url], "their webhooks reach no application"),
        "have no secret for webhooks": (
            [n for n in numbers if not (n.app_secret or n.webhook_secret or gate.settings.app_secret)],
            "set app_secret: their webhooks are refused",
        ),
        "have no known template": (
            [n for n in numbers if n.waba_id and not any(key[0] == n.registry for key in gate.directory.templates)],
            "templates are then held at the dearest category; is upstream_token allowed to read them?",
        ),
        "are not metered (mode off)": ([n for n in numbers if n.mode == "off"], "nothing is charged for them"),
    }
    for what, (found, todo) in checks.items():
        if found:
            named = ", ".join(number.number_id for number in found[:MAX_NAMED])
            more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
            yield Finding("warn", "numbers", f"{named}{more} {what}", todo)


async def look_at_books(gate: Gate) -> AsyncIterator[Finding]:
    """Look at what is late: holds past their time, quarantine, spool."""
    row = await gate.ledger.fetch_one("overdue", gate.clock.now_ms())
    overdue_ms = row["overdue_ms"] if row is not None else None
    if overdue_ms and overdue_ms > 10 * gate.settings.sweep_interval_s * 1000:
        yield Finding(
            "fail", "sweep", f"a hold is {overdue_ms // 1000} s past its time", "is a gateway running? farebox sweep"
        )
    else:
        yield Finding("ok", "sweep", "no hold is past its time")
    waiting = sum(file.stat().st_size for file in (gate.settings.data_dir / FOLDER).glob("*") if file.is_file())
    if waiting:
        yield Finding(
            "warn", "spool", f"{waiting} bytes wait on the disk", "told when the stores are back; keep the folder"
        )


async def look_at_whatsapp(settings: Settings) -> AsyncIterator[Finding]:
    """Ask the upstream for anything: whatever it answers, it is there."""
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
            started = time.perf_counter()
            async with session.get(settings.upstream_url, allow_redirects=False):
                took_ms = (time.perf_counter() - started) * 1000
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        todo = "see FAREBOX_UPSTREAM_URL, DNS, the firewall and the proxy"
        yield Finding("fail", "WhatsApp", f"{settings.upstream_url} can not be reached ({type(error).__name__})", todo)
        return
    yield Finding("ok", "WhatsApp", f"{settings.upstream_url} answers in {took_ms:.0f} ms")


async def look_at_webhooks(settings: Settings) -> AsyncIterator[Finding]:
    """Do what Meta does when a webhook is set up: come in through the public address and shake hands."""
    if not settings.public_url or settings.verify_token is None:
        missing = "FAREBOX_PUBLIC_URL" if not settings.public_url else "FAREBOX_VERIFY_TOKEN"
        yield Finding("warn", "webhooks", f"{missing} is not set, so the way in was not tried", "set it and ask again")
        return
    challenge = secrets.token_hex(8)
    fields = {
        "hub.mode": "subscribe",
        "hub.challenge": challenge,
        "hub.verify_token": settings.verify_token.get_secret_value(),
    }
    url = f"{settings.public_url.rstrip('/')}/webhooks/meta"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
            session.get(f"{url}?{urlencode(fields)}", allow_redirects=False) as answer,
        ):
            status, body = answer.status, (await answer.content.read(1000)).decode(errors="replace")
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        todo = "is a gateway running behind it? see the proxy, its certificate and the firewall"
        yield Finding("fail", "webhooks", f"{url} can not be reached ({type(error).__name__})", todo)
        return
    if (status, body) == (200, challenge):
        yield Finding("ok", "webhooks", f"{url} shakes hands")
    else:
        todo = "something else answers there, or a gateway with another FAREBOX_VERIFY_TOKEN"
        yield Finding("fail", "webhooks", f"{url} answers {status} and not the challenge", todo)


async def look_at_gate(gate: Gate) -> AsyncIterator[Finding]:
    """Look at everything that needs the ledger."""
    for look in (look_at_ledger, look_at_numbers, look_at_books):
        try:
            async for finding in look(gate):
                yield finding
        except LedgerUnavailableError as error:
            yield Finding("fail", "ledger", str(error), "see FAREBOX_DATABASE_URL and its server")
            return


def today() -> date:
    """Return the day at the meridian."""
    return datetime.now(UTC).date()
