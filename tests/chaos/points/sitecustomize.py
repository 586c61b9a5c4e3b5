"""Python reads this when it starts, in the processes that find it on their path: named points where a worker may die.

An order is a file in the folder of CHAOS_FOLDER, named after a point, with the signal in it. The first worker that
passes the point takes the order and sends itself the signal; the product's own code knows nothing of this.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("CHAOS_FOLDER", "."))
ON_THE_WIRE_S = 0.03  # after a send began: its bytes have left by then, and WhatsApp is made to answer later than this


def reached(point: str) -> None:
    order, taken = FOLDER / point, FOLDER / f"{point}.{os.getpid()}"
    try:
        name = order.read_text()  # before it is taken: whoever gave it puts it away as soon as it is
        order.rename(taken)
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.Signals[name])


def watch(owner: Any, name: str, *, before: str = "", during: str = "", after: str = "") -> None:
    """Wrap a method: it passes points before it, a moment after it began, and after it."""
    method: Callable[..., Any] = getattr(owner, name)

    async def wrapped(*arguments: Any, **named: Any) -> Any:
        if before:
            reached(before)
        if during and (FOLDER / during).exists():
            asyncio.get_running_loop().call_later(ON_THE_WIRE_S, reached, during)
        result = await method(*arguments, **named)
        if after:
            reached(after)
        return result

    setattr(owner, name, wrapped)


if "CHAOS_FOLDER" in os.environ and sys.orig_argv[-1] == "worker":
    from farebox.ledger import Ledger
    from farebox.upstream import Upstream
    from farebox.wallet import Wallet

    watch(Wallet, "take", before="before take", after="after take")
    watch(Ledger, "record", after="after ledger")
    watch(Upstream, "send", during="after bytes", after="after answer")
    watch(Ledger, "end", after="inside settle")
    watch(Wallet, "credit", before="inside top-up")
    watch(Wallet, "rebuild", before="inside rebuild")
