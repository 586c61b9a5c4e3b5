"""Makes the folders of the stores: data that lasts, and sockets that live in /tmp."""

import hashlib
import os
import shutil
import stat
from pathlib import Path

from farebox.embedded.errors import EmbeddedError
from farebox.embedded.privileges import StoreUser

# A socket's path may have 107 bytes, a data folder's far more; so the sockets lie elsewhere, under a short name.
_SOCKET_ROOT = Path("/tmp")  # noqa: S108 - the one folder all users share; what we make in it is checked before use
_HASH_DIGITS = 16


def socket_folder(data_dir: Path) -> Path:
    """Return the folder of the sockets: another one for each data folder, the same one every time."""
    return _SOCKET_ROOT / f"farebox-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:_HASH_DIGITS]}"


def make_data_folder(data_dir: Path) -> None:
    """Make the data folder if it is missing."""
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    try:
        data_dir.mkdir(mode=0o700)
    except FileExistsError:
        return
    if os.geteuid() == 0:
        # The stores will not run as root. They may pass to their own folders inside, and see nothing on the way.
        data_dir.chmod(0o711)


def make_store_folder(folder: Path, user: StoreUser) -> None:
    """Make a folder that belongs to the stores' user alone, if it is missing."""
    folder.mkdir(mode=0o700, exist_ok=True)
    # Also when it was there: we may have died between making it and giving it away.
    if not user.is_us:
        os.chown(folder, user.uid, user.gid, follow_symlinks=False)


def open_socket_folder(folder: Path, user: StoreUser) -> None:
    """Make the socket folder, or take over and empty the one that a killed farebox left.

    Call it under the stores lock: it takes for granted that no store uses the folder.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid in {user.uid, os.geteuid()}
        # Everybody may create names in /tmp. In somebody else's folder, the stores' sockets would be theirs.
        if not ours or stat.S_IMODE(found.st_mode) & 0o077:
            raise EmbeddedError(
                f"{folder}, where the stores' sockets belong, exists and is not a private folder of {user.name}:"
                " remove it."
            ) from None
        _empty(folder)
    if not user.is_us:
        os.chown(folder, user.uid, user.gid, follow_symlinks=False)


def remove_socket_folder(folder: Path) -> None:
    """Remove the socket folder with the sockets in it."""
    _empty(folder)
    folder.rmdir()


def erase(folder: Path) -> None:
    """Delete a folder of the stores with everything in it, if it is there."""
    if folder.is_symlink():
        raise EmbeddedError(
            f"{folder} is a link, so farebox does not delete where it leads: delete that data yourself."
        )
    if folder.exists():
        shutil.rmtree(folder)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        entry.unlink()
