"""A real browser for the page: Debian's Chromium, headless, driven by Playwright."""

import os
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from farebox.web.users import Role, put_user
from harness import World
from page.people import Reader

expect.set_options(timeout=20_000)  # a busy machine is no broken page
NO_BROWSER = (
    "no Chromium here, so the page is not tried in a browser: apt-get install chromium, or name one in CHROMIUM"
)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        assert "PAGE_NEEDS_CHROMIUM" not in os.environ, NO_BROWSER
        pytest.skip(NO_BROWSER)
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        await opened.close()


@pytest.fixture
async def reader(world: World) -> Reader:
    """A client without a browser, signed in as an operator."""
    await put_user(world.gate.ledger, "olga", "a password of olga", Role.OPERATOR)
    made = Reader(world)
    await made.sign_in("olga", "a password of olga")
    return made


@pytest.fixture
async def screen(world: World, browser: Browser) -> AsyncIterator[Page]:
    """A browser's page, signed in as an operator, that fails the test where the policy or the script complains."""
    await put_user(world.gate.ledger, "olga", "a password of olga", Role.OPERATOR)
    context = await browser.new_context(base_url=world.admin_url, locale="en-US", timezone_id="UTC")
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto("/sign-in")
    await page.get_by_label("Name").fill("olga")
    await page.get_by_label("Password").fill("a password of olga")
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("heading", name="Balance", exact=True).wait_for()
    yield page
    await context.close()
    assert not complaints
