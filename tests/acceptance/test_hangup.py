"""SIGHUP takes over changed settings: new workers, no request refused; wrong settings change nothing."""

import asyncio
import signal
from pathlib import Path

import aiohttp

from acceptance.process import farebox
from acceptance.site import Site, both_workers_know, open_site
from harness import template

TRIES = 400


async def status_of_a_refusal(site: Site) -> int:
    """Send without funds on a new connection; its status is a setting."""
    async with aiohttp.ClientSession() as session:
        site.session, kept = session, site.session
        status, _, _ = await site.send(template())
        site.session = kept
        return status


async def test_changed_settings_are_taken_over(tmp_path: Path, database_url: str, redis_url: str) -> None:
    file = tmp_path / "farebox.toml"
    file.write_text("out_of_funds_status = 402\n")
    async with open_site((database_url, redis_url), FAREBOX_CONFIG=str(file)) as site:
        await both_workers_know(site)
        await site.admin("PATCH", "/v1/numbers/" + (await numbers(site))[0], {"block_at": "1.00"})
        await until(site, 402)
        file.write_text("out_of_funds_status = nonsense\n")
        site.box.process.send_signal(signal.SIGHUP)
        await site.box.read_until("settings not taken over")
        assert await status_of_a_refusal(site) == 402
        file.write_text("out_of_funds_status = 403\n")
        site.box.process.send_signal(signal.SIGHUP)
        reading = asyncio.create_task(site.box.read_until("new workers serve"))
        seen = set()
        while not reading.done():
            seen.add(await status_of_a_refusal(site))
        assert seen <= {402, 403}, "a request was refused meanwhile"
        await until(site, 403)
        assert await site.box.end(signal.SIGTERM) == 0


async def numbers(site: Site) -> list[str]:
    shown = await site.admin("GET", "/v1/numbers", None)
    return [number["phone_number_id"] for number in shown["numbers"]]


async def until(site: Site, status: int) -> None:
    """Send until many new connections in a row see this status: a worker may still hear of a change, or be leaving."""
    in_a_row = 0
    async with asyncio.timeout(60):
        while in_a_row < 10:
            in_a_row = in_a_row + 1 if await status_of_a_refusal(site) == status else 0


async def test_a_weak_admin_token_is_refused() -> None:
    async with farebox("serve", environment={"FAREBOX_ADMIN_TOKEN": "changeme"}) as box:
        assert await box.end(0) == 2
        assert box.process.stdout is not None
        said = (await box.process.stdout.read()).decode()
        assert said.startswith("farebox: FAREBOX_ADMIN_TOKEN is shorter than 16 characters: choose")
        assert "changeme" not in said
