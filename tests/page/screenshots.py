"""`make screenshots`: every screen, light and dark, wide and narrow, from a year made of a seed.

python -m page.screenshots FOLDER [NAME...]
"""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
from playwright.async_api import Page, async_playwright

from factory import FAST
from farebox import quarantine
from farebox.config import Settings
from farebox.embedded import EmbeddedStores
from farebox.migrate import migrate
from farebox.news import Kind, Piece
from farebox.web.users import Role, put_user
from harness import ADMIN_TOKEN, APP_SECRET, GERMAN, NUMBER, VERIFY_TOKEN, World, template
from page.year import Year

SCREENS = {
    "balance": "/",
    "usage": "/usage",
    "settings": "/settings",
    "charges": "/charges?number=201&country=DE&category=marketing&messages=20000"
    "&country=BR&category=service&messages=3000",
    "movements": "/movements?number=201",
    "movements-day": "/movements/day?number=201&day={yesterday}",
    "statement": "/statements/201/{month}",
    "messages": "/messages?q=5678",
    "message": "/messages/{hold}",
    "drift": "/drift",
    "quarantine": "/quarantine",
    "audit": "/audit",
    "billing": "/billing",
    "funds": "/funds",
    "renewal": "/settings?renewal=202#n202",
    "funds-amount": "/funds?number=201&step=amount",
    "usage-days": "/usage?month={month}",
    "usage-conversations": "/usage?number=202",
    "limits": "/settings/201/limits",
    "alerts": "/alerts",
    "topup-pending": "/funds/201/{topup}",
}
WIDTHS = (1440, 390)
SCHEMES = ("light", "dark")


async def stage(world: World) -> None:
    """Fill the account: four numbers, a year, some messages on their way, one number without funds."""
    names = {NUMBER: "+1 555 010 2233", "201": "+49 30 5550 0142", "202": "+55 11 5550 0177", "203": "+44 20 5550 0199"}
    for number, name in names.items():
        await world.add_number(number, display_phone_number=name, low_balance_at="50.00")
    await world.admin("PATCH", "/v1/accounts/acme", {"name": "Northwind Traders"})
    connection = await asyncpg.connect(world.gate.settings.database_url)
    today = datetime.fromtimestamp(world.gate.clock.now_ms() / 1000, UTC).date()
    await Year([NUMBER, "201", "202"], today, messages=600_000, raw_days=2).write(connection)
    await connection.execute(
        "UPDATE usage SET conversations = messages * 2 / 3 WHERE number_id = '202'"
    )  # its own regime
    await connection.close()
    await world.fund("5.00")
    rule = {"mode": "manual", "threshold": "200.00", "amount": "500.00", "monthly_cap": "1500.00"}
    await world.admin("PUT", "/v1/numbers/202/auto-renewal", rule)
    stuck = {"amount": "24.08", "method": "sandbox", "reference": "order 4711"}
    await world.admin("POST", "/v1/numbers/201/topups", stuck)
    for index in range(6):
        await world.send(template("summer_sale", to=GERMAN[:-1] + str(index)))
    await world.books_kept()
    await world.admin(
        "PUT", "/v1/numbers/201/limits", {"day": {"all": "120", "marketing": "80"}, "month": {"all": "600"}}
    )
    await world.admin("PUT", "/v1/accounts/acme/cards/sandbox", {"token": "4242-2030-12"})
    webhook = {"kind": "webhook", "target": "https://example.com/hooks/farebox", "name": "Books"}
    await world.admin("POST", "/v1/accounts/acme/channels", webhook, expect=201)
    await world.admin("PUT", "/v1/numbers/201/alert-levels", {"amounts": ["2000.00"], "days": [3]})
    now_ms = world.gate.clock.now_ms()
    low = "Number +44 20 5550 0199 has 0.00 USD available, less than its level of 50.00 USD: top it up."
    await world.gate.ledger.fetch("raise_alert", "203", "low_balance", "1", low, 0, 50_000_000, now_ms)
    for kind, about, reason in HELD:
        await quarantine.put(world.gate.ledger, Piece(kind, about, {}), reason, now_ms)


HELD = (
    (Kind.STATUS, "201", "the status names no message"),
    (
        Kind.UNMATCHED,
        "wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjdD",
        "no message with this wamid was sent from here",
    ),
)


@contextmanager
def open_folder() -> Iterator[str]:
    """Make a folder that the stores' user can enter."""
    with tempfile.TemporaryDirectory(prefix="farebox-shots-") as name:
        Path(name).chmod(0o711)
        yield name


async def main(folder: Path, names: list[str]) -> None:
    with open_folder() as name:
        async with EmbeddedStores(Path(name) / "data", postgres_settings=FAST) as stores:
            await migrate(stores.database_url)
            settings = Settings(
                database_url=stores.database_url, redis_url=stores.redis_url, data_dir=Path(name),
                sandbox_payments=True, admin_token=ADMIN_TOKEN, app_secret=APP_SECRET, verify_token=VERIFY_TOKEN,
                wallet_timeout_s=2, ledger_timeout_s=60,
            )  # fmt: skip
            async with World.open(settings) as world:
                await stage(world)
                await put_user(world.gate.ledger, "ann.miller", "a password of ann", Role.OPERATOR)
                await _shoot(world, folder, names)


async def _shoot(world: World, folder: Path, names: list[str]) -> None:
    today = datetime.fromtimestamp(world.gate.clock.now_ms() / 1000, UTC).date()
    (latest,) = await world.gate.ledger.fetch("latest_messages", [NUMBER], 1)
    (topup,) = (await world.admin("GET", "/v1/numbers/201/topups?limit=1"))["topups"]
    places = {
        "yesterday": today - timedelta(days=1),
        "month": f"{today:%Y-%m}",
        "hold": latest["hold_id"],
        "topup": topup["topup_id"],
    }
    screens = {name: path.format(**places) for name, path in SCREENS.items()}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for width in WIDTHS:
            for scheme in SCHEMES:
                context = await browser.new_context(
                    base_url=world.admin_url,
                    viewport={"width": width, "height": 900},
                    color_scheme=scheme,
                    locale="en-US",
                )
                page = await context.new_page()
                await page.goto("/sign-in")
                if not names or "sign-in" in names:
                    await page.screenshot(path=folder / f"sign-in-{width}-{scheme}.png")
                await page.get_by_label("Name").fill("ann.miller")
                await page.get_by_label("Password").fill("a password of ann")
                await page.get_by_role("button", name="Sign in").click()
                await page.get_by_role("heading", name="Balance", exact=True).wait_for()
                for name, path in screens.items():
                    if not names or name in names:
                        await page.goto(path)
                        wide = await page.evaluate("document.documentElement.scrollWidth")
                        assert wide <= width, f"{name} is {wide} pixels wide in a window of {width}"
                        await page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)
                if not names or "funds-review" in names:
                    await _review(page, folder / f"funds-review-{width}-{scheme}.png")
                await context.close()
        await browser.close()


async def _review(page: Page, file: Path) -> None:
    """Go on to the step that only a form leads to."""
    await page.goto(SCREENS["funds-amount"])
    await page.locator("#amount").fill("250.00")
    await page.locator("main form button").click()
    await page.locator("tfoot").wait_for()
    await page.screenshot(path=file, full_page=True)


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
