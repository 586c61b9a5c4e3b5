"""Changes of templates: what webhooks and lists say goes into the registry, into its history, and into a warning.

A template that moves to a dearer category changes what every campaign with it costs, and Meta may move one without a
notice (https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-categorization).
"""

import logging
from collections.abc import Sequence
from typing import Literal

import asyncpg

from farebox import metrics
from farebox.clock import Clock
from farebox.core.money import format_micros
from farebox.core.tariff import UnpricedError
from farebox.core.template import Rise, Step, rise
from farebox.core.webhook import TemplateChange
from farebox.directory import Directory
from farebox.ledger import Ledger
from farebox.tariffs import Tariffs

log = logging.getLogger(__name__)


class Registry:
    """Takes over what is said about templates."""

    def __init__(self, directory: Directory, ledger: Ledger, tariffs: Tariffs, clock: Clock) -> None:
        self.directory = directory
        self.ledger = ledger
        self.clock = clock
        self._tariffs = tariffs

    async def reload(self) -> None:
        """Read the registry into memory."""
        await self.directory.load_templates(self.ledger)

    async def last_change(self) -> int:
        """Return where the history ends: a list asked for from here on may not undo what comes later."""
        row = await self.ledger.fetch_one("last_template_change")
        assert row is not None, "an aggregate has one row"
        return int(row["change_id"])

    async def take_over(
        self,
        said: Sequence[TemplateChange],
        *,
        source: Literal["webhook", "sync"],
        asked_after: int | None = None,
    ) -> None:
        """Write what is new, and warn of what becomes dearer. What was said before changes nothing."""
        changes = await self.ledger.fetch(
            "put_templates",
            [change.waba_id for change in said],
            [change.name for change in said],
            [change.language for change in said],
            [change.category for change in said],
            [change.status for change in said],
            [change.coming for change in said],
            [change.coming_ms for change in said],
            [change.previous for change in said],
            [change.bid_known for change in said],
            [change.bid_amount for change in said],
            [change.said_ms for change in said],
            self.clock.now_ms(),
            asked_after,
            source,
        )
        if changes:
            await self.reload()  # the next send of this worker is priced anew; the others hear of it by NOTIFY
        for change in changes:
            risen = self.rise(change)
            if risen is not None:
                self._warn(change, risen)

    def rise(self, change: asyncpg.Record) -> Rise | None:
        """Return what a change of category costs the numbers of its account, by the rates of its day; None: nothing."""
        numbers = self.directory.numbers_of(change["waba_id"])
        if change["what"] != "category" or not numbers:
            return None
        at_ms = int((change["due_at"] or change["at"]).timestamp()) * 1000
        try:
            tariff = self._tariffs.at(numbers[0], at_ms)
        except UnpricedError:
            return None
        return rise(tariff, change["old"], change["new"], numbers[0].recipients.country)

    def _warn(self, change: asyncpg.Record, risen: Rise) -> None:
        for account_id in {number.account_id for number in self.directory.numbers_of(change["waba_id"])}:
            metrics.DEARER_TEMPLATES.labels(metrics.account_label(account_id)).inc()
        steps = [step for step in (risen.home, risen.largest) if step is not None]
        log.warning(
            "template %s (%s) of %s %s dearer, from %s to %s: %s",
            change["name"],
            change["language"],
            change["waba_id"],
            "becomes" if change["state"] == "done" else "will become",
            change["old"],
            change["new"],
            ", ".join(f"{_prices(step)} {risen.currency} in {step.market}" for step in dict.fromkeys(steps)),
        )


def _prices(step: Step) -> str:
    return f"{format_micros(step.old_micros)} -> {format_micros(step.new_micros)}"
