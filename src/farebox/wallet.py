"""The live state of numbers in Redis: available, held, windows, pools. Fast, and disposable.

Every change is a script in `farebox/lua/`, one verb a file: reading and writing can not come apart. All keys of a
number share a hash tag and so a slot. The ledger can rebuild every wallet; `rebuild` here only writes what it is told.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar
from uuid import UUID, uuid4

from farebox.asks import (
    Ask,
    Closing,
    Debit,
    Decision,
    Gap,
    Judgement,
    Mode,
    NewWallet,
    Position,
    State,
    TermSeen,
)  # fmt: skip
from farebox.batch import Batcher
from farebox.core.limits import key_counter
from farebox.core.tariff import Window
from farebox.metrics import Queue
from farebox.redis_client import LONGEST_CALL_S, scan, servers, shares_calls
from farebox.scripts import Call, Scripts, WalletUnavailableError
from farebox.taking import decision_of, decisions_of, in_calls, key_of, take_arguments

T = TypeVar("T")

__all__ = ["Position", "Wallet", "WalletUnavailableError"]

CREDIT_MARK_S = 3600  # a repeated credit comes within seconds, from a retry; the mark only has to outlive that
MAX_BATCH = 500  # sends in one round trip: a script holds the store for about 10 microseconds a send
MAX_WAITING = 10_000  # sends waiting for the wallet: at 5,000 a second two seconds' worth, past that a 503 is kinder
MAX_NUMBERS_PER_CALL = 100  # looked up or written by one script call: it holds the store for about half a millisecond
MAX_SEEN = 50  # users looked at in a row, to forget some: they hold the store for about a quarter of a millisecond
MAX_LISTED = 5_000  # holds in one answer: below a megabyte and a few milliseconds
UNIT_BACK = "back"  # of a message that was not delivered: its free unit returns to the pool
SCRATCH_MS = 10_000  # of the keys that a quote is asked on, should a crash leave them: its transaction deletes them
SCRIPTS = ("take", "close", "extend", "credit", "debit", "open", "converse", "mark", "learn", "filled", "forget",
           "rebuild", "position", "state")  # fmt: skip


class Wallet:
    """The wallets of all numbers, in one Redis or Valkey."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._scripts = Scripts(url, SCRIPTS, timeout_s=timeout_s)
        self._redis = self._scripts.client
        self._numbers_per_call = MAX_NUMBERS_PER_CALL if shares_calls(self._redis) else 1
        # By server: one that hangs holds up the sends of its own numbers alone.
        queue = partial(
            Batcher[Ask, Decision | Gap],
            self._take_batch,
            max_batch=MAX_BATCH,
            max_waiting=MAX_WAITING,
            observe=Queue("take"),
        )
        self._takes = defaultdict[str, Batcher[Ask, Decision | Gap]](queue)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._scripts.aclose()

    async def ping(self) -> None:
        """Raise WalletUnavailableError unless the store answers."""
        await self._scripts.answer(self._redis.ping)

    async def take(self, ask: Ask) -> Decision | Gap:
        """Decide about a send and take its fare in one step; a gap where the ledger must be read first."""
        server = self._scripts.server(key_of(ask.number_id, "wallet"))
        return await self._takes[server].hand_over(ask)

    async def state(self, number_id: str, user: str) -> State | Gap:
        """Return everything that a decision about a user looks at; a gap where the ledger must be read first."""
        answer = await self._scripts.call("state", [key_of(number_id, "wallet"), _user(number_id, user)], [])
        if len(answer) < 2:
            return Gap.UNREAD if answer else Gap.MISSING
        wallet, recipient = (dict(zip(flat[::2], flat[1::2], strict=True)) for flat in answer)
        return State(wallet, recipient)

    async def judge(self, ask: Ask, state: State) -> Judgement:
        """Decide about a send of one part in a state, real or supposed. The number's own keys are not touched.

        The same script decides as for a send, on keys that exist for one transaction.
        """
        assert ask.mode is Mode.DRY, "a judgement takes nothing"
        keys, arguments = take_arguments([[ask]], f"quote:{uuid4()}:")
        wallet_key, _, user_key = keys

        async def run() -> Any:
            pipeline = self._redis.pipeline(transaction=True)
            for key, fields in ((wallet_key, state.wallet), (user_key, state.recipient)):
                if fields:
                    copied: dict[Any, Any] = {**fields}
                    pipeline.hset(key, mapping=copied)
                    pipeline.pexpire(key, SCRATCH_MS)
            pipeline.eval(self._scripts.texts["take"], len(keys), *keys, *arguments)
            pipeline.delete(wallet_key, user_key)
            return (await pipeline.execute())[-2]

        ((epoch, send),) = await self._scripts.answer(run, server=self._scripts.server(wallet_key))
        (*_, terms) = send[4]
        seen = tuple(TermSeen(bool(holds), evidence, bool(paid)) for holds, evidence, paid in terms)
        return Judgement(decision_of(epoch, send, ask.limits), seen)

    async def close(self, number_id: str, closings: Sequence[Closing], epoch: int) -> None:
        """Give back what holds had set aside that the ledger ended in this epoch of the number, less the billed fare.

        Where the answer is lost the wallet may show too little until it is rebuilt: the call is not repeated.
        """
        alike: dict[tuple[Any, ...], list[str]] = {}
        for closing in closings:
            alike.setdefault(closing[1:], []).append(str(closing.hold_id))
        arguments = [str(epoch)]
        for (billed_micros, unit, older, aside_micros, pool, category, day, key_id), holds in alike.items():
            arguments += [str(billed_micros), unit, "1" if older else "", str(aside_micros), pool or ""]
            arguments += [category, day or "", key_counter(key_id), " ".join(holds)]
        keys = [key_of(number_id, "wallet"), key_of(number_id, "holds")]
        await self._scripts.call("close", keys, arguments, repeat=False)

    async def extend(
        self,
        number_id: str,
        hold_id: UUID,
        billed_micros: int,
        epoch: int | None,
        *,
        aside: tuple[int, str | None],
        category: str,
        key_id: UUID | None,
        pool: str | None = None,
    ) -> int | None:
        """Raise a hold to a dearer bill; return the wallet's epoch, None where the wallet is missing.

        `aside` is what the ledger says is set aside: micro-units, and the pool of a free unit. With an epoch, nothing
        changes unless the wallet is of that epoch. With a pool the hold takes a free unit of it.
        """
        keys = [key_of(number_id, "wallet"), key_of(number_id, "holds")]
        own = str(aside[0]), aside[1] or "", category, key_counter(key_id)
        arguments = ["" if epoch is None else str(epoch), str(hold_id), str(billed_micros), pool or "", *own]
        answer = await self._scripts.call("extend", keys, arguments)
        return int(answer) if answer else None

    async def credit(self, number_id: str, topup_id: UUID, amount_micros: int, epoch: int) -> int | None:
        """Add money that the ledger has booked; return available, None where the wallet must be (or was) rebuilt."""
        keys = [key_of(number_id, "wallet"), key_of(number_id, f"credit:{topup_id}")]
        answer = await self._scripts.call("credit", keys, [str(epoch), str(amount_micros), str(CREDIT_MARK_S)])
        return int(answer) if answer else None

    async def debit(self, number_id: str, mark: UUID, micros: int, floor_micros: int | None) -> Debit | None:
        """Take money that is to leave a number, once per mark, if the floor stays available; None: no wallet is there.

        Without a floor available may go below zero.
        """
        keys = [key_of(number_id, "wallet"), key_of(number_id, f"debit:{mark}")]
        floor = "" if floor_micros is None else str(floor_micros)
        answer = await self._scripts.call("debit", keys, [str(micros), floor, str(CREDIT_MARK_S)])
        return Debit(int(answer[0]), int(answer[1]), answer[2] == "1") if answer else None

    async def open_windows(self, number_id: str, windows: Iterable[Window]) -> None:
        """Open windows that the ledger knows; they only grow."""
        rows = [
            (user, name, str(ends_at_ms), "" if start_ms is None else str(start_ms))
            for user, name, ends_at_ms, start_ms in windows
        ]
        await self._move_windows(number_id, rows)

    async def close_windows(self, number_id: str, users: Iterable[str], names: Sequence[str]) -> None:
        """Close windows that turned out not to be open."""
        await self._move_windows(number_id, [(user, name, "", "") for user in users for name in names])

    async def converse(self, number_id: str, user: str, *, category: str, opener: str, state: str, now_ms: int) -> None:
        """Write what became of a conversation ("<end>:<paid>:<opener>"), or forget it ("")."""
        arguments = [category, opener, state, str(now_ms)]
        await self._scripts.call("converse", [key_of(number_id, "wallet"), _user(number_id, user)], arguments)

    async def position(self, number_id: str) -> Position | None:
        """Return a wallet's money, None where the wallet is missing or of another life of the store."""
        (position,) = await self.positions([number_id], hasty=True)
        return position

    async def positions(self, number_ids: Sequence[str], *, hasty: bool = False) -> list[Position | None]:
        """Return the money of many wallets, in one round trip to each server; hasty: as patient as a send."""
        calls: list[Call] = [
            ("position", [key_of(number_id, "wallet") for number_id in together], [])
            for together in self._together(number_ids)
        ]
        answers = _all(await self._scripts.many(calls, timeout_s=None if hasty else LONGEST_CALL_S))
        return [_position(one) for answer in answers for one in answer]

    async def holds(self, number_id: str, limit: int) -> dict[str, int]:
        """Return holds that a wallet lists, at most about so many: hold id -> fare in micro-units.

        Those are the open ones that were taken since it was written.
        """
        listed: dict[str, int] = {}
        cursor = None
        while cursor != 0 and len(listed) < limit:
            key, position = key_of(number_id, "holds"), int(cursor or 0)
            look = partial(self._redis.hscan, key, cursor=position, count=MAX_LISTED)
            page: Any = await self._scripts.answer(look, server=self._scripts.server(key))
            cursor, fields = page
            listed |= {hold_id: int(taken.partition(":")[0]) for hold_id, taken in fields.items()}
        return listed

    async def rebuild(self, wallets: Sequence[NewWallet]) -> None:
        """Write wallets anew, each as a whole."""
        calls: list[Call] = [
            (
                "rebuild",
                [key_of(wallet.number_id, name) for wallet in together for name in ("wallet", "holds")],
                [wallet.wire for wallet in together],
            )
            for together in self._together(wallets)
        ]
        _all(await self._scripts.many(calls, timeout_s=_patience(wallets)))

    async def mark(self, number_id: str, epoch: int, users: Sequence[str], mark: str) -> dict[str, str] | None:
        """Begin to read users from the ledger; return those to read with their marks.

        None where the wallet is of another epoch.
        """
        keys = [key_of(number_id, "wallet"), *(_user(number_id, user) for user in users)]
        call: Call = ("mark", keys, [str(epoch), mark])
        (answer,) = _all(await self._scripts.many([call], timeout_s=_patience(users)))
        return None if answer == "" else {user: own for user, own in zip(users, answer, strict=True) if own}

    async def learn(
        self, number_id: str, epoch: int, marks: Mapping[str, str], known: Mapping[str, Mapping[str, str]]
    ) -> list[str]:
        """Write what the ledger knows of users; return those that changed meanwhile and must be read again."""
        wallet = key_of(number_id, "wallet")
        calls: list[Call] = []
        for user, fields in known.items():
            pairs = [text for pair in fields.items() for text in pair]
            calls.append(("learn", [wallet, _user(number_id, user)], [str(epoch), marks[user], *pairs]))
        answers = _all(await self._scripts.many(calls, timeout_s=_patience(calls)))
        return [user for user, written in zip(known, answers, strict=True) if not written]

    async def filled(self, number_id: str, epoch: int) -> None:
        """Note that every user with something open was read in this epoch."""
        await self._scripts.call("filled", [key_of(number_id, "wallet")], [str(epoch)])

    async def servers(self) -> list[str]:
        """Name the servers that keep wallets."""
        return await self._scripts.answer(partial(servers, self._redis))

    async def forget(self, server: str, cursor: int, times: Sequence[int]) -> tuple[int, int]:
        """Delete those of a page of a server's users of whom everything has ended; return the next cursor and how many.

        0 is the first cursor, and the one after the last page. `times` are those of forget.lua.
        """
        look = partial(scan, self._redis, server, cursor, match=_user("*", "*"), count=MAX_SEEN)
        cursor, users = await self._scripts.answer(look, server=server, timeout_s=LONGEST_CALL_S)
        together = defaultdict[str, list[str]](list)
        for user in users:
            together["" if self._numbers_per_call > 1 else user.partition("}")[0]].append(user)
        calls: list[Call] = [("forget", keys, [str(time) for time in times]) for keys in together.values()]
        return cursor, sum(_all(await self._scripts.many(calls, timeout_s=LONGEST_CALL_S)))

    def _together(self, numbers: Sequence[T]) -> Iterator[Sequence[T]]:
        """Cut to what one script call may be about."""
        for start in range(0, len(numbers), self._numbers_per_call):
            yield numbers[start : start + self._numbers_per_call]

    async def _move_windows(self, number_id: str, rows: Sequence[tuple[str, str, str, str]]) -> None:
        if rows:
            keys = [key_of(number_id, "wallet"), *(_user(number_id, user) for user, *_ in rows)]
            await self._scripts.call("open", keys, [text for _, *row in rows for text in row])

    async def _take_batch(self, asks: list[Ask]) -> list[Decision | Gap | Exception]:
        """One round trip for all sends in flight, in script calls that are about some numbers each.

        May be repeated: what was taken is answered again.
        """
        by_call = in_calls(asks, shared=self._numbers_per_call > 1)
        calls: list[Call] = [
            ("take", *take_arguments([[asks[place] for place in places] for places in numbers])) for numbers in by_call
        ]
        decisions: list[Decision | Gap | Exception] = [Gap.MISSING] * len(asks)
        for numbers, answers in zip(by_call, await self._scripts.many(calls), strict=True):
            # An error of one server is none of the others' business.
            of_each = [answers] * len(numbers) if isinstance(answers, Exception) else answers
            for places, answer in zip(numbers, of_each, strict=True):
                found = decisions_of(answer, [asks[place] for place in places])
                for place, decision in zip(places, found, strict=True):
                    decisions[place] = decision
        return decisions


def _user(number_id: str, user: str) -> str:
    return key_of(number_id, f"user:{user}")


def _patience(many: Sequence[object]) -> float | None:
    """Return how long a call for so many may take: a send may be waiting for a single one, nobody for more."""
    return LONGEST_CALL_S if len(many) > 1 else None


def _all(answers: list[Any]) -> list[Any]:
    """Return the answers of calls that are worth nothing one by one."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def _position(answer: list[str]) -> Position | None:
    if not answer:
        return None
    epoch, available, held, filled = answer
    return Position(int(epoch), int(available), int(held), filled == "1")
