"""Values that tests start from."""

import shutil
from pathlib import Path
from zoneinfo import ZoneInfo

from farebox.core.markup import NO_MARKUP, Markup
from farebox.core.message import ANYWHERE
from farebox.core.recipient import Recipients
from farebox.core.reply import Dialect
from farebox.directory import Number

# Nothing here must survive a power cut, and waiting for the disk is most of what a small test does.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}

IN_MEMORY = Path("/dev/shm")
ROOM_BYTES = 2 * 2**30  # that it must have to be used; a container has 64 MB there unless told otherwise


def fastest_folder() -> str | None:
    """Where stores that nobody needs afterwards are fastest: making a database takes a tenth of the time in memory."""
    return str(IN_MEMORY) if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ROOM_BYTES else None


def make_number(
    regime: str = "auto",
    currency: str = "USD",
    zone: str = "UTC",
    markup: Markup = NO_MARKUP,
    recipients: Recipients = ANYWHERE,
) -> Number:
    """Return a number as the directory holds it."""
    return Number(
        number_id="1",
        account_id="a",
        display_phone_number="",
        waba_id="",
        zone=ZoneInfo(zone),
        currency=currency,
        dialect=Dialect.CLOUD,
        regime=regime,
        upstream_token=None,
        app_secret=None,
        webhook_secret=None,
        app_url=None,
        mode="enforce",
        funds_rule="above_zero",
        block_at_micros=0,
        low_balance_at_micros=None,
        markup=markup,
        recipients=recipients,
    )
