"""Whether the process lives, whether it can serve, its metrics and the description of the API."""

import asyncio
from collections.abc import Awaitable
from typing import Literal

from farebox import metrics as figures
from farebox.admin.figures import read_figures
from farebox.admin.models import Given
from farebox.admin.routing import Answer, Get
from farebox.gate import Gate
from farebox.ledger import LedgerUnavailableError
from farebox.wallet import WalletUnavailableError


class Health(Given):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Part(Given):
    """Whether a part is ready, and why not."""

    ready: bool
    why: str | None = None


class Readiness(Given):
    """Whether this worker can serve."""

    ready: bool
    wallet: Part
    ledger: Part
    directory: Part


READY_TIMEOUT_S = 5  # past this whoever probes has given up; a store that hangs is not ready


async def healthz(ask: Get) -> Answer:  # noqa: ARG001  every handler takes the request
    """Answer: that it does is the news."""
    return Answer(Health())


async def readyz(ask: Get) -> Answer:
    """Ask each part, all at once."""
    gate = ask.gate
    wallet, ledger, directory = await asyncio.gather(
        _part(gate.wallet.ping()), _part(_ledger(gate)), _part(_directory(gate))
    )
    ready = wallet.ready and ledger.ready and directory.ready
    readiness = Readiness(ready=ready, wallet=wallet, ledger=ledger, directory=directory)
    return Answer(readiness, 200 if ready else 503)


async def metrics(ask: Get) -> Answer:
    """Return the figures: what was counted, and what the stores know now."""
    return Answer(figures.exposition(await read_figures(ask.gate)))


async def openapi(ask: Get) -> Answer:
    """Return the description of the API."""
    return Answer(ask.admin.document)


async def _part(check: Awaitable[None]) -> Part:
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            await check
    except (WalletUnavailableError, LedgerUnavailableError, _NotLoadedError) as error:
        return Part(ready=False, why=str(error))
    except TimeoutError:
        return Part(ready=False, why=f"no answer within {READY_TIMEOUT_S} seconds")
    return Part(ready=True)


class _NotLoadedError(Exception):
    """This worker has not read the numbers yet."""


async def _ledger(gate: Gate) -> None:
    await gate.ledger.fetch("any_number")


async def _directory(gate: Gate) -> None:
    """Check that the numbers were read. An empty directory is right only if there are none."""
    if gate.directory.numbers:
        return
    try:
        there_are_some = await gate.ledger.fetch("any_number")
    except LedgerUnavailableError as error:
        raise _NotLoadedError("the numbers were not read yet: the ledger is away") from error
    if there_are_some:
        raise _NotLoadedError("the numbers were not read yet")
