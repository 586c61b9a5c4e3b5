"""Decides which user the stores run as and what that user may do, in the words of `setpriv`.

PostgreSQL refuses to run as root, and Valkey has no reason to. An ordinary user's stores run as that user.
"""

import contextlib
import os
import pwd
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from farebox.embedded.errors import EmbeddedError

# Numbers from linux/capability.h.
_CAPABILITIES = {
    "chown": 0,  # give the stores their folders
    "dac_override": 1,  # reach those folders and the sockets in spite of their 0700
    "kill": 5,  # stop the stores; the parent-death signal needs it too
    "setgid": 6,
    "setuid": 7,
    "setpcap": 8,  # empty the bounding set
}
_DAC_READ_SEARCH = 2


@dataclass(frozen=True, slots=True)
class StoreUser:
    """The user whose processes the stores are."""

    uid: int
    gid: int

    @property
    def is_us(self) -> bool:
        """Whether the stores run as farebox itself does."""
        return self.uid == os.geteuid()

    @property
    def name(self) -> str:
        """The user's name, or its number where it has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return f"user {self.uid}"


def choose_user(data_dir: Path, *, database: Path) -> StoreUser:
    """Return the user to run as: ourselves, or for root the owner of the data, or else nobody."""
    if os.geteuid() != 0:
        return StoreUser(os.geteuid(), os.getegid())
    if database.exists() and (owner := database.stat()).st_uid != 0:
        return StoreUser(owner.st_uid, owner.st_gid)
    # A new database goes to the owner of the folder, if that is a user with a name: initdb looks it up and fails
    # without one. In containers, folders from outside often belong to a mere number.
    with contextlib.suppress(KeyError):
        entry = pwd.getpwuid(data_dir.stat().st_uid)
        if entry.pw_uid != 0:
            return StoreUser(entry.pw_uid, entry.pw_gid)
    with contextlib.suppress(KeyError):
        entry = pwd.getpwnam("nobody")
        return StoreUser(entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "PostgreSQL refuses to run as root, and there is no user nobody to run as: run farebox as an ordinary user."
    )


def setpriv_options(user: StoreUser, *, programs: Iterable[Path], data_dir: Path) -> tuple[str, ...]:
    """Return the options that turn a child into `user`, able to reach its programs and its data and nothing more."""
    programs = tuple(programs)
    if user.is_us:
        return ()
    ours = _own_capabilities()
    lacking = [name for name, number in _CAPABILITIES.items() if not ours >> number & 1]
    if lacking:
        raise EmbeddedError(
            f"PostgreSQL refuses to run as root, and this root lacks the capabilities to become {user.name}"
            f" ({', '.join(lacking)}): run farebox as an ordinary user."
        )
    for program in programs:
        if not _may_execute(program, user):
            raise EmbeddedError(
                f"{program} can not be executed by {user.name}, as whom the stores run: allow it with chmod a+rx,"
                " or run farebox as an ordinary user."
            )
    identity = ("--reuid", str(user.uid), "--regid", str(user.gid), "--clear-groups")
    closed = _first_closed_folder((*programs, data_dir / "any"), user)
    if closed is None:
        return (*identity, "--inh-caps", "-all", "--ambient-caps", "-all", "--bounding-set", "-all")
    if not ours >> _DAC_READ_SEARCH & 1:
        raise EmbeddedError(
            f"The stores run as {user.name}, who can not enter {closed}: keep FAREBOX_DATA_DIR and farebox itself"
            " below folders that everybody can enter, or run farebox as an ordinary user."
        )
    grant = "-all,+dac_read_search"
    # Without the securebit access(2), which PostgreSQL asks about its own files, ignores the capability of a
    # process that is not root.
    return (
        *identity,
        *("--securebits", "+no_setuid_fixup"),
        *("--inh-caps", grant, "--ambient-caps", "+dac_read_search", "--bounding-set", grant),
    )


def _own_capabilities() -> int:
    """Return the capabilities that this process has and may hand on, as a bit set."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["CapPrm"], 16) & int(status["CapBnd"], 16)


def _first_closed_folder(paths: Iterable[Path], user: StoreUser) -> Path | None:
    folders = (folder for path in paths for folder in reversed(path.parents))
    return next((folder for folder in folders if not _may_execute(folder, user)), None)


def _may_execute(path: Path, user: StoreUser) -> bool:
    """Return whether the mode bits let `user` run this program or enter this folder."""
    found = path.stat()
    if found.st_uid == user.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == user.gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)
