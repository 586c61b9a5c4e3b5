"""The spool: whole lines come back in order, whatever a crash did to the rest, and nobody's news is told by two."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farebox.news import Kind, Piece
from farebox.spool import Spool, SpoolError, read_line, write_line

ROOMY = 1_000_000


def pieces(*serials: int) -> list[Piece]:
    return [Piece(Kind.INBOUND, "1", {"serial": serial, "text": "ü\n\0"}) for serial in serials]


async def told(spool: Spool) -> list[Piece]:
    own = await spool.open()
    read, end = await spool.read(own)
    await spool.told(own, end)
    return read


async def test_pieces_come_back_in_order_and_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "data" / "spool", max_bytes=ROOMY)
    await spool.append(pieces(1, 2))
    await spool.append(pieces(3))
    file = tmp_path / "data" / "spool" / "000.jsonl"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert spool.waits()
    assert await told(spool) == pieces(1, 2, 3)
    assert file.stat().st_size == 0
    assert not spool.waits()
    await spool.append(pieces(4))
    assert await told(spool) == pieces(4)
    spool.close()


async def test_news_is_on_the_disk_before_it_is_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=ROOMY)
    await spool.open()
    sync, synced = os.fsync, []

    def noted(descriptor: int) -> None:
        sync(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", noted)
    await spool.append(pieces(1))
    assert synced == [(tmp_path / "spool" / "000.jsonl").stat().st_size] != [0]
    spool.close()


async def test_what_comes_while_news_is_told_is_not_emptied_with_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=ROOMY)
    await spool.append(pieces(1))
    own = await spool.open()
    read, end = await spool.read(own)
    await spool.append(pieces(2))
    emptied: list[bool] = []
    await spool.told(own, end, emptied=lambda: emptied.append(True))
    assert (read, emptied) == (pieces(1), [])
    assert await told(spool) == pieces(2)
    spool.close()


@settings(deadline=None)
@given(cut=st.integers(2, 200), junk=st.binary(max_size=30))
def test_a_torn_or_strange_line_is_no_piece(cut: int, junk: bytes) -> None:
    line = write_line(pieces(1)[0])
    assert read_line(line) == pieces(1)[0]
    assert read_line(line[:-cut] + b"\n") is None
    assert read_line(junk + line) is None or junk == b""
    assert read_line(line[:-1]) is None


async def test_a_torn_last_line_is_passed_over_and_the_next_one_is_whole(tmp_path: Path) -> None:
    first = Spool(tmp_path, max_bytes=ROOMY)
    await first.append(pieces(1, 2))
    first.close()
    file = tmp_path / "000.jsonl"
    os.truncate(file, file.stat().st_size - 7)
    second = Spool(tmp_path, max_bytes=ROOMY)
    await second.append(pieces(3))
    assert await told(second) == pieces(1, 3)
    second.close()


async def test_a_full_spool_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=2 * len(write_line(pieces(1)[0])))
    await spool.append(pieces(1, 2))
    with pytest.raises(SpoolError, match="full"):
        await spool.append(pieces(3))
    assert await told(spool) == pieces(1, 2)
    spool.close()


async def test_a_disk_that_takes_half_a_line_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, max_bytes=ROOMY)
    await spool.append(pieces(1))
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(SpoolError, match="No space left"):
        await spool.append(pieces(2))
    monkeypatch.undo()
    await spool.append(pieces(3))
    assert await told(spool) == pieces(1, 3)
    spool.close()


async def test_a_folder_that_can_not_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match="can not be opened"):
        await Spool(tmp_path / "file" / "spool", max_bytes=ROOMY).append(pieces(1))


WORKER = """
import asyncio, sys
from pathlib import Path
from farebox.news import Kind, Piece
from farebox.spool import Spool
async def main():
    spool = Spool(Path(sys.argv[1]), max_bytes=10**6)
    await spool.append([Piece(Kind.INBOUND, "1", {"serial": 1, "text": "ü\\n\\0"})])
    print("written", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_the_news_of_a_killed_worker_is_told_by_another(tmp_path: Path) -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], stdout=subprocess.PIPE)  # noqa: ASYNC220
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"written\n"
    spool = Spool(tmp_path, max_bytes=ROOMY)
    assert (await spool.open()).slot == 1  # the first one is taken
    assert spool.waits()
    assert await spool.left_behind() == []
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    (left,) = await spool.left_behind()
    assert (await spool.read(left))[0] == pieces(1)
    left.close()
    await spool.step_down()
    assert (await spool.open()).slot == 0
    spool.close()
