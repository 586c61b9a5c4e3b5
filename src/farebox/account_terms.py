"""What WhatsApp says about business accounts goes into the ledger: rates, and how fast numbers may send.

From there every worker hears of it. It comes by webhook, and what is readable is read beside the template lists: a
webhook may have been missed.
"""

from collections.abc import Iterable, Sequence

from farebox.acting import Actor, acting
from farebox.core.account import Faster, Notice, Reached, Start
from farebox.directory import Directory
from farebox.ledger import Ledger


async def keep_terms(ledger: Ledger, directory: Directory, waba_ids: Iterable[str], notices: Sequence[Notice]) -> None:
    """Take over what is said about accounts; what is repeated changes nothing."""
    starts = {notice.country: notice.at_ms for notice in notices if isinstance(notice, Start)}
    tiers = [notice for notice in notices if isinstance(notice, Reached)]
    faster = {notice.number: notice.per_second for notice in notices if isinstance(notice, Faster)}
    changed = []
    for waba_id in waba_ids:
        if starts:
            changed += await ledger.fetch("put_starts", waba_id, list(starts), list(starts.values()))
        if tiers:
            changed += await ledger.fetch(
                "put_tiers",
                waba_id,
                [tier.region for tier in tiers],
                [tier.category for tier in tiers],
                [tier.month for tier in tiers],
                [tier.lower for tier in tiers],
                [tier.at_ms for tier in tiers],
            )
        if faster:
            with acting(Actor("WhatsApp", "THROUGHPUT_UPGRADE")):
                changed += await ledger.fetch("raise_throughput", waba_id, list(faster), list(faster.values()))
    if changed:
        await directory.load_numbers(ledger)  # the other workers hear of it by NOTIFY
