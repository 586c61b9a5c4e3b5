"""Keeps two fareboxes from opening the same data.

Two files are locked, because two things have to end before data is free. The farebox process holds the *owner* lock.
The *stores* lock is held through a file descriptor that the stores inherit, so that it stays held until the last
process of a killed farebox's PostgreSQL or Valkey is gone. A lock ends with its processes; nothing has to be cleaned
up after a crash, and no process id is trusted.

The files stay where they are: to delete a lock file is to let two processes lock two different files of one name.
"""

import asyncio
import contextlib
import fcntl
import os
from pathlib import Path

from farebox.embedded.errors import DataInUse

# A killed farebox's stores shut down by themselves within the time that a stop would have granted them (postgres.py);
# past that they hang, and waiting longer would hide it.
STORES_LOCK_WAIT_S = 30.0
_POLL_S = 0.05


class DataLocks:
    """The two locks of one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._owner_fd: int | None = None
        self._stores_fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object owns the data."""
        return self._owner_fd is not None

    def take_owner(self) -> None:
        """Become the owner of the data, or raise at once when another farebox is."""
        assert self._owner_fd is None, "the owner lock is taken once"
        fd = _open(self._data_dir / "owner.lock")
        if not _lock(fd):
            pid = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            os.close(fd)
            by = f" (process {pid})" if pid.isdigit() else ""
            raise DataInUse(
                f"Another farebox{by} works on the data in {self._data_dir}:"
                " stop it, or choose another FAREBOX_DATA_DIR."
            )
        self._owner_fd = fd
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)

    async def take_stores(self) -> int:
        """Wait until no store of an earlier farebox runs; return the descriptor that the new ones must inherit."""
        assert self._stores_fd is None, "the stores lock is taken once"
        fd = self._stores_fd = _open(self._data_dir / "stores.lock")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STORES_LOCK_WAIT_S):
                while True:
                    if _lock(fd):
                        return fd
                    await asyncio.sleep(_POLL_S)
        raise DataInUse(
            f"The stores of an earlier farebox still work on the data in {self._data_dir} after"
            f" {STORES_LOCK_WAIT_S:.0f} s: end their processes (`fuser {self._data_dir / 'stores.lock'}` names them)."
        )

    def release(self) -> None:
        """Give up both locks; the stores lock stays held as long as a store does."""
        # Closed and never unlocked: an unlock would take the lock away from the stores as well.
        for fd in (self._stores_fd, self._owner_fd):
            if fd is not None:
                os.close(fd)
        self._stores_fd = self._owner_fd = None


def _open(path: Path) -> int:
    # Not inheritable, as Python opens every file: only the stores are handed it by name. Not through a link either: as
    # root we would write our process id wherever it leads.
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:
        # One start by root must not shut the folder's owner out of it for good.
        owner = path.parent.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)
    return fd


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
