"""What applications and users do all the while: send, be refused, add money, write in. Nobody retries anything."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from chaos.stage import POOR, Stage
from farebox.core.reply import OUT_OF_FUNDS
from harness import NUMBER, template

SENDERS = 6
PAUSE_S = 0.03  # between two calls of one client: the machine is shared by everything that runs
TEXT = "of umbrellas and sewing machines"  # of every message with words in it: no log may contain it
NO_ANSWER = 0
# What says that nothing was sent, and what says that nobody knows.
NOT_SENT = frozenset({400, 401, 402, 429, 500, 502, 503})


class Load:
    """A closed loop of clients. Each message goes to a user of its own, so that WhatsApp's list tells who sent what."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._serial = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._wanted = False
        self.outcomes: dict[str, int] = {}  # of each paid send, by its user: HTTP status or NO_ANSWER
        self.refused: dict[str, int] = {}  # of each send without funds
        self.topups: dict[str, int] = {}
        self.mistakes: list[str] = []

    def start(self) -> None:
        """Begin a new count."""
        self.outcomes, self.refused, self.topups = {}, {}, {}
        self._wanted = True
        self._tasks = [asyncio.create_task(self._client(self._send)) for _ in range(SENDERS)]
        for work in (self._send_without_funds, self._top_up, self._write_in):
            self._tasks.append(asyncio.create_task(self._client(work)))

    async def stop(self) -> None:
        """Let every client have its answer."""
        self._wanted = False
        await asyncio.gather(*self._tasks)

    async def serves(self, times: int) -> None:
        """Wait until so many sends went well from now on."""
        start = sum(status == 200 for status in self.outcomes.values())
        while sum(status == 200 for status in self.outcomes.values()) < start + times:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def _client(self, work: Callable[[str], Awaitable[None]]) -> None:
        while self._wanted:
            self._serial += 1
            await work(f"1650{self._serial:07d}")
            await asyncio.sleep(PAUSE_S)

    async def _send(self, user: str) -> None:
        self.outcomes[user], _ = await self._post(NUMBER, self._stage.key, template(to=user))

    async def _send_without_funds(self, user: str) -> None:
        status, content = await self._post(POOR, self._stage.poor_key, template(to=user))
        self.refused[user] = status
        if status == 200:
            self.mistakes.append("a send without funds was taken")
        if status == 402 and content["error"]["message"] != OUT_OF_FUNDS:
            self.mistakes.append("the sentence is not exact")

    async def _top_up(self, user: str) -> None:
        reference = f"topup-{user}"
        try:
            body = {"amount": "0.01", "reference": reference, "method": "manual"}
            self.topups[reference], _ = await self._stage.admin("POST", f"/v1/numbers/{NUMBER}/topups", body)
        except (aiohttp.ClientError, TimeoutError):
            self.topups[reference] = NO_ANSWER

    async def _write_in(self, user: str) -> None:
        await self._stage.whatsapp.write_in(user, TEXT)

    async def _post(self, number_id: str, key: str, message: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}"}
        url = f"{self._stage.url}/v23.0/{number_id}/messages"
        try:
            async with self._stage.session.post(url, json=message, headers=headers) as answer:
                return answer.status, await answer.json()
        except (aiohttp.ClientError, TimeoutError):
            return NO_ANSWER, None
