"""A life's books as the product's own invariants are asked about (`farebox.core.invariants`)."""

from typing import TYPE_CHECKING, Any

from farebox.core.books import (
    Books,
    HoldFacts,
    MessageFacts,
    NumberFacts,
    PoolFacts,
    RunFacts,
    TopupFacts,
    WalletFacts,
)
from farebox.core.hold import State
from farebox.core.tariff import month_of
from simulate.tables import units_used
from simulate.whatsapp import HEARD, Sent
from simulate.worker import tariffs

if TYPE_CHECKING:
    from simulate.world import World


def books_of(world: "World") -> Books:
    """Return the books while nothing is under way."""
    charges: dict[Any, list[int]] = {}
    for entry in world.database.entries:
        if entry["kind"] == "settle":
            charges.setdefault(entry["hold_id"], []).append(entry["amount_micros"])
    holds = tuple(
        HoldFacts(
            hold_id=str(hold["hold_id"]),
            number_id=hold["number_id"],
            state=State(hold["state"]),
            fare_micros=hold["fare_micros"],
            billed_micros=hold["billed_micros"],
            charges_micros=tuple(charges.get(hold["hold_id"], ())),
            wamid=hold["wamid"],
            late=hold["late"],
        )
        for hold in world.database.holds.values()
    )
    return Books(numbers=tuple(_number(world, number_id) for number_id in world.numbers), holds=holds)


def run_of(world: "World") -> RunFacts:
    """Return what WhatsApp and the applications saw."""
    messages = [
        MessageFacts(
            wamid=sent.wamid,
            number_id=sent.number_id,
            hold_id=str(sent.hold_id),
            statuses=frozenset(sent.heard),
            priced=not sent.heard.isdisjoint(HEARD) and not sent.without_price,
        )
        for sent in world.whatsapp.sent.values()
        if _is_ruled(world, sent)
    ]
    return RunFacts(
        messages=tuple(messages),
        left=frozenset(map(str, world.whatsapp.left)),
        acknowledged_topups=tuple((of, reference, micros) for reference, (of, micros) in world.checks.paid.items()),
    )


def _is_ruled(world: "World", sent: Sent) -> bool:
    """Tell whether a rule says what must have become of a message."""
    if sent.heard != sent.told:
        return False  # of a webhook that a process died over, either may be true
    timed_out = world.database.holds[sent.hold_id]["ended_by"] == "time_out"
    if sent.heard.isdisjoint(HEARD):
        return not timed_out  # its failure came too late to be one
    # What is due is not said of a delivery at no known price that comes after the hold's time, or beside a failure.
    return not sent.without_price or not (timed_out or "failed" in sent.heard)


def _number(world: "World", number_id: str) -> NumberFacts:
    database, number = world.database, world.numbers[number_id]
    topups, settled = [], 0
    for entry in database.entries:
        if entry["number_id"] == number_id:
            if entry["kind"] == "topup":
                topups.append(entry)
            else:
                settled += entry["amount_micros"]
    credited = sum(entry["amount_micros"] for entry in topups)
    return NumberFacts(
        number_id=number_id,
        topups_micros=credited,
        settled_micros=settled,
        entries_micros=credited - settled,
        balance_micros=database.balances[number_id],
        open_holds=len(database.open[number_id]),
        held_micros=database.held_micros(number_id),
        epoch=database.numbers[number_id]["epoch"],
        wallet=_wallet(world, number_id),
        billed_micros=sum(h["billed_micros"] or 0 for h in database.holds.values() if h["number_id"] == number_id),
        topup_rows_micros=sum(row["amount_micros"] for (of, _), row in database.topups.items() if of == number_id),
        topups=tuple(
            TopupFacts(
                reference=reference, amount_micros=row["amount_micros"],
                entries=len(of_it := [e["amount_micros"] for e in topups if e["topup_id"] == row["topup_id"]]),
                credited_micros=sum(of_it),
            )
            for (of, reference), row in database.topups.items()
            if of == number_id
        ),
        pools=_pools(world, number_id),
        # Of a level above zero a number may fall short without one send; `Checks` looks at every send of those.
        block_at_micros=None if number.mode == "shadow" or number.block_at_micros else 0,
        cover=number.funds_rule == "cover",
        largest_fare_micros=world.checks.largest_micros.get(number_id, 1),
        recorded_below_micros=world.checks.excess_micros.get(number_id, 0),
    )  # fmt: skip


def _wallet(world: "World", number_id: str) -> WalletFacts | None:
    wallet = world.checks.wallet(number_id)
    if wallet is None or wallet["epoch"] != str(world.database.numbers[number_id]["epoch"]):
        return None
    pools = {name.removeprefix("pool:"): int(used) for name, used in wallet.items() if name.startswith("pool:")}
    return WalletFacts(
        epoch=int(wallet["epoch"]), available_micros=int(wallet["available"]), held_micros=int(wallet["held"]),
        pools=pools,
    )  # fmt: skip


def _pools(world: "World", number_id: str) -> tuple[PoolFacts, ...]:
    """Return the pool of the month, where wallet and ledger must agree about it to the unit.

    A crash may leave a unit behind, which is worth no money and waits for a rebuild; and no rule says whose unit a
    message uses that is delivered after it had failed.
    """
    holds = [hold for hold in world.database.holds.values() if hold["number_id"] == number_id]
    if world.faulty or any(hold["late"] for hold in holds) or world.checks.wallet(number_id) is None:
        return ()
    tariff, day = tariffs().regime_at(world.numbers[number_id], world.clock_ms())
    name = tariff.pool(month_of(day))
    used = units_used(world.database, number_id, name)
    return (PoolFacts(name=name, size=tariff.pool_size, used=used, told=used),)
