"""A WhatsApp that takes messages, rejects them or is silent; its webhooks come twice, late, in any order or never."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from farebox.connections import FateUnknownError, NotSentError
from farebox.core.reply import Reply
from simulate.kernel import SECOND_US, SimulationError

if TYPE_CHECKING:
    from simulate.world import World

USERS = ("16505551234", "4915112345678")
MOODS = ("takes",) * 12 + (
    "rejects",
    "rejects",
    "unreachable",
    "takes, silent",
    "lost, silent",
    "rejects, silent",
    "takes, late",
)
FATES = ("delivered",) * 4 + ("read",) * 3 + ("read only", "failed", "failed", "failed late", "silent")
# What each fate is told by: the words, in the order in which they happen.
WORDS = {
    "delivered": ("sent", "delivered"),
    "read": ("sent", "delivered", "read"),
    "read only": ("read",),
    "failed": ("sent", "failed"),
    "failed late": ("delivered", "failed"),
    "silent": (),
}
HEARD = ("delivered", "read")
SOON_US = 20_000_000
TRIES = 4  # of one webhook; a process that died over it has not answered


@dataclass
class Sent:
    """A message that WhatsApp has."""

    wamid: str
    hold_id: UUID
    number_id: str
    user: str
    category: str
    type: str  # of its price, always the same; "" is a conversation's
    conversation: str
    billable: bool
    without_price: bool  # none of its webhooks names a price
    at_ms: int
    heard: set[str] = field(default_factory=set)  # the words whose webhook a process dealt with to the end
    told: set[str] = field(default_factory=set)  # and those that a process at least began with


class WhatsApp:
    """The other side."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.sent: dict[UUID, Sent] = {}
        self.left: set[UUID] = set()  # holds whose bytes went out, taken or not
        self.unwell = True  # while faults happen
        self._told: list[tuple[Sent, str]] = []

    def connection(self, timeout_s: float) -> "Connection":
        return Connection(self, timeout_s)

    def bytes_left(self, body: dict[str, Any]) -> UUID | None:
        """Check what must be true whenever a message leaves the gateway."""
        hold_id = UUID(body["biz_opaque_callback_data"]) if "biz_opaque_callback_data" in body else None
        if hold_id is None:
            if body["type"] != "reaction":
                raise SimulationError(f"a {body['type']} left without a hold")
            return None
        hold = self.world.database.holds.get(hold_id)
        if hold is None:
            raise SimulationError(f"a message left whose hold {hold_id} is not in the ledger")
        if hold_id in self.left:
            raise SimulationError(f"hold {hold_id} was sent twice")
        self.left.add(hold_id)
        return hold_id

    def take(self, hold_id: UUID) -> Sent:
        """Take a message, and decide what becomes of it."""
        world, draw = self.world, self.world.kernel.random
        hold = world.database.holds[hold_id]
        price_type, category, billable, conversation = self._price(hold)
        sent = self.sent[hold_id] = Sent(
            wamid=f"wamid.{len(self.sent)}", hold_id=hold_id, number_id=hold["number_id"], user=hold["recipient"],
            category=category, type=price_type, conversation=conversation, billable=billable,
            without_price=not conversation and draw.randrange(12) == 0, at_ms=world.clock_ms(),
        )  # fmt: skip
        fate = draw.choice(FATES)
        world.kernel.note("WhatsApp took", sent.wamid, "hold", hold_id, fate, category, price_type or conversation)
        for word in WORDS[fate]:
            self._tell(sent, word)
        return sent

    def _price(self, hold: dict[str, Any]) -> tuple[str, str, bool, str]:
        draw, category, paid = self.world.kernel.random, hold["category"], hold["class"] == "paid"
        if self.world.conversations:
            first = hold["rides"] and self.sent.get(hold["rides"])
            conversation = first.conversation if first else f"c{hold['hold_id']}"
            return "", first.category if first else category, first.billable if first else paid, conversation
        if category == "reaction":
            return "free_customer_service", "service", False, ""
        if not self.world.exact:
            paid = draw.randrange(5) < 4 if category in ("marketing", "authentication") else draw.random() < 0.5
            category = draw.choice((category,) * 9 + ("marketing",)) if paid else category
        return "regular" if paid else "free_customer_service", category, paid, ""

    def _tell(self, sent: Sent, word: str) -> None:
        draw, kernel = self.world.kernel.random, self.world.kernel
        self._told.append((sent, word))
        if draw.randrange(10) == 0:
            return  # lost for good
        for _ in range(draw.choice((1, 1, 1, 1, 2, 4))):
            kernel.after(draw.randrange(100, SOON_US), self._post, [(sent, word)], TRIES)

    def _post(self, told: list[tuple[Sent, str]], tries: int) -> None:
        """Post statuses, at times together with older ones of the same number, in any order."""
        draw = self.world.kernel.random
        if draw.randrange(4) == 0:
            others = [one for one in self._told if one[0].number_id == told[0][0].number_id and one not in told]
            told = told + draw.sample(others, min(len(others), draw.randrange(1, 4)))
            draw.shuffle(told)
        worker = self.world.some_worker()
        if worker is None:
            self._again(told, tries)
            return
        task = self.world.spawn(worker, self._keep(worker, told, tries))
        if tries > 1 and draw.randrange(4):  # a process that dies over it has not answered, so WhatsApp tries again
            self.world.kernel.after(30 * SECOND_US, self._unless_done, task, told, tries)

    def _unless_done(self, task: "asyncio.Task[None]", told: list[tuple[Sent, str]], tries: int) -> None:
        if not task.done():
            self._again(told, tries)

    def _again(self, told: list[tuple[Sent, str]], tries: int) -> None:
        if tries > 1:
            self.world.kernel.after(self.world.kernel.random.randrange(SOON_US), self._post, told, tries - 1)

    async def _keep(self, worker: Any, told: list[tuple[Sent, str]], tries: int) -> None:
        number = self.world.numbers[told[0][0].number_id]
        self.world.kernel.note(worker.loop.name, "hears", *(f"{sent.wamid} {word}" for sent, word in told))
        for sent, word in told:
            sent.told.add(word)
        try:
            await worker.webhook(number, {"statuses": [_status(sent, word) for sent, word in told]})
        except self.world.away:
            self._again(told, tries)
            return
        for sent, word in told:
            sent.heard.add(word)


