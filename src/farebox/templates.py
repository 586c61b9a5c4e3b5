"""The template registry: which category a template has, kept in step with the upstream's template lists.

It is read when a worker starts, on a timer, when a webhook says that something changed, and when a send names a
template that the registry does not know.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from farebox.clock import Clock
from farebox.core.message import storable
from farebox.core.reply import Dialect
from farebox.directory import Directory, Number
from farebox.ledger import Ledger
from farebox.upstream import D360_KEY, Upstream

log = logging.getLogger(__name__)

PAGE_SIZE = 200  # Meta allows up to 1,000; answers stay below a megabyte
MAX_PAGES = 100  # 20,000 templates; Meta's own limit for an account is 6,000
LOOKUP_TIMEOUT_S = 3  # a send waits for the look-up of an unknown template, but not longer
FORGET_MISS_MS = (
    60_000  # a template that was not found is not asked for again in this time: it may be a typo in a campaign
)
MAX_MISSES = 10_000  # names that were not found; a bound on memory


class Templates:
    """Looks categories up, and reads the upstream's lists."""

    def __init__(self, directory: Directory, ledger: Ledger, upstream: Upstream, clock: Clock) -> None:
        self._directory = directory
        self._ledger = ledger
        self._upstream = upstream
        self._clock = clock
        self._misses: dict[tuple[str, str, str], int] = {}
        self._lookups: dict[tuple[str, str, str], asyncio.Future[None]] = {}

    async def category(self, number: Number, name: str, language: str) -> str | None:
        """Return a template's category; an unknown template is looked up once. None: nobody knows it."""
        key = (number.registry, name, language)
        known = self._directory.templates.get(key)
        if known is None and self._misses.get(key, 0) <= self._clock.now_ms():
            await self._look_up(number, key)
            known = self._directory.templates.get(key)
        return known.category if known else None

    async def sync(self) -> int:
        """Read all template lists, each with one number's token; return how many templates were read."""
        read = 0
        readers: dict[str, Number] = {}
        for number in self._directory.numbers.values():
            if number.upstream_token and (number.waba_id or number.dialect is not Dialect.CLOUD):
                readers.setdefault(number.registry, number)
        for registry, number in readers.items():
            try:
                read += await self._read(number, name=None)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                log.warning("the templates of %s could not be read: %s", registry, _cause(error))
        await self._directory.load_templates(self._ledger)
        return read

    async def _look_up(self, number: Number, key: tuple[str, str, str]) -> None:
        """Ask the upstream for one template; sends that need the same one share the question."""
        if key in self._lookups:
            await asyncio.shield(self._lookups[key])
            return
        self._lookups[key] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                await self._read(number, name=key[1])
            await self._directory.load_templates(self._ledger)
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
        async for page in pages(number, name):
            # By name and language: one statement may not write a row twice, and 360dialog may list a template twice.
            rows = list({(row["name"], _language(row)): row for row in page if _complete(row)}.values())
            await self._ledger.fetch(
                "put_templates",
                [number.registry] * len(rows),
                [storable(row["name"]) for row in rows],
                [_language(row) for row in rows],
                [storable(row["category"]).lower() for row in rows],
                [storable(row["status"]).upper() for row in rows],
                self._clock.now_ms(),
            )
            read += len(rows)
        return read

    async def _cloud_pages(self, number: Number, name: str | None) -> AsyncIterator[list[Any]]:
        """Read `GET /{account}/message_templates`, which pages by cursor."""
        query = {"fields": "name,language,category,status", "limit": str(PAGE_SIZE)} | ({"name": name} if name else {})
        headers = {"Authorization": f"Bearer {number.upstream_token}"}
        for _ in range(MAX_PAGES):
            page = await self._get(f"/{GRAPH_VERSION}/{number.waba_id}/message_templates", query, headers)
            yield _list(page.get("data"))
            paging = _dict(page.get("paging"))
            after = _dict(paging.get("cursors")).get("after")
            if not isinstance(after, str) or "next" not in paging:
                break
            query["after"] = after

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
            answer.raise_for_status()
            page = await answer.json(content_type=None)
        if not isinstance(page, dict):
            raise ValueError("the list is no JSON object")  # noqa: TRY004  an answer of another program, not of ours
        return page


GRAPH_VERSION = "v23.0"  # of our own calls; clients' calls keep theirs
_TIMEOUT = aiohttp.ClientTimeout(total=30)  # a page of the list, read in the background


def _complete(row: Any) -> bool:
    return isinstance(row, dict) and all(
        isinstance(row.get(name), str) for name in ("name", "language", "category", "status")
    )


def _language(row: dict[str, str]) -> str:
    return storable(row["language"]).replace("-", "_")


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _cause(error: Exception) -> str:
    """Return an error for the log without its URL, whose query nobody needs."""
    return f"HTTP {error.status}" if isinstance(error, aiohttp.ClientResponseError) else type(error).__name__
