"""What every worker knows by heart: numbers, keys and templates.

A send must not wait for the database to learn whose it is, and inbound traffic must find its application while the
database is away. So these tables live in memory and are read again when the database says that they changed.
"""

import asyncio
import hashlib
import hmac
import logging
import secrets
from dataclasses import dataclass, replace
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import asyncpg

from farebox.core.account import NO_VOLUME, NOT_ABROAD, Abroad, Volume
from farebox.core.limits import Limit, Period, key_counter
from farebox.core.markup import Markup
from farebox.core.recipient import Recipients
from farebox.core.reply import Dialect
from farebox.ledger import Ledger
from farebox.vault import Vault, VaultError

log = logging.getLogger(__name__)

_PERIODS = tuple(Period)  # an enum's own loop costs more than what is done with each
READ_AT_ONCE = 200  # numbers, keys or templates between two turns of the event loop: some 5 ms
KEY_PREFIX = "fbx_"  # so that a farebox key is recognised, by people and by secret scanners


@dataclass(frozen=True, slots=True)
class Number:
    """A WhatsApp phone number and how it is metered."""

    number_id: str
    account_id: str
    display_phone_number: str
    waba_id: str
    zone: ZoneInfo
    currency: str
    dialect: Dialect
    regime: str
    upstream_token: str | None
    app_secret: str | None
    webhook_secret: str | None
    app_url: str | None
    mode: str
    funds_rule: str
    block_at_micros: int
    low_balance_at_micros: int | None
    markup: Markup
    recipients: Recipients  # how a recipient without a plus is read: by the business's own country
    abroad: Abroad = NOT_ABROAD  # whom it reaches at authentication-international rates
    volume: Volume = NO_VOLUME  # the volume tiers that its account has reached
    limits: tuple[Limit, ...] = ()  # on what it may spend
    throughput: int | None = None  # messages a second that WhatsApp takes from it; None: it limits them itself
    watch_micros: int | None = None  # below this available is to be looked at: a rule or a level hangs on it
    closed: bool = False  # nothing is sent from it and no funds are added; what was sent is still settled

    @property
    def registry(self) -> str:
        """Return the name of the template list that counts for this number: its account's, which numbers share.

        360dialog's key leads to its number's list without naming the account, so a number whose account nobody told
        us has a list of its own. The prefix keeps it apart from accounts, whose ids are digits.
        """
        return self.waba_id or f"number:{self.number_id}"


@dataclass(frozen=True, slots=True)
class Key:
    """An application's key and the numbers it may use."""

    key_id: UUID
    name: str
    numbers: tuple[str, ...]
    categories: tuple[str, ...] | None = None  # of messages that it may send; None: all
    per_minute: int | None = None
    limits: tuple[Limit, ...] = ()  # on what it may spend, on each of its numbers
    until_ms: int | None = None  # a key that was rotated works until then


@dataclass(frozen=True, slots=True)
class Template:
    """A template's category as the registry knows it."""

    category: str
    status: str
    bid_amount: int | None = None  # max price for 1,000 deliveries, in the smallest unit of the account's currency


def new_key() -> tuple[str, bytes]:
    """Make a key and its digest; only the digest is ever stored."""
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    return key, digest(key)


def digest(key: str) -> bytes:
    """Return what is stored of a key. The key is random, so a plain hash can not be guessed back."""
    return hashlib.sha256(_bytes(key)).digest()


def _bytes(header: str) -> bytes:
    """Return a header's value as it came: what is no UTF-8 in it was read as half surrogates."""
    return header.encode(errors="surrogateescape")


