"""Signs webhooks and posts them: a queue that a test can wait for, no timers where no delay is asked for."""

import asyncio
import heapq
import itertools
import logging
import secrets
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import aiohttp

from .config import Number, SimulatorConfig
from .errors import GraphError
from .webhooks import Event, envelope
from .wire import graph_json, sign

log = logging.getLogger(__name__)

# Updates waiting to be posted; past it new messages are refused with Meta's rate limit (130429), because a receiver
# that does not keep up would otherwise fill the memory. About 1 kB each.
PENDING_MAX = 200_000
# Posted bodies kept for `sim.posted`, so that a test can compare what was relayed byte for byte.
POSTED_MAX = 10_000

Build = Callable[[], Sequence[Event]]


@dataclass(frozen=True, slots=True)
class Posted:
    """One webhook POST and how it went. `http_status` 0: no answer at all."""

    url: str
    body: bytes
    headers: dict[str, str]
    attempt: int
    http_status: int


@dataclass(frozen=True, slots=True)
class _Parcel:
    number: Number
    body: bytes
    attempt: int = 1


@dataclass(order=True, slots=True)
class _Due:
    at: float
    order: int
    job: "Build | _Parcel" = field(compare=False)
    done: asyncio.Event | None = field(compare=False, default=None)


class _Lane:
    """Jobs that are done one after the other, each not before its time."""

    def __init__(self) -> None:
        self.heap: list[_Due] = []
        self.wake = asyncio.Event()

    def put(self, due: _Due) -> None:
        heapq.heappush(self.heap, due)
        self.wake.set()

    async def take(self, most: int) -> list[_Due]:
        """Wait for the next job; return it with those that are ready too."""
        loop = asyncio.get_running_loop()
        while not self.heap or self.heap[0].at > loop.time():
            self.wake.clear()
            pause = self.heap[0].at - loop.time() if self.heap else None
            try:
                async with asyncio.timeout(pause):
                    await self.wake.wait()
            except TimeoutError:
                continue
        ready = [heapq.heappop(self.heap)]
        while len(ready) < most and self.heap and self.heap[0].at <= loop.time():
            ready.append(heapq.heappop(self.heap))
        return ready


