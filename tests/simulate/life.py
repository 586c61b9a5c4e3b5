"""One life: a few numbers, a few processes, half a minute of traffic and faults, and what must be true of it."""

import asyncio
import gc
from collections.abc import Callable
from functools import cache
from typing import Any
from uuid import UUID

from farebox.directory import Number
from simulate.kernel import SECOND_US, SimulationError
from simulate.network import Link
from simulate.whatsapp import USERS
from simulate.worker import Worker, tariffs
from simulate.world import HOUR_MS, World, identity

KINDS = ("text",) * 4 + ("marketing", "marketing", "utility", "utility", "authentication", "reaction")
AMOUNTS = (1, 3_400, 50_000, 400_000, 2_000_000)
COLLECT_EVERY = 25  # lives
STEPS = (15, 40)
TRAFFIC_US = 30 * SECOND_US
SETTLE_US = 60 * SECOND_US  # after the faults stop, everything must be resolved in this time
SWEEP_US = 10 * SECOND_US  # from one pass to the next
JUMPS_MS = (700_000, HOUR_MS, 25 * HOUR_MS)
LATER_MS = 32 * 24 * HOUR_MS  # longer than the longest life of a hold


class Life:
    """The script that a seed writes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.kernel = world.kernel
        self.draw = world.kernel.random
        self.calls: list[asyncio.Task[Any]] = []
        self._topups = 0

    def run(self) -> None:
        """Live it; raises SimulationError where something is true that must not be."""
        for number in self.world.numbers.values():
            self._top_up(number, self.draw.choice(AMOUNTS))
        actions, weights = self._actions()
        for _ in range(self.draw.randrange(*STEPS)):
            action = self.draw.choices(actions, weights)[0]
            self.kernel.at(self.draw.randrange(TRAFFIC_US), action)
        self._run(TRAFFIC_US)
        self._calm()
        self._settle()
        self.world.checks.quiet()
        for number in self.world.numbers.values():
            self._send_now(number)
        self._settle(SETTLE_US // 3)
        self._jump(LATER_MS)
        self._settle(SETTLE_US // 2)
        self.world.checks.end()
        self._complaints()

    def _actions(self) -> tuple[list[Callable[[], None]], list[int]]:
        usual = {self._send: 50, self._pay: 6, self._write: 6, self._sweep: 6, self._some_jump: 2, self._burst: 4}
        faults = {
            self._kill: 3, self._pause: 3, self._flush: 2, self._restart_valkey: 3, self._valkey_down: 2,
            self._postgres_down: 2, self._storm: 4,
        }  # fmt: skip
        chosen = usual | (faults if self.world.faulty else {})
        return list(chosen), list(chosen.values())

    def _run(self, for_us: int) -> None:
        self.kernel.run(self.kernel.now_us + for_us)
        self._complaints()

    def _complaints(self) -> None:
        if self.world.checks.broken:
            raise self.world.checks.broken[0]
        if self.kernel.complaints:
            raise SimulationError(self.kernel.complaints[0])
        for task in self.world.tasks:
            if task.done() and task.exception() is not None:
                raise SimulationError(f"it ended in {task.exception()!r}") from task.exception()

    # What applications and users do

    def _send(self) -> None:
        worker = self.world.some_worker()
        if worker is None:
            return
        number, user, kind = self.world.some_number(), self.draw.choice(USERS), self.draw.choice(KINDS)
        kind = "text" if self.world.conversations and kind == "reaction" else kind  # it is part of no conversation
        body: dict[str, Any] = {"messaging_product": "whatsapp", "to": user, "type": kind}
        match kind:
            case "text":
                body["text"] = {"body": "hello"}
            case "reaction":
                body["reaction"] = {"message_id": "wamid.X", "emoji": "x"}
            case category:
                body |= {"type": "template", "template": {"name": category, "language": {"code": "en"}}}
        self.kernel.note("application sends", kind, "from", number.number_id, "by", worker.loop.name)
        self.calls.append(self.world.spawn(worker, self._sent(worker, number, body)))

    async def _sent(self, worker: Worker, number: Number, body: dict[str, Any]) -> None:
        reply = await worker.send(number, body)
        self.kernel.note("application hears", reply.status, dict(reply.headers).get("X-Farebox-Hold", ""))
        self.world.checks.answered(number, body, reply)

    def _burst(self) -> None:
        for _ in range(self.draw.randrange(3, 9)):
            self._send()

    def _send_now(self, number: Number) -> None:
        self._top_up(number, AMOUNTS[-1])
        for _ in range(3):
            self.kernel.after(self.draw.randrange(SECOND_US), self._send)

    def _pay(self) -> None:
        self._top_up(self.world.some_number(), self.draw.choice(AMOUNTS))

    def _top_up(self, number: Number, micros: int) -> None:
        self._topups += 1
        self._try_top_up(number, f"topup-{self._topups}", micros)

    def _try_top_up(self, number: Number, reference: str, micros: int) -> None:
        """Pay; who gets no answer asks again with the same reference, of whichever process answers."""
        worker = self.world.some_worker()
        self.kernel.after(5 * SECOND_US, self._top_up_again, number, reference, micros)
        if worker is not None:
            self.calls.append(self.world.spawn(worker, self._paid(worker, number, reference, micros)))

    def _top_up_again(self, number: Number, reference: str, micros: int) -> None:
        if reference not in self.world.checks.paid:
            self._try_top_up(number, reference, micros)

    async def _paid(self, worker: Worker, number: Number, reference: str, micros: int) -> None:
        topup_id = UUID(int=self.draw.getrandbits(128))
        try:
            booked = await worker.gate.funds.credit(
                number, topup_id=topup_id, amount_micros=micros, reference=reference, method="manual"
            )
        except World.away:
            return
        self.kernel.note("top-up", reference, micros, "of", number.number_id, "booked" if booked else "was booked")
        self.world.checks.paid[reference] = (number.number_id, micros)

    def _write(self) -> None:
        worker, number = self.world.some_worker(), self.world.some_number()
        if worker is not None:
            at = str(self.world.clock_ms() // 1000)
            message = {"from": self.draw.choice(USERS), "id": "wamid.in", "timestamp": at, "type": "text"}
            self.world.spawn(worker, self._written(worker, number, message))

    async def _written(self, worker: Worker, number: Number, message: dict[str, Any]) -> None:
        try:
            await worker.webhook(number, {"messages": [message]})
        except World.away:
            return

    def _sweep(self) -> None:
        worker = self.world.some_worker()
        if worker is not None:
            self.world.spawn(worker, self._swept(worker))

    async def _swept(self, worker: Worker) -> None:
        try:
            await worker.sweep()
        except World.away:
            return

    def _some_jump(self) -> None:
        self._jump(self.draw.choice(JUMPS_MS))

    def _jump(self, by_ms: int) -> None:
        """Move the clock; each process hears of it in its own time."""
        self.kernel.note("the clock jumps by", by_ms // 1000, "s")
        self.world.database.offset_ms += by_ms
        for worker in self.world.workers:
            if worker.ready:
                self.kernel.after(self.draw.randrange(20_000), self._hear_of_the_clock, worker)

    def _hear_of_the_clock(self, worker: Worker) -> None:
        if not worker.loop.killed:
            self.world.spawn(worker, worker.sync())

    # What goes wrong

    def _kill(self) -> None:
        worker = self.world.some_worker()
        if worker is not None:
            self.kernel.note("kill -9", worker.loop.name)
            worker.kill()
            self.kernel.after(self.draw.randrange(3 * SECOND_US), self.world.start_worker)

    def _pause(self) -> None:
        worker = self.world.some_worker()
        if worker is not None:
            self.kernel.note("stop", worker.loop.name)
            worker.loop.paused = True
            self.kernel.after(self.draw.randrange(8 * SECOND_US), self._resume, worker)

    def _resume(self, worker: Worker) -> None:
        self.kernel.note("go on", worker.loop.name)
        worker.loop.paused = False

    def _flush(self) -> None:
        self.kernel.note("FLUSHALL")
        self.world.valkey.command("FLUSHALL")

    def _restart_valkey(self) -> None:
        """Kill the store, which comes up again with what it had up to a second ago, or as the replica that had it."""
        kept = self.world.valkey.snapshot()
        self.kernel.after(self.draw.randrange(SECOND_US), self._valkey_dies, kept, self.draw.randrange(3) == 0)

    def _valkey_dies(self, kept: Any, failover: bool) -> None:
        self.kernel.note("valkey dies")
        self.world.to_valkey.down = True
        self.kernel.after(self.draw.randrange(2 * SECOND_US), self._valkey_returns, kept, failover)

    def _valkey_returns(self, kept: Any, failover: bool) -> None:
        self.kernel.note("valkey is back as it was a moment before", "(failover)" if failover else "")
        self.world.valkey.restart(identity(self.kernel.now_us), kept)
        if failover:
            self.world.valkey.replication_id = identity(self.kernel.now_us + 1)
        self.world.to_valkey.down = False

    def _valkey_down(self) -> None:
        self._cut(self.world.to_valkey)

    def _postgres_down(self) -> None:
        self.world.postgres.crash()
        self._cut(self.world.to_postgres)

    def _cut(self, link: Link) -> None:
        self.kernel.note(link.name, "is away")
        link.down = True
        self.kernel.after(self.draw.randrange(4 * SECOND_US), self._join, link)

    def _join(self, link: Link) -> None:
        self.kernel.note(link.name, "is back")
        link.down = False

    def _storm(self) -> None:
        link = self.draw.choice((self.world.to_valkey, self.world.to_postgres))
        weather = link.weather
        weather.lose_question, weather.lose_answer, weather.slow = (self.draw.choice((0, 30, 200)) for _ in range(3))
        self.kernel.note("weather of", link.name, weather)

    def _calm(self) -> None:
        """Stop the faults; what was killed is started again."""
        self.kernel.note("the faults stop")
        world = self.world
        for link in (world.to_valkey, world.to_postgres):
            link.weather.lose_question = link.weather.lose_answer = link.weather.slow = 0
            link.down = False
        world.valkey.down = world.whatsapp.unwell = False
        for worker in world.workers:
            worker.loop.paused = False
        if not any(not worker.loop.killed for worker in world.workers):
            world.start_worker()

    def _settle(self, for_us: int = SETTLE_US) -> None:
        """Let everything come to an end that may, with passes of the sweep in between."""
        for _ in range(for_us // SWEEP_US):
            self._run(SWEEP_US)
            self._sweep()
        self._run(SWEEP_US)
        waiting = [call for call in self.calls if not call.done() and not call.get_loop().killed]
        if waiting:
            raise SimulationError(f"{len(waiting)} calls are still waiting after the faults stopped")


@cache
def _no_collections_within_a_life() -> None:
    """Within a life there is nothing to collect: what a killed process left stays to the end."""
    tariffs()
    gc.collect()
    gc.freeze()
    gc.disable()


def live(seed: int, *, whole_trace: bool = False) -> str | None:
    """Live one life; return what was wrong with its trace, None where nothing was."""
    _no_collections_within_a_life()
    world = World(seed, whole_trace=whole_trace)
    try:
        Life(world).run()
    except SimulationError as error:
        return f"seed {seed}: {error}\n{world.kernel.trace()}"
    finally:
        world.kernel.close()
        if seed % COLLECT_EVERY == 0:
            gc.collect()
    return world.kernel.trace() if whole_trace else None
