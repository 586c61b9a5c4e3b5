"""Users of whom everything has long ended are forgotten, and nobody else: forgetting never decides."""

import time
from typing import Any
from uuid import UUID

import pytest

from farebox import forgetting, wallet
from farebox.asks import NewWallet, Position, State
from farebox.core.hold import TTL_MS
from farebox.core.tariff import LONGEST_WINDOW_MS
from farebox.forgetting import KEEP_MS, PASS_MS, Forgetting
from farebox.gate import Gate
from farebox.scripts import Scripts
from farebox.simulator import Behaviour
from farebox.taking import key_of
from farebox.wallet import Wallet, WalletUnavailableError
from harness import GERMAN, NUMBER, USER, World, template, text

NOW_MS = 1_795_000_000_000
GRACE_MS = 3_600_000
HOUR_MS = 3_600_000
HOLD_MS = TTL_MS + GRACE_MS
ENDED_MS = NOW_MS - KEEP_MS  # what ended then has ended long ago
PENDING_MS = ENDED_MS - HOLD_MS  # what is pending since then is not
HASH = key_of("1", f"user:{USER}")


class At:
    """A clock that stands still."""

    def __init__(self, now_ms: int) -> None:
        self.time_ms = now_ms

    def now_ms(self) -> int:
        return self.time_ms


async def forget(gate: Gate, now_ms: int = NOW_MS) -> int:
    """Make a whole pass."""
    return await Forgetting(gate.wallet, At(now_ms), grace_ms=GRACE_MS).turn()  # type: ignore[arg-type]


def conversation(ends_ms: int, begun_ms: int = PENDING_MS) -> str:
    return f"{ends_ms}:1:{UUID(int=begun_ms << 80 | 0x7 << 76 | 0x2 << 62)}"  # as new_hold_id's, but always the same


@pytest.mark.parametrize(
    "fields",
    [
        {"csw": ENDED_MS},
        {"csw": ENDED_MS, "fep": ENDED_MS, "fep_offer": ENDED_MS},
        {"conv:marketing": conversation(ENDED_MS, ENDED_MS)},
        {"conv:service": conversation(0)},
        {},
    ],
    ids=str,
)
@pytest.mark.parametrize("epoch", [6, 7])
async def test_a_user_of_whom_everything_has_long_ended_is_forgotten(
    gate: Gate, epoch: int, fields: dict[str, Any]
) -> None:
    await gate.wallet.rebuild([NewWallet("1", Position(7, 0, 0, filled=True), {})])
    await gate.wallet._redis.hset(HASH, mapping={"epoch": epoch, **fields})
    assert await forget(gate) == 1
    assert await gate.wallet._redis.keys() == [key_of("1", "wallet")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("csw", ENDED_MS + 1),
        ("fep", ENDED_MS + 1),
        ("fep_offer", ENDED_MS + 1),
        ("conv:marketing", conversation(ENDED_MS + 1)),
        ("conv:service", conversation(0, PENDING_MS + 1)),
        ("conv:service", "0:1:an id that says nothing"),
        ("conv:service", "what a later version may write"),
        ("later", "what a later version may write"),
    ],
)
async def test_one_field_that_has_not_long_ended_keeps_a_user(gate: Gate, name: str, value: object) -> None:
    fields = {"epoch": "7", "a": str(ENDED_MS), name: str(value), "z": str(ENDED_MS)}
    await gate.wallet._redis.hset(HASH, mapping={**fields})
    assert await forget(gate) == 0
    assert await gate.wallet._redis.hgetall(HASH) == fields