class Poster:
    """Posts updates to one URL in the background. `settled()` returns when nothing is left to post."""

    def __init__(self, config: SimulatorConfig, numbers: dict[str, Number]) -> None:
        self._numbers = numbers
        self.posted: deque[Posted] = deque(maxlen=POSTED_MAX)
        self.given_up = 0
        """Webhooks that no attempt brought to a 200."""
        self._config = config
        self._order = itertools.count()
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._lanes = [_Lane() for _ in range(config.webhook_lanes)]
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Begin to post."""
        timeout = aiohttp.ClientTimeout(total=self._config.webhook_timeout_s)
        self._session = aiohttp.ClientSession(timeout=timeout, skip_auto_headers=("User-Agent",))
        self._tasks = [asyncio.create_task(self._run(lane)) for lane in self._lanes]

    async def close(self) -> None:
        """Stop at once; what is still queued is dropped."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    @property
    def pending(self) -> int:
        """How many updates are not posted yet."""
        return self._open

    async def verify(self, verify_token: str) -> bool:
        """Ask the receiver for the challenge, as Meta does before it accepts a webhook address.

        https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/create-webhook-endpoint
        """
        challenge = str(secrets.randbelow(10**9))
        query = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": verify_token}
        if self._session is None:
            return False
        try:
            async with self._session.get(self._config.webhook_url, params=query) as response:
                return response.status == 200 and await response.text() == challenge
        except (aiohttp.ClientError, TimeoutError):
            return False

    def check_room(self) -> None:
        """Refuse new work while too much is waiting."""
        if self._open >= PENDING_MAX:
            raise GraphError(130429, f"{self._open} webhooks wait to be posted; is the receiver answering?")

    def put(self, build: Build, *, key: str, delay_s: float = 0.0) -> None:
        """Queue updates. They are built when their time comes; updates of one key keep their order."""
        self._queue(self._lane(key), build, delay_s)

    async def post(self, build: Build, *, key: str) -> None:
        """Queue updates that are due at once and wait until they were posted."""
        done = asyncio.Event()
        self._queue(self._lane(key), build, 0.0, done)
        await done.wait()

    async def settled(self) -> None:
        """Wait until everything queued so far is posted or given up."""
        await self._idle.wait()

    def _lane(self, key: str) -> _Lane:
        return self._lanes[zlib.crc32(key.encode()) % len(self._lanes)]

    def _queue(self, lane: _Lane, job: "Build | _Parcel", delay_s: float, done: asyncio.Event | None = None) -> None:
        at = asyncio.get_running_loop().time() + delay_s if delay_s > 0 else 0.0
        self._open += 1
        self._idle.clear()
        lane.put(_Due(at, next(self._order), job, done))

    def _done(self, jobs: list[_Due]) -> None:
        for job in jobs:
            if job.done is not None:
                job.done.set()
        self._open -= len(jobs)
        if self._open == 0:
            self._idle.set()

    async def _run(self, lane: _Lane) -> None:
        while True:
            jobs = await lane.take(self._config.webhook_batch)
            try:
                for parcel in self._pack([job.job for job in jobs]):
                    await self._post(lane, parcel)
            except Exception:
                # One update that can not be built must neither end the lane nor leave `settled()` waiting for ever.
                log.exception("a webhook could not be built or posted")
            finally:
                self._done(jobs)

    def _pack(self, jobs: "Sequence[Build | _Parcel]") -> list[_Parcel]:
        parcels = [job for job in jobs if isinstance(job, _Parcel)]
        events = [event for job in jobs if not isinstance(job, _Parcel) for event in job()]
        # Without a receiver the statuses still happen (built above); there is only nobody to write to.
        events = [event for event in events if self._target(event.number)[0]]
        parcels += [_Parcel(event.number, graph_json(event.value)) for event in events if event.bare]
        by_target: dict[tuple[str, str], list[Event]] = {}
        for event in events:
            if not event.bare:
                by_target.setdefault(self._target(event.number), []).append(event)
        size = self._config.webhook_batch
        for wrapped in by_target.values():
            chunks = [wrapped[start : start + size] for start in range(0, len(wrapped), size)]
            parcels += [_Parcel(chunk[0].number, graph_json(envelope(chunk))) for chunk in chunks]
        return parcels

    def _current(self, number: Number) -> Number:
        return self._numbers.get(number.phone_number_id, number)

    def _target(self, number: Number) -> tuple[str, str]:
        """Return where the webhooks of a number go and what signs them, as of now."""
        current = self._current(number)
        secret = (current.app_secret or self._config.app_secret) if current.signed else ""
        return current.webhook_url or self._config.webhook_url, secret

    async def _post(self, lane: _Lane, parcel: _Parcel) -> None:
        url, app_secret = self._target(parcel.number)
        if not url or self._session is None:
            return
        headers = {"Content-Type": "application/json", "User-Agent": "facebookexternalua", "Accept": "*/*"}
        headers |= self._current(parcel.number).webhook_headers
        if app_secret:
            headers["X-Hub-Signature-256"] = sign(parcel.body, app_secret)
        try:
            async with self._session.post(url, data=parcel.body, headers=headers, allow_redirects=False) as response:
                await response.read()
                http_status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            log.debug("webhook to %s: %s", url, error)
            http_status = 0
        self.posted.append(Posted(url, parcel.body, headers, parcel.attempt, http_status))
        if http_status == 200:
            return
        if parcel.attempt < self._config.webhook_attempts:
            pause_s = self._config.webhook_retry_s * 2 ** (parcel.attempt - 1)
            self._queue(lane, replace(parcel, attempt=parcel.attempt + 1), pause_s)
            return
        self.given_up += 1
        log.warning("webhook to %s given up after %d attempts: HTTP %d", url, parcel.attempt, http_status)
