"""What must be true, at every moment and at the end, of the stores and of what WhatsApp has."""

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from farebox.core.invariants import violations
from farebox.core.reply import Reply
from farebox.directory import Number
from farebox.taking import key_of
from farebox.tariffs import local_day
from simulate.books import books_of, run_of
from simulate.kernel import SimulationError
from simulate.queries_wallets import conversations_of, windows_of
from simulate.tables import spent_by
from simulate.whatsapp import HEARD, USERS, Sent
from simulate.worker import take_digest, tariffs

if TYPE_CHECKING:
    from simulate.world import World

ENDS = ("settled", "released", "expired")
STATUSES = (200, 400, 402, 502, 503, 504)  # that an application may get here


class Checks:
    """The invariants."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.paid: dict[str, tuple[str, int]] = {}  # top-ups that a client was told are booked
        self.broken: list[SimulationError] = []  # found outside of every process
        self.excess_micros: dict[str, int] = {}  # of each number: what bills took beyond what was set aside for them
        self.largest_micros: dict[str, int] = {}  # fare of each number
        self._fares: dict[UUID, int] = {}
        # Of each number and epoch: what bills took that were dearer than a hold of an older epoch. The wallet may have
        # been rebuilt between what it gave for such a bill and the ledger's booking: then it is asked again.
        self._owed: dict[tuple[str, int], int] = {}
        self._seen: dict[str, dict[str, str]] = {}  # each wallet as the last command left it
        self._taken: set[tuple[str, str]] = set()  # epoch and hold id of what was taken

    # At every moment

    def ledger_ran(self, query: str, arguments: tuple[Any, ...], rows: list[Any]) -> None:
        """Look at what a statement did."""
        database = self.world.database
        if query == "record_holds":
            holds = [database.holds[row["hold_id"]] for row in rows]
            for hold in holds:
                number_id, fare_micros = hold["number_id"], hold["fare_micros"]
                self._fares[hold["hold_id"]] = fare_micros
                self.largest_micros[number_id] = max(self.largest_micros.get(number_id, 1), fare_micros)
            for hold in holds:
                self._not_overspent(hold)
        elif query == "end_holds":
            for row in rows:
                set_aside = 0 if row["late"] else self._fares.get(row["hold_id"], 0)
                more = row["billed_micros"] - set_aside
                self._exceed(row["number_id"], more)
                if more > 0 and (row["older"] or row["late"]):
                    owed = row["number_id"], row["epoch"]
                    self._owed[owed] = self._owed.get(owed, 0) + more
        elif query == "carry_conversation":
            for row in rows:
                hold = database.holds[row["hold_id"]]
                self._exceed(hold["number_id"], hold["fare_micros"])
                self._fares[row["hold_id"]] = hold["fare_micros"]

    def _exceed(self, number_id: str, micros: int) -> None:
        self.excess_micros[number_id] = self.excess_micros.get(number_id, 0) + max(0, micros)

    def _not_overspent(self, hold: dict[str, Any]) -> None:
        number = self.world.numbers[hold["number_id"]]
        if number.mode == "shadow" or hold["class"] == "free" or not hold["fare_micros"]:
            return
        available = self.world.database.available_micros(number.number_id)
        lowest = number.block_at_micros - self.excess_micros.get(number.number_id, 0)
        lowest -= 0 if number.funds_rule == "cover" else self.largest_micros[number.number_id] - 1
        if available < lowest:
            self._fail(f"number {number.number_id} was overspent: {available} micro-units available in the ledger")

    def wallet_ran(self, command: tuple[Any, ...], answer: Any) -> None:
        """Look at the wallets of numbers after a script."""
        if command[0] not in ("EVAL", "EVALSHA"):
            return
        keys = command[3 : 3 + int(command[2])]
        for number_id in dict.fromkeys(key.partition("{")[2].partition("}")[0] for key in keys):
            before, wallet = self._seen.get(number_id), self._not_too_much(number_id)
            self._seen[number_id] = dict(wallet or {})
            if command[1] == take_digest() and len(answer) == 1 and len(answer[0]) == 2 and wallet and before:
                self._took(command, answer[0], before, wallet)

    def _not_too_much(self, number_id: str) -> dict[str, str] | None:
        """Return a number's wallet: it may show too little, never too much."""
        wallet = self.wallet(number_id)
        epoch = self.world.database.numbers[number_id]["epoch"]
        if wallet is not None and wallet["epoch"] == str(epoch):
            available = self.world.database.available_micros(number_id)
            if int(wallet["available"]) > available + self._owed.get((number_id, epoch), 0):
                self._fail(
                    f"number {number_id}'s wallet shows {wallet['available']} micro-units, the ledger {available}"
                )
        return wallet

    def _took(self, command: tuple[Any, ...], answer: Any, before: dict[str, str], wallet: dict[str, str]) -> None:
        """Look at what one send changed: a refusal nothing, a repeated take nothing more."""
        epoch, (outcome, *_) = answer
        hold_id = command[3 + int(command[2]) + 9]
        if outcome in ("refused", "limited") and before != wallet:
            self._fail(f"a refusal changed a wallet from {before} to {wallet}")
        if outcome in ("taken", "overdrawn"):
            if (epoch, hold_id) in self._taken and before["epoch"] == epoch and before != wallet:
                self._fail(f"hold {hold_id} was taken twice")
            self._taken.add((epoch, hold_id))

    def wallet(self, number_id: str) -> dict[str, str] | None:
        """Return a wallet, None where it is missing or of another life of the store."""
        wallet = self.world.valkey.keys.get(f"farebox:{{{number_id}}}:wallet")
        return wallet if isinstance(wallet, dict) and wallet.get("store") == self.world.valkey.identity else None

    def answered(self, number: Number, body: dict[str, Any], reply: Reply) -> None:
        """Look at what an application was told."""
        headers = dict(reply.headers)
        hold_id = headers.get("X-Farebox-Hold")
        if reply.status == 200 and hold_id and UUID(hold_id) not in self.world.whatsapp.sent:
            self._fail("an application was told of a message that WhatsApp does not have")
        if reply.status == 504 and self.world.database.holds[UUID(hold_id or "")]["ended_by"] == "reject":
            self._fail(f"hold {hold_id} was given back, and nobody knows whether its message was sent")
        known = self.world.database.holds.get(UUID(hold_id)) if hold_id else None
        if reply.status == 400 and known and known["ended_by"] is None and not self.world.faulty:
            self._fail(f"hold {hold_id} is open, though WhatsApp refused its message")
        if reply.status not in STATUSES:
            self._fail(f"an application got a {reply.status}")
        if reply.status == 402:
            available_micros = int(Decimal(headers["X-Farebox-Available"]) * 1_000_000)
            if body["type"] == "reaction":
                self._fail("a free message was refused")
            if number.funds_rule != "cover" and available_micros > number.block_at_micros:
                self._fail(f"a message was refused with {available_micros} micro-units available")

    def _fail(self, sentence: str) -> None:
        self.world.kernel.note("WRONG:", sentence)
        self.broken.append(SimulationError(sentence))

    # When everything is quiet

    def quiet(self) -> None:
        """Check the stores against each other; nothing is under way."""
        for found in violations(books_of(self.world), run_of(self.world)):
            raise SimulationError(str(found))
        for number in self.world.numbers.values():
            self._counts(number)
            if not self.world.faulty:  # a fault may keep a wallet from hearing of a window; that costs no balance
                self._users(number)

    def _users(self, number: Number) -> None:
        """What is open by the ledger is open by the wallet, of every user whom the wallet knows."""
        wallet, database, now_ms = self.wallet(number.number_id), self.world.database, self.world.clock_ms()
        if wallet is None or wallet["epoch"] != str(database.numbers[number.number_id]["epoch"]):
            return
        for user in USERS:
            known: Any = self.world.valkey.keys.get(key_of(number.number_id, f"user:{user}"))
            if (wallet.get("filled") == "1") if known is None else (known["epoch"] == wallet["epoch"]):
                ends = {
                    name: int(value.partition(":")[0]) for name, value in (known or {}).items() if value[:1].isdigit()
                }
                for row in windows_of(database, number.number_id, [user], now_ms):
                    if ends.get(row["kind"], 0) < row["ends_at_ms"]:
                        raise SimulationError(f"number {number.number_id} does not know {row}, but {known}")
                rows = {row["category"] for row in conversations_of(database, number.number_id, [user], now_ms)}
                # Pending ones are 0. No conversation is open by the wallet alone either: what rides it takes no fare.
                known_open = {
                    name.removeprefix("conv:")
                    for name, ends_ms in ends.items()
                    if name.startswith("conv:") and not 0 < ends_ms <= now_ms
                }
                _same(f"conversations of number {number.number_id} with {user}", known_open, rows)

    def _counts(self, number: Number) -> None:
        """Compare what a wallet counts as spent, by category, with the ledger."""
        wallet, database = self.wallet(number.number_id), self.world.database
        if wallet is None or wallet["epoch"] != str(database.numbers[number.number_id]["epoch"]):
            return
        day = local_day(self.world.clock_ms(), number.zone).isoformat()
        for name, (period, of) in {
            "held_by": ("held", ""),
            "day_by": ("day", day),
            "month_by": ("month", day[:7]),
        }.items():
            wanted = json.loads(spent_by(database, number.number_id, day)[name])
            counted = {
                field.partition(":")[2]: int(value.split()[-1])
                for field, value in wallet.items()
                if field.startswith(f"{period}:") and value.startswith(of) and value.split()[-1] != "0"
            }
            total = counted.pop("", 0)
            _same(f"what number {number.number_id} has spent ({name})", counted, wanted)
            if of:
                _same(f"what number {number.number_id} has spent in all ({name})", total, sum(wanted.values()))

    # At the end of every message's life

    def end(self) -> None:
        """Check what became of everything that was sent."""
        self.quiet()
        for hold in self.world.database.holds.values():
            if hold["state"] not in ENDS:
                raise SimulationError(f"hold {hold['hold_id']} has no end")
            if hold["delivered_ms"] is not None and hold["ended_by"] == "time_out":
                raise SimulationError(f"hold {hold['hold_id']} was seen delivered, and given back at its end")
            sent = self.world.whatsapp.sent.get(hold["hold_id"])
            if sent is None:
                _same(f"hold {hold['hold_id']}, which WhatsApp does not have: bill", hold["billed_micros"], 0)
            elif not sent.conversation:
                self._billed_as_heard(hold, sent)
        self._conversations()
        if self.world.database.quarantine:
            raise SimulationError(f"in quarantine: {self.world.database.quarantine}")
        if self.world.database.unmatched:
            raise SimulationError(f"statuses were never matched: {list(self.world.database.unmatched)}")

    def _billed_as_heard(self, hold: dict[str, Any], sent: Sent) -> None:
        """Compare a bill with the set of words that were heard, whatever their order and number."""
        delivered = not sent.heard.isdisjoint(HEARD)
        what = f"hold {hold['hold_id']} ({sent.wamid}, heard {sorted(sent.heard)}): bill"
        if delivered and not sent.without_price:
            _same(what, hold["billed_micros"], self._price_micros(sent) if sent.billable else 0)
        elif delivered and hold["billed_micros"] not in (0, hold["fare_micros"]):
            raise SimulationError(f"{what} {hold['billed_micros']} is not its fare {hold['fare_micros']}")
        elif sent.told.isdisjoint(HEARD):
            _same(f"{what} of a message that nobody saw delivered", hold["billed_micros"], 0)

    def _price_micros(self, sent: Sent) -> int:
        in_force = tariffs().at(self.world.numbers[sent.number_id], sent.at_ms)
        rate = in_force.list_rate(in_force.market_of(sent.user), sent.category)
        return in_force.markup.fare_micros(rate.micros)

    def _conversations(self) -> None:
        """A conversation is charged once, if any of its messages was seen delivered."""
        by_id: dict[str, list[Sent]] = {}
        for sent in self.world.whatsapp.sent.values():
            if sent.conversation:
                by_id.setdefault(sent.conversation, []).append(sent)
        for conversation, messages in by_id.items():
            bills = [bill for sent in messages if (bill := self.world.database.holds[sent.hold_id]["billed_micros"])]
            heard = [sent for sent in messages if not sent.heard.isdisjoint(HEARD) and sent.billable]
            if heard and bills != [self._price_micros(messages[0])]:
                raise SimulationError(f"conversation {conversation} was charged {bills}")
            if len(bills) > 1:
                raise SimulationError(f"conversation {conversation} was charged {len(bills)} times")


def _same(what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise SimulationError(f"{what}: {found}, should be {wanted}")
