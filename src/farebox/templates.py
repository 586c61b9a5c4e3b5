"""The template registry: which category a template has, kept in step with the upstream's template lists.

It is read when a worker starts, on a timer, when a webhook says that something changed, and when a send names a
template that the registry does not know.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import aiohttp

from farebox.account_terms import keep_terms
from farebox.core.account import starts
from farebox.core.message import storable
from farebox.core.reply import CODE_PARAMETER, Dialect
from farebox.core.webhook import TemplateChange
from farebox.directory import Number, Template
from farebox.registry import Registry
from farebox.upstream import D360_KEY, Upstream

log = logging.getLogger(__name__)

PAGE_SIZE = 200  # Meta allows up to 1,000; answers stay below a megabyte
MAX_PAGES = 100  # 20,000 templates; Meta's own limit for an account is 6,000
LOOKUP_TIMEOUT_S = 3  # a send waits for the look-up of an unknown template, but not longer
FORGET_MISS_MS = (
    60_000  # a template that was not found is not asked for again in this time: it may be a typo in a campaign
)
MAX_MISSES = 10_000  # names that were not found; a bound on memory


class FieldRefusedError(ValueError):
    """The upstream does not know a field of the list, or does not give it to this account (Graph's error 100)."""


class Templates:
    """Looks categories up, and reads the upstream's lists."""

    def __init__(self, registry: Registry, upstream: Upstream) -> None:
        self.registry = registry
        self._directory = registry.directory
        self._clock = registry.clock
        self._upstream = upstream
        self._fields: dict[str, tuple[str, ...]] = {}  # by registry: the optional fields that its upstream gave
        self._misses: dict[tuple[str, str, str], int] = {}
        self._lookups: dict[tuple[str, str, str], asyncio.Future[None]] = {}

    async def find(self, number: Number, name: str, language: str) -> Template | None:
        """Return a template; an unknown one is looked up once. None: nobody knows it."""
        key = (number.registry, name, language)
        known = self._directory.templates.get(key)
        if known is None and self._misses.get(key, 0) <= self._clock.now_ms():
            await self._look_up(number, key)
            known = self._directory.templates.get(key)
        return known

    async def sync(self) -> int:
        """Read all template lists, each with one number's token; return how many templates were read."""
        read = 0
        self._fields.clear()  # an account may have joined a beta since
        readers: dict[str, Number] = {}
        for number in self._directory.numbers.values():
            if number.upstream_token and (number.waba_id or number.dialect is not Dialect.CLOUD):
                readers.setdefault(number.registry, number)
        for registry, number in readers.items():
            try:
                read += await self._read(number, name=None)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                log.warning("the templates of %s could not be read: %s", registry, _cause(error))
            await self._read_terms(number)
        await self.registry.reload()
        return read

    async def _read_terms(self, number: Number) -> None:
        """Read from when an account pays international rates for authentication; most accounts never do.

        https://developers.facebook.com/documentation/business-messaging/whatsapp/pricing/authentication-international-rates
        """
        if number.dialect is not Dialect.CLOUD:
            return
        path, headers = f"/{GRAPH_VERSION}/{number.waba_id}", {"Authorization": f"Bearer {number.upstream_token}"}
        try:
            account = await self._get(path, {"fields": ELIGIBILITY_FIELD}, headers)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.debug("account %s does not tell its %s: %s", number.waba_id, ELIGIBILITY_FIELD, _cause(error))
            return
        notices = list(starts(account.get(ELIGIBILITY_FIELD)))
        await keep_terms(self.registry.ledger, self._directory, [number.waba_id], notices)

    async def _look_up(self, number: Number, key: tuple[str, str, str]) -> None:
        """Ask the upstream for one template; sends that need the same one share the question."""
        if key in self._lookups:
            await asyncio.shield(self._lookups[key])
            return
        self._lookups[key] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                await self._read(number, name=key[1])
            await self.registry.reload()
        except Exception as error:
            # Not knowing a category never stops a send: it is reserved at the dearest one.
            log.warning("template %s could not be looked up: %s", key[1], type(error).__name__)
        finally:
            if len(self._misses) >= MAX_MISSES:
                self._misses.clear()
            self._misses[key] = self._clock.now_ms() + FORGET_MISS_MS
            self._lookups.pop(key).set_result(None)

    async def _read(self, number: Number, *, name: str | None) -> int:
        """Read one list, or the templates of one name, page by page into the ledger."""
        pages = self._cloud_pages if number.dialect is Dialect.CLOUD else self._d360_pages
        read = 0
        asked_after = await self.registry.last_change()
        async for page in pages(number, name):
            # By name and language: one statement may not write a row twice, and 360dialog may list a template twice.
            rows = {(row["name"], _language(row)): row for row in page if _complete(row)}
            told = number.dialect is Dialect.CLOUD and BID_FIELD in self._fields.get(number.registry, OPTIONAL_FIELDS)
            said = [_said(number.registry, row, bid_known=told) for row in rows.values()]
            await self.registry.take_over(said, source="sync", asked_after=asked_after)
            read += len(said)
        return read

    async def _cloud_pages(self, number: Number, name: str | None) -> AsyncIterator[list[Any]]:
        """Read `GET /{account}/message_templates`, which pages by cursor."""
        query = {"limit": str(PAGE_SIZE)} | ({"name": name} if name else {})
        headers = {"Authorization": f"Bearer {number.upstream_token}"}
        for _ in range(MAX_PAGES):
            page = await self._cloud_page(number, query, headers)
            yield _list(page.get("data"))
            paging = _dict(page.get("paging"))
            after = _dict(paging.get("cursors")).get("after")
            if not isinstance(after, str) or "next" not in paging:
                break
            query["after"] = after

    async def _cloud_page(self, number: Number, query: dict[str, str], headers: dict[str, str]) -> dict[str, Any]:
        """Read a page with every field that the upstream knows; an older one, or one outside a beta, refuses some."""
        path = f"/{GRAPH_VERSION}/{number.waba_id}/message_templates"
        while True:
            optional = self._fields.get(number.registry, OPTIONAL_FIELDS)
            fields = ",".join((*FIELDS, *optional))
            try:
                return await self._get(path, query | {"fields": fields}, headers)
            except FieldRefusedError as error:
                if not optional:
                    raise
                refused = next((name for name in optional if name in str(error)), optional[0])
                self._fields[number.registry] = tuple(name for name in optional if name != refused)

    async def _d360_pages(self, number: Number, name: str | None) -> AsyncIterator[list[Any]]:
        """Read 360dialog's `GET /v1/configs/templates`, which pages by offset; the key says whose list it is."""
        query = {"limit": str(PAGE_SIZE), "sort": "id"}  # a stable order: an offset into a moving list skips rows
        if name:
            query["filters"] = json.dumps({"business_templates.name": name})
        headers = {D360_KEY: number.upstream_token or ""}
        offset = 0
        for _ in range(MAX_PAGES):
            page = await self._get("/v1/configs/templates", query | {"offset": str(offset)}, headers)
            rows = _list(page.get("waba_templates"))
            yield rows
            offset += len(rows)
            total = page.get("total")
            if not rows or (offset >= total if isinstance(total, int) else len(rows) < PAGE_SIZE):
                break

    async def _get(self, path: str, query: dict[str, str], headers: dict[str, str]) -> dict[str, Any]:
        # Without compression: the session leaves bodies as they come, for those that are passed on.
        headers = headers | {"Accept-Encoding": "identity"}
        url = self._upstream.base_url + path
        async with self._upstream.session.get(url, params=query, headers=headers, timeout=_TIMEOUT) as answer:
            if answer.status == HTTPStatus.BAD_REQUEST:
                error = _dict(_dict(await answer.json(content_type=None)).get("error"))
                if error.get("code") == CODE_PARAMETER:
                    raise FieldRefusedError(str(error.get("message")))
            answer.raise_for_status()
            page = await answer.json(content_type=None)
        if not isinstance(page, dict):
            raise ValueError("the list is no JSON object")  # noqa: TRY004  an answer of another program, not of ours
        return page


FIELDS = ("name", "language", "category", "status")
# What not every upstream and account knows, the least known first: the one that is dropped first.
ELIGIBILITY_FIELD = "auth_international_rate_eligibility"
BID_FIELD = "optimization_spec"
OPTIONAL_FIELDS = (BID_FIELD, "correct_category")
MAX_BID_AMOUNT = 10**12  # no price of a thousand messages comes near, in any currency
GRAPH_VERSION = "v23.0"  # of our own calls; clients' calls keep theirs
_TIMEOUT = aiohttp.ClientTimeout(total=30)  # a page of the list, read in the background


def _complete(row: Any) -> bool:
    return isinstance(row, dict) and all(
        isinstance(row.get(name), str) for name in ("name", "language", "category", "status")
    )


def _said(registry: str, row: dict[str, Any], *, bid_known: bool) -> TemplateChange:
    """Read one template of a list. Where its `correct_category` is another one, it will be moved there."""
    coming = row.get("correct_category")
    return TemplateChange(
        waba_id=registry,
        name=storable(row["name"]),
        language=_language(row),
        category=storable(row["category"]).lower(),
        status=storable(row["status"]).upper(),
        coming=storable(coming).lower() if isinstance(coming, str) and coming else None,
        bid_known=bid_known,
        bid_amount=_bid_amount(row.get(BID_FIELD)),
    )


def _bid_amount(spec: Any) -> int | None:
    """Read a template's maximum price for 1,000 deliveries; None where it has none, or one that makes no sense.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/marketing-messages/pricing
    """
    amount = str(_dict(spec).get("bid_amount", ""))
    return int(amount) if amount.isascii() and amount.isdigit() and 0 < int(amount[:20]) <= MAX_BID_AMOUNT else None


def _language(row: dict[str, Any]) -> str:
    return storable(row["language"]).replace("-", "_")


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _cause(error: Exception) -> str:
    """Return an error for the log without its URL, whose query nobody needs."""
    return f"HTTP {error.status}" if isinstance(error, aiohttp.ClientResponseError) else type(error).__name__