class Directory:
    """Numbers by id, business account and webhook secret, keys by digest, templates by list, name and language."""

    def __init__(self, vault: Vault | None = None) -> None:
        self.vault = vault or Vault()
        self.version = 0  # grows with every change of numbers and keys: what was worked out from them is void then
        self.used: dict[UUID, int] = {}  # keys that were used lately, and when: to be written down
        self.numbers: dict[str, Number] = {}
        self.wabas: dict[str, list[Number]] = {}
        self.templates: dict[tuple[str, str, str], Template] = {}
        self._keys: dict[bytes, Key] = {}
        self._webhook_secrets: dict[bytes, list[Number]] = {}
        self._loading = asyncio.Lock()  # two reads at once could end in the other order, and the older one would stay

    def key(self, token: str, now_ms: int = 0) -> Key | None:
        """Return the key that a client presented, None where it is unknown, revoked, or rotated too long ago."""
        key = self._keys.get(digest(token))
        if key is None or (key.until_ms is not None and key.until_ms <= now_ms):
            return None
        self.used[key.key_id] = now_ms
        return key

    def key_of_id(self, key_id: UUID) -> Key | None:
        """Return a key that is not revoked by its id."""
        return next((key for key in self._keys.values() if key.key_id == key_id and key.until_ms is None), None)

    def of_webhook_secret(self, secret: str) -> list[Number]:
        """Return the numbers whose webhooks present this secret.

        Found by digest, so that the time a wrong secret takes says nothing about the right ones.
        """
        return [
            number
            for number in self._webhook_secrets.get(digest(secret), [])
            if number.webhook_secret and hmac.compare_digest(number.webhook_secret.encode(), _bytes(secret))
        ]

    def numbers_of(self, registry: str) -> list[Number]:
        """Return the numbers that a template list counts for, in the order of their ids."""
        return sorted((n for n in self.numbers.values() if n.registry == registry), key=lambda n: n.number_id)

    async def load(self, ledger: Ledger) -> None:
        """Read all tables."""
        await self.load_numbers(ledger)
        await self.load_keys(ledger)
        await self.load_templates(ledger)

    async def load_numbers(self, ledger: Ledger) -> None:
        """Read the numbers."""
        async with self._loading:
            numbers: dict[str, Number] = {}
            wabas: dict[str, list[Number]] = {}
            secrets_: dict[bytes, list[Number]] = {}
            abroads, tiers, limits = _Abroads(await _starts(ledger)), await _tiers(ledger), await _limits(ledger)
            for row in await ledger.fetch("all_numbers"):
                volume = tiers.get(row["waba_id"], NO_VOLUME)
                try:
                    number = self._opened(_number(row, abroads, volume, tuple(limits.get(row["number_id"], ()))))
                except VaultError as error:
                    if not self.numbers:
                        raise  # at the start: with the wrong keys nothing can be right
                    log.error("number %s is not taken over: %s", row["number_id"], error)  # noqa: TRY400  no stack
                    if row["number_id"] not in self.numbers:
                        continue
                    number = self.numbers[row["number_id"]]
                numbers[number.number_id] = number
                if len(numbers) % READ_AT_ONCE == 0:
                    await asyncio.sleep(0)  # sends go on meanwhile
                if number.waba_id:  # numbers without one have no account in common
                    wabas.setdefault(number.waba_id, []).append(number)
                if number.webhook_secret:
                    secrets_.setdefault(digest(number.webhook_secret), []).append(number)
            self.numbers, self.wabas, self._webhook_secrets = numbers, wabas, secrets_
            self.version += 1

    def _opened(self, number: Number) -> Number:
        """Return a number with its secrets opened."""
        opened = self.vault.open
        return replace(
            number,
            upstream_token=opened(number.upstream_token),
            app_secret=opened(number.app_secret),
            webhook_secret=opened(number.webhook_secret),
        )

    async def load_keys(self, ledger: Ledger) -> None:
        """Read the keys that are not revoked."""
        async with self._loading:
            keys: dict[bytes, Key] = {}
            for place, row in enumerate(await ledger.fetch("active_keys")):
                categories = None if row["categories"] is None else tuple(row["categories"])
                limits = tuple(
                    [
                        Limit(period, key_counter(row["key_id"]), row[f"{period}_limit_micros"])
                        for period in _PERIODS
                        if row[f"{period}_limit_micros"] is not None
                    ]
                )
                key = Key(row["key_id"], row["name"], tuple(row["numbers"]), categories, row["per_minute"], limits)
                if place % READ_AT_ONCE == 0:
                    await asyncio.sleep(0)  # sends go on meanwhile
                keys[row["digest"]] = key
                if row["previous_digest"] is not None:
                    keys[row["previous_digest"]] = replace(key, until_ms=row["previous_until_ms"])
            self._keys = keys
            self.version += 1

    async def note_use(self, ledger: Ledger) -> None:
        """Write down which keys were used since the last time, and when."""
        used, self.used = self.used, {}
        if used:
            await ledger.fetch("note_key_use", list(used), list(used.values()))

    async def load_templates(self, ledger: Ledger) -> None:
        """Read the template registry."""
        async with self._loading:
            templates: dict[tuple[str, str, str], Template] = {}
            for place, row in enumerate(await ledger.fetch("all_templates")):
                template = Template(row["category"], row["status"], row["bid_amount"])
                templates[row["waba_id"], row["name"], row["language"]] = template
                if place % READ_AT_ONCE == 0:
                    await asyncio.sleep(0)
            self.templates = templates


