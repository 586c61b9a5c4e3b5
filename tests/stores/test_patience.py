"""How long a call waits for the wallets' store."""

import asyncio
import os
import signal
import time

import pytest
import uvloop

from farebox.wallet import Wallet, WalletUnavailableError

PATIENCE_S = 0.1


def test_a_loop_that_was_late_is_no_dead_store(redis_url: str) -> None:
    """The answer lies in the socket when the timer goes off: it is read first, also by the loop of production."""

    async def ask_late() -> None:
        wallet = Wallet(redis_url, timeout_s=PATIENCE_S)
        try:
            await wallet.position("1")
            asked = asyncio.create_task(wallet.position("1"))
            await asyncio.sleep(0)  # the command is written
            time.sleep(2 * PATIENCE_S)  # noqa: ASYNC251  as long as a huge batch holds the loop up
            assert await asked is None
        finally:
            await wallet.aclose()

    uvloop.run(ask_late())


async def test_a_store_that_does_not_answer_is_waited_for_once(redis_url: str) -> None:
    wallet = Wallet(redis_url, timeout_s=PATIENCE_S)
    try:
        await wallet.ping()
        pid = (await wallet._redis.info("server"))["process_id"]
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(WalletUnavailableError, match="TimeoutError"):
                await wallet.position("1")
            with pytest.raises(WalletUnavailableError, match="a moment ago"):
                await wallet.position("1")
        finally:
            os.kill(pid, signal.SIGCONT)
    finally:
        await wallet.aclose()
