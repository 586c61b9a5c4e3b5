"""News that a store was away for, on the local disk until it answers again.

One append-only file a worker, in `FAREBOX_DATA_DIR/spool`. A line is a checksum and one piece of news (`news.py`), and
is on the disk before whoever wrote it goes on. The file's lock lives and dies with the worker's process: another worker
of this machine takes the file of a dead one over and tells its news. A line that a crash tore has no valid checksum and
was never promised to anybody, so it is passed over. Telling is safe to repeat, so a file is emptied only when all of it
was told; a crash in the middle tells it again from the start.
"""

import asyncio
import fcntl
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from farebox import metrics
from farebox.batch import Batcher, OverloadedError
from farebox.news import Piece

log = logging.getLogger(__name__)

FOLDER = "spool"  # in the data folder
MAX_SLOTS = 256  # files: twice the workers of a machine, for an old and a new gateway side by side, and room
MAX_BATCH = 1_000  # pieces in one write and fsync
MAX_WAITING = 10_000  # pieces that wait for the disk, as for the stores
MAX_READ = 500  # pieces read at a time: some 300 KB


class SpoolError(Exception):
    """The disk does not take more, or is not there; nothing was promised."""


class SpoolFile:
    """A file of the spool that this process has locked. Its methods block; call them in a thread."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.slot = int(path.stem)
        self._descriptor = descriptor
        self.told_bytes = 0  # of the lines that were told already
        self._end = os.fstat(descriptor).st_size
        if self._end and os.pread(descriptor, 1, self._end - 1) != b"\n":
            self._write(b"\n")  # ends what a crash tore, so that the next line is whole

    @property
    def waiting_bytes(self) -> int:
        """Return how much was not told yet."""
        return self._end - self.told_bytes

    @property
    def size(self) -> int:
        """Return how large the file is."""
        return self._end

    def append(self, lines: bytes) -> None:
        """Write lines and see them to the disk. Raises SpoolError, and the lines are not there then."""
        end = self._end
        try:
            self._write(lines)
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, end)
            self._end = end
            raise SpoolError(f"the spool can not be written: {error.strerror}") from error

    def read(self) -> tuple[list[Piece], int]:
        """Return the next pieces that were not told, and where they end."""
        pieces: list[Piece] = []
        end = self.told_bytes
        with self.path.open("rb") as file:
            file.seek(end)
            for line in file:
                if len(pieces) == MAX_READ or end + len(line) > self._end:
                    break
                end += len(line)
                piece = read_line(line)
                if piece is not None:
                    pieces.append(piece)
                elif line.strip():
                    metrics.SPOOL_TORN.inc()
                    log.warning("a torn line in %s is passed over: a crash cut it short", self.path.name)
        return pieces, end

    def told(self, end: int) -> None:
        """Note that everything up to here was told; what was told as a whole is emptied."""
        self.told_bytes = end
        if end == self._end:
            os.ftruncate(self._descriptor, 0)
            os.fsync(self._descriptor)
            self.told_bytes = self._end = 0

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._descriptor)

    def _write(self, data: bytes) -> None:
        written = 0
        while written < len(data):
            written += os.write(self._descriptor, data[written:])
        self._end += written


class Spool:
    """This worker's file, opened on first use, and those that dead workers left."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = asyncio.Lock()  # of the files: one thread at a time
        self._appends: Batcher[bytes, None] = Batcher(self._append_batch, max_batch=MAX_BATCH, max_waiting=MAX_WAITING)
        self.own: SpoolFile | None = None
        self.away = False  # the stores did not answer when news was last told: more goes straight to the spool

    async def append(self, pieces: Iterable[Piece]) -> None:
        """See pieces to the disk, in this order. Raises SpoolError."""
        lines = [write_line(piece) for piece in pieces]
        if not lines:
            return
        try:
            await self._appends.submit(b"".join(lines))
        except OverloadedError as error:
            raise SpoolError("too much waits for the spool's disk") from error
        metrics.SPOOLED.inc(len(lines))
        self._show()

    async def open(self) -> SpoolFile:
        """Return this worker's file. Raises SpoolError."""
        async with self._lock:
            return await asyncio.to_thread(self._open)

    async def pieces_of(self, belongs: Callable[[int], bool]) -> list[Piece]:
        """Return everything in the files whose slot belongs, told or not."""
        async with self._lock:
            return await asyncio.to_thread(self._pieces_of, belongs)

    async def left_behind(self) -> list[SpoolFile]:
        """Lock and return files of dead workers with news in them; the caller closes them."""
        async with self._lock:
            return await asyncio.to_thread(self._left_behind)

    async def read(self, file: SpoolFile) -> tuple[list[Piece], int]:
        """Return the next pieces of a file, and where they end."""
        async with self._lock:
            return await asyncio.to_thread(file.read)

    async def told(self, file: SpoolFile, end: int, *, emptied: Callable[[], None] = lambda: None) -> None:
        """Note that a file was told up to here; `emptied` is called before anything new can come into it."""
        async with self._lock:
            await asyncio.to_thread(file.told, end)
            if not file.size:
                emptied()
        self._show()

    def _show(self) -> None:
        metrics.SPOOL_BYTES.set(self.own.size if self.own is not None else 0)

    def waits(self) -> bool:
        """Tell whether there is anything to tell on this machine, at the price of one look into a folder."""
        if self.own is not None and self.own.waiting_bytes:
            return True
        try:
            with os.scandir(self._folder) as entries:
                return any(entry.stat().st_size for entry in entries)
        except OSError:
            return False

    async def step_down(self) -> None:
        """Give an empty file up, so that the next use takes the lowest slot that is free."""
        async with self._lock:
            if self.own is not None and not self.own.size:
                self.close()

    def close(self) -> None:
        """Give the file up; what is in it is told by another worker, or at the next start."""
        if self.own is not None:
            self.own.close()
            self.own = None

    async def _append_batch(self, batch: list[bytes]) -> list[None]:
        async with self._lock:
            await asyncio.to_thread(self._write, b"".join(batch))
        return [None] * len(batch)

    def _write(self, lines: bytes) -> None:
        file = self._open()
        if file.size + len(lines) > self._max_bytes:
            raise SpoolError("the spool is full (FAREBOX_SPOOL_MAX_BYTES)")
        file.append(lines)

    def _open(self) -> SpoolFile:
        if self.own is None:
            try:
                self._folder.parent.mkdir(parents=True, exist_ok=True)
                self._folder.mkdir(mode=0o700, exist_ok=True)
                self.own = next(file for slot in range(MAX_SLOTS) if (file := _locked(self._path(slot), make=True)))
            except (OSError, StopIteration) as error:
                raise SpoolError(f"the spool can not be opened: {error}") from error
        return self.own

    def _left_behind(self) -> list[SpoolFile]:
        with_news = [path for path in sorted(self._folder.glob("[0-9][0-9][0-9].jsonl")) if path.stat().st_size]
        return [file for path in with_news if (file := _locked(path, make=False)) is not None]

    def _pieces_of(self, belongs: Callable[[int], bool]) -> list[Piece]:
        paths = [path for path in sorted(self._folder.glob("[0-9][0-9][0-9].jsonl")) if belongs(int(path.stem))]
        return [piece for path in paths for piece in _whole_lines(path)]

    def _path(self, slot: int) -> Path:
        return self._folder / f"{slot:03d}.jsonl"


def write_line(piece: Piece) -> bytes:
    """Write a piece as a line with its checksum in front."""
    text = json.dumps(piece.record(), separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def read_line(line: bytes) -> Piece | None:
    """Read a line; None where it is not whole."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        return Piece.of_record(json.loads(text))
    except (
        ValueError,
        KeyError,
        TypeError,
    ):  # of another version of farebox: its checksum is right, it is no news here
        log.exception("a line of the spool is not understood and passed over")
        return None


def _whole_lines(path: Path) -> Iterator[Piece]:
    with path.open("rb") as file:
        yield from (piece for line in file if (piece := read_line(line)) is not None)


def _locked(path: Path, *, make: bool) -> SpoolFile | None:
    """Open a file for this process alone; None where another process has it, or it is not there to be opened."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if make else 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return SpoolFile(path, descriptor)