@pytest.mark.parametrize("mark", ["", "?0b6c", "!later"])
async def test_who_is_to_be_read_is_forgotten_once_nothing_came_for_the_life_of_a_hold(gate: Gate, mark: str) -> None:
    """An ended window says nothing here: the ledger may know of another."""
    await gate.wallet.rebuild([NewWallet("1", Position(7, 0, 0, filled=True), {})])
    await gate.wallet._redis.hset(HASH, mapping={"epoch": mark, "csw": 1})
    assert await forget(gate) == 0
    noted = await gate.wallet._redis.hgetall(HASH)
    assert await forget(gate, NOW_MS + HOLD_MS + KEEP_MS - 1) == 0
    assert await gate.wallet._redis.hgetall(HASH) == noted
    await gate.wallet.open_windows("1", [(USER, "csw", NOW_MS + 1, None)])  # somebody comes: it begins anew
    assert await forget(gate, NOW_MS + HOLD_MS + KEEP_MS) == 0
    assert await forget(gate, NOW_MS + 2 * (HOLD_MS + KEEP_MS) - 1) == 0
    assert await forget(gate, NOW_MS + 2 * (HOLD_MS + KEEP_MS)) == 1


async def test_what_is_no_user_is_left_alone(gate: Gate) -> None:
    await gate.wallet.rebuild([NewWallet("1", Position(7, 0, 0, filled=True), {})])
    others = [key_of("1", "holds"), key_of("1", "quote:x:user:1"), "another:{1}:user:1", "farebox:user:1"]
    for other in others:
        await gate.wallet._redis.hset(other, "csw", "1")
    assert await forget(gate) == 0
    assert sorted(await gate.wallet._redis.keys()) == sorted([key_of("1", "wallet"), *others])


async def test_a_user_is_kept_while_anything_is_open_and_forgotten_afterwards(world: World) -> None:
    """By the sweep, and without a difference to any message."""
    user = key_of(NUMBER, f"user:{USER}")
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"regime": "pmp-2025-07"})
    await world.fund("1.00")
    await world.whatsapp.write_in(USER)
    await world.books_kept()
    for days, kept in ((0.9, True), (0.2, True), (7.8, True), (1.1, False)):
        await world.admin("PUT", "/v1/clock", {"advance_s": int(days * 86_400)})
        assert bool(await world.gate.wallet._redis.exists(user)) is kept
    sent = await world.send(template())
    assert sent.headers["X-Farebox-Class"] == "paid"
    await world.whatsapp.write_in(USER)
    await world.books_kept()
    assert (await world.send(template())).headers["X-Farebox-Class"] == "free"


async def test_a_pending_conversation_is_ridden_as_long_as_its_message_is_on_its_way(world: World) -> None:
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"regime": "cbp-2023-06"})
    await world.fund("1.00")
    world.whatsapp.behave(Behaviour(statuses=()))
    first = await world.send(template("summer_sale", GERMAN))
    await world.admin("PUT", "/v1/clock", {"advance_s": 29 * 86_400})
    ridden = await world.send(template("summer_sale", GERMAN))
    assert (first.headers["X-Farebox-Fare"], ridden.headers["X-Farebox-Fare"]) == ("0.1365", "0.00")


