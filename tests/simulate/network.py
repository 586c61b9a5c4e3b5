"""What lies between a process and a store: latency, lost questions, lost answers, and outages."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulate.kernel import Kernel

LATENCY_US = (40, 1_500)
SLOW_US = (20_000, 900_000)  # longer than every timeout of the gateway's, at times
NOTICED_US = (50, 3_000)  # how soon a process learns that its connection broke


class CutError(Exception):
    """The connection broke; what was asked may have been done or not."""


class RefusedError(Exception):
    """Nobody listens."""


@dataclass
class Weather:
    """How many of a thousand questions meet which fault."""

    lose_question: int = 0
    lose_answer: int = 0
    slow: int = 0


Reply = Callable[[Any], None]


class Link:
    """The way to one store, with its weather."""

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel = kernel
        self.name = name
        self.weather = Weather()
        self.down = False
        self._serial = 0

    async def ask(self, what: str, arrive: Callable[[Reply, "asyncio.Future[Any]"], None]) -> Any:
        """Bring a question to the store, where `arrive` answers it at once or later; return or raise the answer."""
        kernel, loop = self.kernel, asyncio.get_running_loop()
        if kernel.over or self.down:
            raise RefusedError
        future: asyncio.Future[Any] = loop.create_future()
        self._serial += 1
        what = f"{loop.name} {self.name} #{self._serial} {what}"
        dice, weather = kernel.between(0, 1_000), self.weather
        lost_question = dice < weather.lose_question
        lost_answer = not lost_question and dice < weather.lose_question + weather.lose_answer
        slow_way = kernel.between(0, 1_000) < weather.slow

        def settle(answer: Any) -> None:
            if future.done():
                return
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        def reply(answer: Any) -> None:
            if lost_answer:
                kernel.note(what, "answer lost")
                answer = CutError()
            elif isinstance(answer, Exception):
                kernel.note(what, "->", repr(answer))
            kernel.after(kernel.between(*LATENCY_US), lambda: loop.call_soon(settle, answer))

        def arrives() -> None:
            if self.down:
                kernel.after(kernel.between(*NOTICED_US), lambda: loop.call_soon(settle, CutError()))
                return
            kernel.note(what)
            arrive(reply, future)

        if lost_question:
            kernel.note(what, "question lost")
            kernel.after(kernel.between(*NOTICED_US), lambda: loop.call_soon(settle, CutError()))
        else:
            kernel.after(kernel.between(*(SLOW_US if slow_way else LATENCY_US)), arrives)
        return await future
