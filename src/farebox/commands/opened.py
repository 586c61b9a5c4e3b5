"""The stores and parts behind a command: those of a farebox that runs here, or of the settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from farebox.acting import acting, by_command
from farebox.config import Settings
from farebox.gate import Gate, open_gate
from farebox.supervisor import Stop, stores

TIMEOUT_S = 10  # a person waits, no send does


class UsageError(ValueError):
    """What was asked for is not there, or makes no sense; the text says what to do."""


@asynccontextmanager
async def opened_gate(
    settings: Settings, *, timeout_s: float = TIMEOUT_S, acts_as: str | None = None
) -> AsyncIterator[Gate]:
    """Open a worker's parts as a guest of whoever runs the stores; `timeout_s` is for one answer of a store.

    What is written then is written in the name of the command `acts_as` and of the person who runs it.
    """
    async with stores(settings, Stop(), guest=True) as named:
        patient = named.model_copy(update={"wallet_timeout_s": timeout_s, "ledger_timeout_s": timeout_s})
        async with open_gate(patient) as gate:
            with acting(by_command(acts_as)) if acts_as else nullcontext():
                yield gate