async def test_who_writes_while_others_are_read_is_not_lost(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The window is in the ledger, but came after all users with one were listed there."""
    await open_in_ledger(gate, "1", USER)
    filled = Wallet.filled

    async def late(self: Wallet, number_id: str, epoch: int) -> None:
        await open_in_ledger(gate, number_id, GERMAN)
        await gate.wallet.open_windows(number_id, [(GERMAN, "csw", now_ms() + HOUR_MS, None)])
        await filled(self, number_id, epoch)

    monkeypatch.setattr(Wallet, "filled", late)
    await gate.wallet.rebuild([NewWallet("1", Position(7, 0, 0, filled=False), {})])
    await gate.rebuild._unread.read_all("1", 7)
    for user in (USER, GERMAN):
        await gate.rebuild._unread.read("1", [user])  # as a send does that finds somebody unread
        state = await gate.wallet.state("1", user)
        assert isinstance(state, State)
        assert state.window_end_ms("csw"), user


async def test_what_is_written_now_outlives_the_expiry_of_an_older_version(gate: Gate) -> None:
    await gate.wallet.rebuild([NewWallet("1", Position(7, 0, 0, filled=True), {})])
    await gate.wallet._redis.hset(HASH, mapping={"epoch": 7, "csw": now_ms()})
    await gate.wallet._redis.pexpire(HASH, 60_000)
    await gate.wallet.open_windows("1", [(USER, "csw", now_ms() + 24 * HOUR_MS, None)])
    assert await gate.wallet._redis.pttl(HASH) > LONGEST_WINDOW_MS - 60_000
    assert await forget(gate, now_ms()) == 0
    assert await gate.wallet._redis.pttl(HASH) == -1
    await gate.wallet.open_windows("1", [(USER, "csw", now_ms() + 25 * HOUR_MS, None)])
    assert await gate.wallet._redis.pttl(HASH) == -1


async def test_no_user_has_an_expiry(world: World) -> None:
    await world.fund("1.00")
    await world.admin("PATCH", f"/v1/numbers/{NUMBER}", {"regime": "cbp-2023-06"})
    await world.whatsapp.write_in(USER)
    await world.send(text(GERMAN))
    await world.books_kept()
    await world.gate.wallet._redis.delete(key_of(NUMBER, "wallet"))
    await world.send(text(GERMAN))
    await world.books_kept()
    users = await world.gate.wallet._redis.keys("*:user:*")
    assert len(users) == 3, "two ids of one, and the other"
    assert [await world.gate.wallet._redis.pttl(user) for user in users] == [-1] * 3


async def test_a_pass_goes_on_where_it_was(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "PAGES_A_TURN", 1)
    monkeypatch.setattr(wallet, "MAX_SEEN", 10)
    await many(gate, 100)
    clock = At(NOW_MS)
    forgotten = Forgetting(gate.wallet, clock, grace_ms=GRACE_MS)  # type: ignore[arg-type]
    counts = [await forgotten.turn() for _ in range(30)]
    assert sum(counts) == 100
    assert max(counts) < 30, "a turn is no pass"
    await many(gate, 100)
    clock.time_ms += PASS_MS - 1
    assert await forgotten.turn() == 0, "the next pass begins a day after this one began"
    clock.time_ms += 1
    assert 0 < await forgotten.turn() < 30


async def test_a_store_that_is_away_is_waited_for(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "PAGES_A_TURN", 3)
    monkeypatch.setattr(wallet, "MAX_SEEN", 10)
    await many(gate, 100)
    forgotten = Forgetting(gate.wallet, At(NOW_MS), grace_ms=GRACE_MS)  # type: ignore[arg-type]
    total = await forgotten.turn()
    places = dict(forgotten._places)
    with monkeypatch.context() as patch:
        patch.setattr(Scripts, "many", away)
        with pytest.raises(WalletUnavailableError):
            await forgotten.turn()
    assert forgotten._places == places
    for _ in range(10):
        total += await forgotten.turn()
    assert total == 100


async def away(*_: object, **__: object) -> None:
    raise WalletUnavailableError("away")


async def many(gate: Gate, count: int) -> None:
    """Let so many users have had a window, of numbers that have no wallet."""
    for place in range(count):
        fields: dict[Any, Any] = {"epoch": 7, "csw": ENDED_MS}
        await gate.wallet._redis.hset(key_of(str(place % 7), f"user:{place}"), mapping=fields)


def now_ms() -> int:
    return int(time.time() * 1000)


async def open_in_ledger(gate: Gate, number_id: str, user: str) -> None:
    await gate.ledger._pool.execute(
        "INSERT INTO account (account_id, name, currency, created_at) VALUES ('a', 'A', 'USD', now()) "
        "ON CONFLICT DO NOTHING"
    )
    await gate.ledger._pool.execute(
        "INSERT INTO number (number_id, account_id, waba_id, currency, created_at) VALUES ($1, 'a', 'w', 'USD', now()) "
        "ON CONFLICT DO NOTHING",
        number_id,
    )
    row = [[number_id], [user], ["csw"], [now_ms() + HOUR_MS], [None]]
    await gate.ledger.fetch("open_windows", *row)
