"""100 MB of media through the gateway, down and up: the memory that it adds, and its speed beside the bare proxy's."""

import asyncio
import http.client
import time
from urllib.parse import urlsplit

from benchmarks.peers.upstream import MEDIA_BYTES
from benchmarks.population import id_of, key_of
from benchmarks.processes import Running, largest_mib
from benchmarks.report import Figure, Section, say
from benchmarks.stage import open_stage

ROUNDS = 3
PIECE_BYTES = 65_536
LOOK_S = 0.01
SPEED_BARS = (0.8, 1.0)
FLAT_MIB = 8  # what a buffer here and there may take; the file itself is 95 MiB
DOWN, UP = "/whatsapp_business/attachments/?mid=1", f"/v23.0/{id_of(1)}/media"


def transfer(url: str, *, up: bool) -> float:
    """Move the file once; return the seconds."""
    target = urlsplit(url)
    connection = http.client.HTTPConnection(str(target.hostname), target.port, timeout=60)
    headers = {"Authorization": f"Bearer {key_of(1)}", "Content-Type": "application/pdf"}
    started = time.perf_counter()
    if up:
        pieces = (bytes(PIECE_BYTES)[: MEDIA_BYTES - at] for at in range(0, MEDIA_BYTES, PIECE_BYTES))
        connection.request("POST", UP, pieces, {**headers, "Content-Length": str(MEDIA_BYTES)})
    else:
        connection.request("GET", DOWN, headers=headers)
    answer, moved = connection.getresponse(), 0
    while piece := answer.read(PIECE_BYTES):
        moved += len(piece)
    seconds = time.perf_counter() - started
    assert answer.status == 200, f"{answer.status}"
    assert up or moved == MEDIA_BYTES, f"{moved} bytes came"
    connection.close()
    return seconds


async def watched(running: Running, *, up: bool) -> tuple[float, float]:
    """Move the file; return the seconds, and the MiB that the worker grew by."""
    before = peak = largest_mib(running.pid)
    moving = asyncio.create_task(asyncio.to_thread(transfer, running.url, up=up))
    while not moving.done():
        peak = max(peak, largest_mib(running.pid))
        await asyncio.wait({moving}, timeout=LOOK_S)
    return moving.result(), peak - before


async def measure() -> Section:
    """Measure both directions, in turn with the bare proxy."""
    figures = []
    async with open_stage() as stage:
        bare, gateway = await stage.bare(), await stage.gateway()
        for up, name in ((False, "download"), (True, "upload")):
            ratios, grown = [], []
            for number in range(ROUNDS + 1):  # the first one warms up
                theirs, _ = await watched(bare, up=up)
                ours, added_mib = await watched(gateway, up=up)
                if number:
                    ratios.append(theirs / ours)
                    grown.append(added_mib)
                    speed = f"{MEDIA_BYTES / ours / 1e6:,.0f} MB/s"
                    say(f"  round {number} of {ROUNDS}: {name} {speed}, {added_mib:.1f} MiB added")
            figures += [
                Figure(f"100 MB {name}, speed over the bare proxy", ratios, *SPEED_BARS),
                Figure(f"100 MB {name}, memory added, MiB", grown, FLAT_MIB, FLAT_MIB, more_is_better=False),
            ]
    return Section("Media", figures)
