"""The template registry: which category a template has, kept in step with the upstream's template lists.

It is read when a worker starts, on a timer, when a webhook says that something changed, and when a send names a
template that the registry does not know.
"""

import asyncio
import logging
from typing import Any

import aiohttp

from farebox.clock import Clock
from farebox.core.message import storable
from farebox.directory import Directory, Number
from farebox.ledger import Ledger
from farebox.upstream import Upstream

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
        key = (number.waba_id, name, language)
        known = self._directory.templates.get(key)
        if known is None and self._misses.get(key, 0) <= self._clock.now_ms():
            await self._look_up(number, key)
            known = self._directory.templates.get(key)
        return known.category if known else None

    async def sync(self) -> int:
        """Read the template lists of all accounts; return how many templates were read."""
        read = 0
        for waba_id, numbers in list(self._directory.wabas.items()):
            number = next((n for n in numbers if n.upstream_token), None)
            if number is None or not waba_id:
                continue
            try:
                read += await self._read(number, {})
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                log.warning("the templates of account %s could not be read: %s", waba_id, error)
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
                await self._read(number, {"name": key[1]})
            await self._directory.load_templates(self._ledger)
        except Exception as error:
            # Not knowing a category never stops a send: it is reserved at the dearest one.
            log.warning("template %s could not be looked up: %s", key[1], type(error).__name__)
        finally:
            if len(self._misses) >= MAX_MISSES:
                self._misses.clear()
            self._misses[key] = self._clock.now_ms() + FORGET_MISS_MS
            self._lookups.pop(key).set_result(None)

    async def _read(self, number: Number, filters: dict[str, str]) -> int:
        """Read one account's list, page by page, into the ledger."""
        # Without compression: the session leaves bodies as they come, for those that are passed on.
        headers = {"Authorization": f"Bearer {number.upstream_token}", "Accept-Encoding": "identity"}
        query = {"fields": "name,language,category,status", "limit": str(PAGE_SIZE), **filters}
        read = 0
        for _ in range(MAX_PAGES):
            url = f"{self._upstream.base_url}/{GRAPH_VERSION}/{number.waba_id}/message_templates"
            async with self._upstream.session.get(url, params=query, headers=headers, timeout=_TIMEOUT) as answer:
                answer.raise_for_status()
                page = await answer.json(content_type=None)
            rows = [row for row in page.get("data", []) if _complete(row)]
            await self._ledger.fetch(
                "put_templates",
                [number.waba_id] * len(rows),
                [storable(row["name"]) for row in rows],
                [storable(row["language"]).replace("-", "_") for row in rows],
                [storable(row["category"]).lower() for row in rows],
                [storable(row["status"]).upper() for row in rows],
                self._clock.now_ms(),
            )
            read += len(rows)
            after = page.get("paging", {}).get("cursors", {}).get("after")
            if not after or "next" not in page["paging"]:
                break
            query["after"] = after
        return read


GRAPH_VERSION = "v23.0"  # of our own calls; clients' calls keep theirs
_TIMEOUT = aiohttp.ClientTimeout(total=30)  # a page of the list, read in the background


def _complete(row: Any) -> bool:
    return isinstance(row, dict) and all(
        isinstance(row.get(name), str) for name in ("name", "language", "category", "status")
    )