async def _limits(ledger: Ledger) -> dict[str, list[Limit]]:
    """Return the spend limits by number."""
    limits: dict[str, list[Limit]] = {}
    for row in await ledger.fetch("all_limits"):
        limit = Limit(Period(row["period"]), row["category"], row["limit_micros"])
        limits.setdefault(row["number_id"], []).append(limit)
    return limits


async def _starts(ledger: Ledger) -> dict[str, dict[str, int]]:
    """Return by account and country from when authentication-international rates count."""
    starts: dict[str, dict[str, int]] = {}
    for row in await ledger.fetch("all_starts"):
        starts.setdefault(row["waba_id"], {})[row["country"]] = row["starts_ms"]
    return starts


class _Abroads:
    """Whom numbers reach at authentication-international rates: numbers that are alike in it share one object."""

    def __init__(self, starts: dict[str, dict[str, int]]) -> None:
        self._starts = starts
        self._known: dict[tuple[str, str, bool | None], Abroad] = {}

    def of(self, waba_id: str, home: str, ruled: bool | None) -> Abroad:  # noqa: FBT001  as the ledger has it
        key = (waba_id if waba_id in self._starts else "", home, ruled)
        if key not in self._known:
            self._known[key] = Abroad(home, ruled, self._starts.get(waba_id, {}))
        return self._known[key]


async def _tiers(ledger: Ledger) -> dict[str, Volume]:
    """Return the volume tiers that accounts have reached."""
    tiers: dict[str, dict[tuple[str, str, str], tuple[tuple[int, int], ...]]] = {}
    for row in await ledger.fetch("all_tiers"):
        own, key = tiers.setdefault(row["waba_id"], {}), (row["region"], row["category"], row["month"])
        own[key] = (*own.get(key, ()), (row["reached_ms"], row["lower"]))
    return {waba_id: Volume(own) for waba_id, own in tiers.items()}


def _number(row: asyncpg.Record, abroads: _Abroads, volume: Volume, limits: tuple[Limit, ...]) -> Number:
    recipients = Recipients.of_business(row["display_phone_number"])
    return Number(
        number_id=row["number_id"],
        account_id=row["account_id"],
        display_phone_number=row["display_phone_number"],
        waba_id=row["waba_id"],
        zone=_zone(row["timezone"], row["number_id"]),
        currency=row["currency"],
        dialect=Dialect(row["dialect"]),
        regime=row["regime"],
        upstream_token=row["upstream_token"],
        app_secret=row["app_secret"],
        webhook_secret=row["webhook_secret"],
        app_url=row["app_url"],
        mode=row["mode"],
        closed=row["closed_at"] is not None,
        funds_rule=row["funds_rule"],
        block_at_micros=row["block_at_micros"],
        low_balance_at_micros=row["low_balance_at_micros"],
        markup=Markup(row["markup_ppm"], row["markup_fixed_micros"], row["tax_ppm"]),
        recipients=recipients,
        abroad=abroads.of(row["waba_id"], recipients.country, row["auth_international"]),
        volume=volume,
        limits=limits,
        throughput=row["throughput"],
        watch_micros=row["watch_micros"],
    )


def _zone(name: str, number_id: str) -> ZoneInfo:
    """Return a time zone. One that this machine does not know must not take every other number down with it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        log.warning("number %s has the time zone %s, which is not known here: UTC is used", number_id, name)
        return ZoneInfo("UTC")
