"""What every request passes through: the parts of one worker, made once and handed on."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from farebox.clock import Clock
from farebox.config import Settings
from farebox.directory import Directory
from farebox.funds import Funds
from farebox.ledger import Ledger
from farebox.tariffs import Tariffs
from farebox.templates import Templates
from farebox.upstream import Upstream
from farebox.wallet import Wallet


@dataclass(frozen=True)
class Gate:
    """One worker's parts."""

    settings: Settings
    clock: Clock
    tariffs: Tariffs
    directory: Directory
    wallet: Wallet
    ledger: Ledger
    funds: Funds
    upstream: Upstream
    templates: Templates
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside the request. The loop itself keeps no reference to a task; `tasks` does."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task
