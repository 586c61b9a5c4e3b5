"""Group commit: what shares a batch, what waits, and what a broken store means to whom."""

import asyncio
from collections.abc import Sequence

import pytest

from farebox import batch
from farebox.batch import Batcher, OverloadedError


class Store:
    """Answers a batch with its asks, once it may."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.began = asyncio.Event()

    async def flush(self, asks: list[int]) -> Sequence[int | Exception]:
        self.batches.append(asks)
        self.began.set()
        await self.open.wait()
        return asks


@pytest.fixture
def store() -> Store:
    return Store()


def batcher(store: Store, *, max_batch: int = 10, max_waiting: int = 20) -> Batcher[int, int]:
    return Batcher(store.flush, max_batch=max_batch, max_waiting=max_waiting)


async def test_what_is_asked_in_one_turn_shares_a_batch_and_the_next_gathers_meanwhile(store: Store) -> None:
    queue = batcher(store)
    store.open.clear()
    first = [queue.hand_over(ask) for ask in (1, 2)]
    await store.began.wait()
    later = [queue.hand_over(ask) for ask in (3, 4)]
    store.open.set()
    assert await asyncio.gather(*first, *later) == [1, 2, 3, 4]
    assert store.batches == [[1, 2], [3, 4]]


async def test_what_nobody_waits_for_gathers_until_its_time_comes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "GATHER_S", 0)
    queue = batcher(store)
    first = queue.hand_over(1, may_gather=True)
    assert await first == 1
    assert store.batches == [[1]]


async def test_what_somebody_waits_for_takes_along_what_gathers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "GATHER_S", 3600)
    queue = batcher(store)
    gathering = queue.hand_over(1, may_gather=True)
    assert await queue.submit(2) == 2
    assert gathering.result() == 1
    assert store.batches == [[1, 2]]


async def test_what_gathers_behind_a_batch_under_way_is_not_forgotten(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "GATHER_S", 0)
    queue = batcher(store)
    store.open.clear()
    first = queue.hand_over(1)
    await store.began.wait()
    gathering = queue.hand_over(2, may_gather=True)
    store.open.set()
    assert await asyncio.gather(first, gathering) == [1, 2]
    assert store.batches == [[1], [2]]


async def test_a_full_batch_gathers_no_longer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "GATHER_S", 3600)
    queue = batcher(store, max_batch=3)
    gathering = [queue.hand_over(ask, may_gather=True) for ask in range(3)]
    assert await asyncio.gather(*gathering) == [0, 1, 2]


async def test_idle_waits_for_what_gathers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "GATHER_S", 3600)
    queue = batcher(store)
    gathering = queue.hand_over(1, may_gather=True)
    await queue.idle()
    assert gathering.result() == 1
    await queue.idle()  # and has nothing to wait for


async def test_to_catch_up_is_to_wait_for_what_came_before_and_not_for_what_comes_after(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "GATHER_S", 3600)
    queue = batcher(store)
    await queue.caught_up()  # with nothing
    before = queue.hand_over(1, may_gather=True)
    waiting = asyncio.create_task(queue.caught_up())
    await waiting
    after = queue.hand_over(2, may_gather=True)
    assert (before.done(), after.done()) == (True, False)
    store.open.clear()
    store.began.clear()
    waiting = asyncio.create_task(queue.caught_up())
    await store.began.wait()
    later = queue.hand_over(3, may_gather=True)
    store.open.set()
    await waiting
    assert (after.done(), later.done()) == (True, False)
    await queue.idle()


async def test_more_than_may_wait_is_refused_at_once(store: Store) -> None:
    queue = batcher(store, max_waiting=2)
    waiting = [queue.hand_over(ask) for ask in (1, 2)]
    with pytest.raises(OverloadedError):
        queue.hand_over(3)
    assert await asyncio.gather(*waiting) == [1, 2]


async def test_a_broken_store_is_told_to_every_caller_of_the_batch_and_to_no_other(store: Store) -> None:
    fails = True

    async def flush(asks: list[int]) -> Sequence[int | Exception]:
        if fails:
            raise ConnectionError
        return asks

    queue: Batcher[int, int] = Batcher(flush, max_batch=10, max_waiting=10)
    assert [type(one) for one in await asyncio.gather(queue.submit(1), queue.submit(2), return_exceptions=True)] == [
        ConnectionError,
        ConnectionError,
    ]
    fails = False
    assert await queue.submit(3) == 3


async def test_an_error_among_the_answers_is_raised_at_its_place_alone() -> None:
    async def flush(asks: list[int]) -> Sequence[int | Exception]:
        return [ValueError() if ask == 2 else ask for ask in asks]

    queue: Batcher[int, int] = Batcher(flush, max_batch=10, max_waiting=10)
    good, bad = await asyncio.gather(queue.submit(1), queue.submit(2), return_exceptions=True)
    assert (good, type(bad)) == (1, ValueError)
