"""One fault under load, and how long it takes until everything is as it must be."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

from chaos.faults import FAULTS
from chaos.load import Load
from chaos.stage import Stage
from chaos.verdict import Verdict, judge

RESOLVED_WITHIN_S = 60
WARM = 20  # sends that went well before the fault, and after it
LOOK_S = 0.1

HEAD = f"{'fault':<42} {'sends':>6} {'accepted':>8} {'lost':>5} {'doubled':>7} {'recovery':>9}   answers"


@dataclass
class Outcome:
    """A row of the table."""

    fault: str
    verdict: Verdict
    recovery_s: float
    answers: Counter[int]
    violations: list[str]

    def __str__(self) -> str:
        v = self.verdict
        row = f"{self.fault:<42} {v.sends:>6} {v.accepted:>8} {v.lost:>5} {v.doubled:>7} {self.recovery_s:>7.1f} s   "
        row += ", ".join(f"{status or 'none'}: {times}" for status, times in sorted(self.answers.items()))
        return "\n".join([row, *(f"    VIOLATION: {text}" for text in self.violations)])


async def run_cycle(stage: Stage, load: Load, fault: str) -> Outcome:
    """Let a fault happen, then wait until everything is resolved, or for a minute."""
    await stage.complete()
    since = len(stage.whatsapp.sent)
    load.start()
    violations = []
    try:
        async with asyncio.timeout(RESOLVED_WITHIN_S):
            await load.serves(WARM)
        await FAULTS[fault](stage)
        stopped = time.monotonic()
        async with asyncio.timeout(RESOLVED_WITHIN_S):
            await load.serves(WARM)
    except TimeoutError:
        violations.append("it does not serve")
        stopped = time.monotonic()
    finally:
        await load.stop()
    verdict = Verdict()
    while time.monotonic() - stopped < RESOLVED_WITHIN_S:
        verdict = await judge(stage, load, since)
        if verdict.wrong or not verdict.unresolved:
            break
        await asyncio.sleep(LOOK_S)
    violations += verdict.wrong + verdict.unresolved
    answers = Counter([*load.outcomes.values(), *load.refused.values()])
    return Outcome(fault, verdict, time.monotonic() - stopped, answers, violations)


async def run_out(stage: Stage) -> list[str]:
    """Let the time to live of all open holds be over; return what is still held once the sweep has been there."""
    database = await stage.stores.connect()
    try:
        await database.execute("UPDATE hold SET expires_at = now() WHERE state IN ('reserved', 'accepted')")
        verdict = Verdict()
        for _ in range(round(RESOLVED_WITHIN_S / LOOK_S)):
            held = await database.fetchval("SELECT count(*) FROM hold WHERE state IN ('reserved', 'accepted')")
            verdict = await judge(stage, Load(stage), len(stage.whatsapp.sent))
            if not held and not verdict.unresolved:
                return verdict.wrong
            await asyncio.sleep(LOOK_S)
        return [f"{held} holds do not run out", *verdict.unresolved]
    finally:
        await database.close()
