"""What a number should look like: an independent account of the rules, in plain values, written from the rules alone.

It shares nothing with the product but the rate cards, which it reads as numbers. Free pools are of POOL units here and
in the tariffs that the machine plays with, so that a short run meets their end.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

RATES = Path(__file__).parent.parent / "config" / "tariffs" / "rates"
POOL = 3
HOUR = 3_600_000
DAY = 24 * HOUR
MARKETS = {"16505551234": "North America", "4915112345678": "Germany", "51912345678": "Peru"}
STARTS = {"four": "2023-06-01", "free service": "2024-11-01", "templates": "2025-07-01", "replies": "2026-10-01"}
KINDS = ("text", "reaction", "template marketing", "template utility", "template authentication", "direct utility")
RIDDEN = ("service", "utility", "authentication", "marketing")  # in this order, a free one before a paid one


@cache
def card(name: str) -> dict[tuple[str, str], int]:
    lines = [line for line in (RATES / name).read_text().splitlines() if not line.startswith("#")]
    return {
        (row["market"], category): int(Decimal(row[category]) * 1_000_000)
        for row in csv.DictReader(lines)
        for category in ("marketing", "utility", "authentication", "service")
        if row[category]
    }


@dataclass(eq=False)
class Sent:
    """A message that was taken."""

    user: str
    category: str  # of its price
    paid: bool
    fare: int
    by: str
    regime: str
    at: int
    opens: str = ""
    rides: "Sent | None" = None
    unit: str = ""
    reaction: bool = False
    opened_until: int = 0  # the free entry point that it opened
    state: str = "open"  # settled, released, expired
    billed: int = 0
    noted: bool = False  # seen delivered, without a price
    conversation: str = ""  # what WhatsApp calls it
    hold_id: str = ""
    wamid: str = ""

    @property
    def expires(self) -> int:
        life = 10 * 60_000 if self.category == "authentication" else 30 * DAY
        return self.at + life + HOUR


@dataclass
class Open:
    """A conversation, pending while it has no end."""

    opener: Sent
    until: int = 0


@dataclass
class User:
    windows: dict[str, int] = field(default_factory=dict)  # csw, offer, fep -> end
    conversations: dict[str, Open] = field(default_factory=dict)

    def open(self, window: str, now: int) -> bool:
        return now < self.windows.get(window, 0)

    def riding(self, categories: tuple[str, ...], now: int) -> Open | None:
        found = [
            self.conversations[name]
            for name in categories
            if name in self.conversations
            and (not self.conversations[name].until or now < self.conversations[name].until)
        ]
        return next((one for one in found if not one.opener.paid), found[0] if found else None)


@dataclass
class Said:
    """A status webhook: what WhatsApp says, and when."""

    sent: Sent
    word: str  # sent, delivered, read, failed
    at: int
    kind: str = ""  # of its price: regular, free_..., billable, free (conversations); none: the webhook names no price
    category: str = ""
    conversation: str = ""


@dataclass
class Model:
    """One number."""

    zone: ZoneInfo
    cover: bool
    block_at: int
    shadow: bool
    topped_up: int = 0
    users: dict[str, User] = field(default_factory=lambda: {user: User() for user in MARKETS})
    messages: list[Sent] = field(default_factory=list)
    charged: set[str] = field(default_factory=set)  # conversations

    @property
    def held(self) -> int:
        return sum(sent.fare for sent in self.messages if sent.state == "open")

    @property
    def available(self) -> int:
        return self.topped_up - self.held - sum(sent.billed for sent in self.messages)

    def day(self, now: int) -> date:
        return datetime.fromtimestamp(now / 1000, UTC).astimezone(self.zone).date()

    def regime(self, now: int) -> str:
        day = self.day(now).isoformat()
        return [name for name, start in STARTS.items() if start <= day][-1]

    def pool(self, now: int) -> str:
        name = "service" if self.regime(now) in ("templates", "replies") else "conversation"
        return f"{name}:{self.day(now):%Y-%m}"

    def used(self, pool: str) -> int:
        return sum(sent.unit == pool and sent.state in ("open", "settled") for sent in self.messages)

    def rate(self, user: str, category: str, now: int) -> int:
        """Return Meta's price on the card in force: the latest that has begun, else the nearest one that is known."""
        day, regime = self.day(now).isoformat(), self.regime(now)
        if regime == "replies":
            name = "pmp_usd_2026-10-01.csv"
        elif regime == "templates":
            name = "pmp_usd_2026-07-01.csv" if day >= "2026-07-01" else "pmp_usd_2025-10-01.csv"
        else:
            name = "cbp_usd_2024-11-01.csv"
            if regime == "four" and category == "service":
                category = "utility"  # stands in
        return card(name)[MARKETS[user], category]

    def send(self, kind: str, user: str, now: int) -> Sent | None:
        """Take a message by the first rule that holds; None: there are not enough funds."""
        sent = next(self._rules(kind, user, now))
        if sent.paid and not self.shadow and not self._enough(sent.fare):
            return None
        self._take(sent, now)
        return sent

    def _enough(self, fare: int) -> bool:
        above = self.available > self.block_at
        return above and (not self.cover or self.available - self.block_at >= fare)

    def _rules(self, kind: str, user: str, now: int) -> Iterator[Sent]:
        state, regime = self.users[user], self.regime(now)
        category = {"text": "service", "reaction": "service"}.get(kind, kind.rsplit(maxsplit=1)[-1])
        by_message = regime in ("templates", "replies")

        def rule(by: str, *, paid: bool = False, opens: str = "", rides: Sent | None = None, unit: str = "") -> Sent:
            fare = self.rate(user, category, now) if paid and rides is None else 0
            return Sent(user, category, paid, fare, by, regime, now, opens, rides, unit, kind == "reaction")

        if by_message and kind == "reaction":
            yield rule("always")
        if not (by_message and kind.startswith("direct")):
            if state.open("fep", now):
                yield rule("fep")
            if state.open("offer", now):
                yield rule("offer", opens="fep" if by_message else "")
        if regime == "templates" and category == "service":
            yield rule("always")
        if regime == "templates" and kind == "template utility" and state.open("csw", now):
            yield rule("csw")
        if not by_message or (regime == "templates" and kind == "template utility"):
            ridden = state.riding(RIDDEN if category == "service" else (category,), now)
            if ridden:
                yield rule("conversation", paid=ridden.opener.paid, rides=ridden.opener)
        opens = "" if by_message else category
        if category == "service" and regime == "free service":
            yield rule("always", opens=opens)
        if category == "service" and self.used(self.pool(now)) < POOL:
            yield rule("pool", opens=opens, unit=self.pool(now))
        yield rule("always", paid=True, opens=opens)

    def _take(self, sent: Sent, now: int) -> None:
        state = self.users[sent.user]
        if sent.opens == "fep":
            state.windows["fep"] = sent.opened_until = now + 72 * HOUR
            sent.opens = ""
        elif sent.opens:
            sent.conversation = f"c{len(self.messages)}"
            state.conversations[sent.opens] = Open(sent)
        elif sent.rides:
            sent.conversation = sent.rides.conversation
        self.messages.append(sent)

    def write(self, user: str, at: int, *, ad: bool) -> None:
        windows = self.users[user].windows
        windows["csw"] = max(windows.get("csw", 0), at + DAY)
        if ad:
            windows["offer"] = max(windows.get("offer", 0), at + DAY)

    def hear(self, said: Said) -> None:
        """Take over a status. A delivery is charged once, and nothing that is charged ever changes."""
        sent, windows = said.sent, self.users[said.sent.user].windows
        proof = said.kind == "free_entry_point" or said.category == "referral_conversion"
        if proof and windows.get("fep", 0) <= said.at:
            windows["fep"] = said.at + 72 * HOUR
        if said.word == "failed" and sent.state == "open":
            self.give_back([sent], "released")
        if said.word not in ("delivered", "read") or sent.state == "settled":
            return
        if not said.kind:
            sent.noted = sent.noted or sent.state == "open"
            return
        billed = 0 if said.kind.startswith("free") else self.rate(sent.user, said.category, said.at)
        if billed and said.conversation:
            billed = 0 if said.conversation in self.charged else billed
            self.charged.add(said.conversation)
        if said.kind == "free_customer_service" and self.regime(said.at) == "replies" and not sent.reaction:
            sent.unit = self.pool(said.at)  # of the month of delivery
        self._settle(sent, billed, said.at + DAY if said.conversation else 0)
        if billed and sent.by in ("fep", "offer"):
            windows.pop("fep", None)
            windows.pop("offer", None)

    def _settle(self, sent: Sent, billed: int, until: int) -> None:
        sent.state, sent.billed = "settled", billed
        conversations = self.users[sent.user].conversations
        known = conversations.get(sent.opens)
        if known is not None and known.opener is sent:
            if until:
                known.until = until
            else:
                del conversations[sent.opens]  # charged by the message: there was no conversation

    def give_back(self, several: list[Sent], state: str) -> None:
        """End messages that did not arrive; the next of a conversation carries its fare."""
        for sent in several:
            sent.state = state
        for sent in several:
            windows = self.users[sent.user].windows
            if sent.opened_until and windows.get("fep") == sent.opened_until:
                del windows["fep"]  # an answer that did not arrive was none
            conversations = self.users[sent.user].conversations
            riders = [one for one in self.messages if one.rides is sent]
            heir = next((one for one in riders if one.state == "open"), None)
            if not sent.opens:
                continue
            if heir is None:
                if sent.opens in conversations and conversations[sent.opens].opener is sent:
                    del conversations[sent.opens]
                continue
            heir.fare, heir.paid, heir.opens, heir.rides = sent.fare, sent.paid, sent.opens, None
            heir.unit = heir.unit or sent.unit
            for one in riders:
                if one is not heir:
                    one.rides = heir
            conversations[sent.opens] = Open(heir)

    def sweep(self, now: int) -> None:
        due = [sent for sent in self.messages if sent.state == "open" and sent.expires <= now]
        for sent in due:
            if sent.noted:
                self._settle(sent, sent.fare, 0)
        self.give_back([sent for sent in due if not sent.noted], "expired")
