"""The page in a real Chromium: what a person does, by mouse and by keyboard, and what axe finds."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from harness import GERMAN, NUMBER, World, template
from page.year import Year

OTHER = "201"
MESSAGE = template("summer_sale", to=GERMAN)  # 0.1365 USD
SEEN_DARK = ("/", "/usage", "/charges", "/settings", "/funds", "/messages/{hold}", "/statements/{number}/{month}",
             "/settings/{number}/limits", "/alerts")  # fmt: skip
SCREENS = ("/", "/usage", "/settings", "/funds", "/billing", "/movements", "/settings/{number}/limits", "/alerts",
           "/messages", "/drift", "/quarantine", "/audit", "/messages/{hold}", "/movements/day?day={today}",
           "/statements/{number}/{month}", "/funds?number={number}&step=amount",
           "/charges?country=DE&category=marketing&messages=10")  # fmt: skip
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
FOUND = {"resultTypes": ["violations"]}  # what passes is megabytes of a screen, and nobody reads it
RULES = {"runOnly": TAGS, **FOUND}
CONTRAST = {"runOnly": ["color-contrast"], **FOUND}  # all that light and dark, wide and narrow can change


async def fill(world: World) -> None:
    """Two numbers with a year behind them."""
    await world.add_number(OTHER, display_phone_number="+49 30 5550 0142")
    assert world.gate.settings.database_url is not None
    connection = await asyncpg.connect(world.gate.settings.database_url)
    today = datetime.fromtimestamp(world.gate.clock.now_ms() / 1000, UTC).date()
    await Year([NUMBER, OTHER], today, messages=20_000, days=120).write(connection)
    await connection.close()


async def test_a_morning(world: World, screen: Page) -> None:
    """Add funds, set a threshold, watch messages go out until the money is gone, and ask why."""
    await screen.get_by_role("link", name="Add funds").first.click()
    await screen.get_by_role("button", name="Next").click()
    await screen.get_by_label("Amount in USD").fill("0.20")
    await screen.get_by_role("button", name="Next: see the fee").click()
    await expect(screen.get_by_role("row", name="You pay $0.20")).to_be_visible()
    await screen.get_by_label("I have seen this money arrive").check()
    await screen.get_by_role("button", name="Confirm").click()
    await expect(screen.get_by_text("The money is available.")).to_be_visible()

    await screen.get_by_role("link", name="Prepaid settings").click()
    await screen.get_by_text("Edit", exact=False).last.click()
    await screen.get_by_label("Warn below").fill("0.15")
    await screen.get_by_role("button", name="Save").click()
    await expect(screen.get_by_text("Saved.")).to_be_visible()
    assert (await world.admin("GET", f"/v1/numbers/{NUMBER}"))["low_balance_at"] == "0.15"

    await screen.get_by_role("link", name="Balance", exact=True).click()
    await screen.evaluate("window.unreloaded = true")
    total, banner = screen.locator(".total"), screen.get_by_role("alert")
    await expect(total).to_have_text("$0.20")
    await expect(banner).to_have_count(0)
    first = await world.send(MESSAGE)
    await world.books_kept()
    await expect(total).to_have_text("$0.06")
    await world.send(MESSAGE)
    await world.books_kept()
    await expect(total).to_have_text("-$0.08")
    await expect(banner).to_contain_text("Top up the balance and optionally enable auto-renewal")
    assert (await world.send(MESSAGE)).status == 402
    assert await screen.evaluate("window.unreloaded")

    await screen.get_by_role("link", name="Messages").click()
    await screen.get_by_label("Find a message").fill(first.json["messages"][0]["id"])
    await screen.get_by_label("Find a message").press("Enter")
    await expect(screen.get_by_role("heading", name="Why it cost what it cost")).to_be_visible()
    await expect(screen.get_by_text("$0.1365 were charged")).to_be_visible()


async def test_the_donut_answers_mouse_and_keyboard(world: World, screen: Page) -> None:
    await world.add_number(OTHER, display_phone_number="+49 30 5550 0142")
    await world.fund("3.00")
    await world.fund("1.00", OTHER)
    await screen.goto("/")
    middle = screen.locator(".donut figcaption")
    await expect(middle).to_contain_text("2")
    slices = screen.get_by_role("img", name="%")
    ring = await slices.nth(0).bounding_box()  # three quarters of it, clockwise from the top: the middle is empty
    assert ring is not None
    await slices.nth(0).hover(position={"x": ring["width"] / 2, "y": ring["height"] - 8})
    await expect(middle).to_contain_text("75.0%")
    await slices.nth(1).focus()
    await expect(middle).to_contain_text("25.0%")
    await expect(middle).to_contain_text("+49 30 5550 0142")
    await slices.nth(1).blur()
    await screen.mouse.move(0, 0)
    await expect(middle).to_contain_text("2")


async def test_by_keyboard_alone(world: World, screen: Page) -> None:
    await screen.keyboard.press("Tab")
    await expect(screen.get_by_role("link", name="Skip to the content")).to_be_focused()
    await screen.keyboard.press("Enter")
    await screen.keyboard.press("Tab")
    await expect(screen.locator("main :focus")).to_have_count(1)
    await screen.get_by_label("Your menu").focus()
    await screen.keyboard.press("Enter")
    await expect(screen.get_by_role("button", name="Sign out")).to_be_visible()
    await screen.keyboard.press("Escape")
    await expect(screen.get_by_role("button", name="Sign out")).to_be_hidden()
    await screen.keyboard.press("Enter")
    await screen.get_by_role("link", name="Deutsch").press("Enter")
    await expect(screen.get_by_role("heading", name="Guthaben", exact=True)).to_be_visible()


@pytest.mark.parametrize(
    ("scheme", "width", "rules", "screens"), [("light", 1440, RULES, SCREENS), ("dark", 390, CONTRAST, SEEN_DARK)]
)
async def test_axe_finds_nothing_and_nothing_is_too_wide(
    world: World, screen: Page, scheme: str, width: int, rules: dict[str, list[str]], screens: tuple[str, ...]
) -> None:
    await fill(world)
    sent = await world.send(MESSAGE)
    await world.books_kept()
    await screen.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    await screen.set_viewport_size({"width": width, "height": 900})
    now = datetime.fromtimestamp(world.gate.clock.now_ms() / 1000, UTC)
    hold = sent.headers["X-Farebox-Hold"]
    places = {"month": f"{now:%Y-%m}", "today": f"{now:%Y-%m-%d}", "hold": hold, "number": NUMBER}
    await world.admin("PUT", f"/v1/numbers/{NUMBER}/limits", {"day": {"all": "5"}})
    found, axe = [], Axe()
    for path in screens:
        await screen.goto(path.format(**places))
        await screen.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        results = await axe.run(screen, options=rules)
        found += [
            f"{path}: {one['id']} {[node['target'] for node in one['nodes']]}" for one in results.response["violations"]
        ]
        wide = await screen.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            found.append(f"{path} is {wide} wide")
    assert not found, "\n".join(found)


async def test_the_first_screen_is_there_in_a_moment(world: World, screen: Page) -> None:
    await fill(world)
    await screen.goto("/")
    timing = await screen.evaluate("performance.getEntriesByType('navigation')[0].toJSON()")
    files = await screen.evaluate("performance.getEntriesByType('resource').map(r => r.name)")
    assert {name.partition("?")[0].rpartition("/")[2] for name in files} <= {"farebox.css", "farebox.js", "icon.svg"}
    assert timing["domContentLoadedEventEnd"] > 0
    assert timedelta(milliseconds=timing["duration"]) < timedelta(
        seconds=15
    )  # make bench-page measures; a load may be on