class Connection:
    """A process's way to WhatsApp, with the product's `Upstream.send`."""

    def __init__(self, whatsapp: WhatsApp, timeout_s: float) -> None:
        self._whatsapp = whatsapp
        self._timeout_s = timeout_s

    async def send(self, path_qs: str, headers: Any, body: bytes) -> Reply:
        whatsapp, draw = self._whatsapp, self._whatsapp.world.kernel.random
        mood = draw.choice(MOODS) if whatsapp.unwell else "takes"
        if mood == "unreachable":
            await asyncio.sleep(draw.randrange(1_000) / 1_000)
            raise NotSentError(mood)
        hold_id = whatsapp.bytes_left(json.loads(body))
        await asyncio.sleep(draw.randrange(100) / 1_000)
        if hold_id is None:
            return Reply(200, b'{"messages": [{"id": "wamid.free"}]}')
        sent = whatsapp.take(hold_id) if mood.startswith("takes") else None
        if mood.endswith("silent"):
            await asyncio.sleep(draw.choice((0.01, self._timeout_s)))
            raise FateUnknownError(mood)
        await asyncio.sleep(draw.randrange(5_000 if mood.endswith("late") else 100) / 1_000)
        if sent is None:
            return Reply(400, b'{"error": {"message": "no", "code": 131009}}')
        return Reply(200, json.dumps({"messages": [{"id": sent.wamid}], "contacts": [{"wa_id": sent.user}]}).encode())


def _status(sent: Sent, word: str) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": sent.wamid, "status": word, "recipient_id": sent.user, "timestamp": str(sent.at_ms // 1000),
        "biz_opaque_callback_data": str(sent.hold_id),
    }  # fmt: skip
    if word == "failed" or sent.without_price:
        return fields
    if sent.conversation:
        fields["pricing"] = {"billable": sent.billable, "pricing_model": "CBP", "category": sent.category}
        fields["conversation"] = {"id": sent.conversation, "origin": {"type": sent.category}}
    else:
        price = {"billable": sent.billable, "pricing_model": "PMP", "type": sent.type}
        fields["pricing"] = {**price, "category": sent.category}
    return fields
