"""`make bench-page`: what each screen and call takes on a year of ten million messages, made from a seed.

    python -m page.bench --messages 10000000 --raw-days 30

All months stand in the roll-up. The last `--raw-days` are single messages as well, with holds and entries, because the
search and a day's movements look at those; the months before are as `farebox retain` leaves them.
"""

import argparse
import asyncio
import functools
import shutil
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
from playwright.async_api import async_playwright

from factory import FAST
from farebox.config import Settings
from farebox.embedded import EmbeddedStores
from farebox.migrate import migrate
from farebox.web.users import Role, put_user
from harness import ADMIN_TOKEN, APP_SECRET, NUMBER, VERIFY_TOKEN, World
from page.people import Reader
from page.screenshots import open_folder
from page.year import Year

NUMBERS = [NUMBER, "201", "202", "203", "204"]
PASSWORD = "a password of ann"
BAR_MS, FIRST_BAR_MS = 200, 500
PAINTED = """new Promise(done => new PerformanceObserver(list => {
    for (const entry of list.getEntries()) if (entry.name === "first-contentful-paint") done(entry.startTime);
}).observe({ type: "paint", buffered: true }))"""
say = functools.partial(print, flush=True)
PATHS = (
    "/", "/live", "/usage", "/usage?class=paid&category=marketing&market=Germany", "/usage?month={month}", "/charges",
    "/charges?country=DE&category=marketing&messages=100000", "/settings", "/funds", "/movements",
    "/movements?month={last_month}", "/movements/day?day={yesterday}", "/movements/day?day={yesterday}&page=40",
    "/statements/{number}/{month}", "/statements/{number}/{month}?as=csv", "/messages", "/messages?q=1234",
    "/messages?q=order-40", "/messages?q=0000000", "/messages/{hold}", "/drift", "/quarantine", "/audit",
    "/v1/usage", "/v1/usage?granularity=day&from={year_ago}&to={today}", "/v1/estimates?number={number}",
    "/v1/numbers", "/v1/numbers/{number}/entries", "/v1/messages/{hold}",
)  # fmt: skip


async def main(messages: int, raw_days: int, times: int) -> None:
    with open_folder() as name:
        fast = {**FAST, "shared_buffers": "512MB", "maintenance_work_mem": "256MB"}
        async with EmbeddedStores(Path(name) / "data", postgres_settings=fast) as stores:
            await migrate(stores.database_url)
            settings = Settings(
                database_url=stores.database_url, redis_url=stores.redis_url, data_dir=Path(name),
                admin_token=ADMIN_TOKEN, app_secret=APP_SECRET, verify_token=VERIFY_TOKEN, wallet_timeout_s=2,
                ledger_timeout_s=60,
            )  # fmt: skip
            async with World.open(settings) as world:
                await _bench(world, messages, raw_days, times)


async def _bench(world: World, messages: int, raw_days: int, times: int) -> None:
    today = datetime.fromtimestamp(world.gate.clock.now_ms() / 1000, UTC).date()
    for number in NUMBERS:
        await world.add_number(number)
    assert world.gate.settings.database_url is not None
    connection = await asyncpg.connect(world.gate.settings.database_url)
    began = time.monotonic()
    await Year(NUMBERS, today, messages, raw_days=raw_days).write(connection)
    counted = await connection.fetchrow(
        "SELECT (SELECT sum(messages) FROM usage) AS messages, (SELECT count(*) FROM usage) AS rows, "
        "(SELECT count(*) FROM hold) AS holds, (SELECT count(*) FROM entry) AS entries"
    )
    await connection.close()
    assert counted is not None
    say(
        f"{counted['messages']:,} messages of a year in {counted['rows']:,} rows of the roll-up; of the last "
        f"{raw_days} days {counted['holds']:,} holds and {counted['entries']:,} entries; made in "
        f"{time.monotonic() - began:.0f} s\n"
    )
    await put_user(world.gate.ledger, "ann", PASSWORD, Role.OPERATOR)
    ann = Reader(world)
    await ann.sign_in("ann", PASSWORD)
    (latest,) = await world.gate.ledger.fetch("latest_messages", NUMBERS, 1)
    places = {
        "month": f"{today:%Y-%m}", "last_month": f"{today.replace(day=1) - timedelta(days=1):%Y-%m}", "today": today,
        "yesterday": today - timedelta(days=1), "year_ago": today - timedelta(days=365), "number": NUMBER,
        "hold": latest["hold_id"],
    }  # fmt: skip
    say(f"{'ms':<62}{'median':>8}{'p95':>8}{'worst':>8}")
    slow = []
    for path in PATHS:
        asked = path.format(**places)
        median, p95, worst = await _time(lambda asked=asked: _get(world, ann, asked), times)  # type: ignore[misc]
        slow += [asked] if p95 > BAR_MS else []
        say(f"{asked:<62}{median:>8.0f}{p95:>8.0f}{worst:>8.0f}{'  above ' + str(BAR_MS) if p95 > BAR_MS else ''}")
    say(f"\n{len(PATHS) - len(slow)} of {len(PATHS)} within {BAR_MS} ms at p95 (first bar {FIRST_BAR_MS} ms)")
    await _first_screen(world)


async def _get(world: World, ann: Reader, path: str) -> None:
    if path.startswith("/v1"):
        await world.admin("GET", path)
    else:
        await ann.get(path)


async def _time(call: Callable[[], Awaitable[None]], times: int) -> tuple[float, float, float]:
    await call()
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await call()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took), statistics.quantiles(took, n=20)[-1], max(took)


async def _first_screen(world: World) -> None:
    path = shutil.which("chromium")
    if path is None:
        say("no Chromium here: the first screen was not measured")
        return
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        took = []
        for _ in range(5):  # each with an empty cache
            context = await browser.new_context(base_url=world.admin_url)
            page = await context.new_page()
            await page.goto("/sign-in")
            await page.get_by_label("Name").fill("ann")
            await page.get_by_label("Password").fill(PASSWORD)
            await page.get_by_role("button", name="Sign in").click()
            await page.get_by_role("heading", name="Balance", exact=True).wait_for()
            await page.goto("/")
            loaded = "performance.getEntriesByType('navigation')[0].loadEventEnd"
            took.append((await page.evaluate(PAINTED), await page.evaluate(loaded)))
            await context.close()
        await browser.close()
    paint, load = (statistics.median(values) for values in zip(*took, strict=True))
    say(f"first screen in Chromium: painted after {paint:.0f} ms, loaded after {load:.0f} ms (bar 1,500 ms)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make bench-page", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000_000)
    parser.add_argument("--raw-days", type=int, default=30)
    parser.add_argument("--times", type=int, default=40)
    options = parser.parse_args()
    asyncio.run(main(options.messages, options.raw_days, options.times))
