"""Which user the stores run as and with which rights, decided on real files."""

import os
import pwd
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from farebox.embedded import EmbeddedError
from farebox.embedded.folders import make_store_folder
from farebox.embedded.privileges import StoreUser, choose_user, setpriv_options

READ_SEARCH = 1 << 2  # CAP_DAC_READ_SEARCH
NOBODY = StoreUser(65534, 65534)
PROGRAM = Path("/bin/true").resolve()

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change users")


@pytest.mark.skipif(os.geteuid() == 0, reason="root's stores run as somebody else")
def test_an_ordinary_users_stores_run_as_that_user(tmp_path: Path) -> None:
    user = choose_user(tmp_path, database=tmp_path / "postgres")
    assert user.uid == os.geteuid()
    assert setpriv_options(user, programs=[PROGRAM], data_dir=tmp_path) == ()


@as_root
class TestPrivileges:
    @pytest.fixture
    def open_folder(self) -> Iterator[Path]:
        """A folder that everybody can enter, which those of pytest are not."""
        with tempfile.TemporaryDirectory() as name:
            Path(name).chmod(0o755)
            yield Path(name).resolve()

    def test_no_capability_where_all_folders_are_open(self, open_folder: Path) -> None:
        options = setpriv_options(NOBODY, programs=[PROGRAM], data_dir=open_folder)
        assert "dac_read_search" not in " ".join(options)
        assert options[-2:] == ("--bounding-set", "-all")

    def test_read_and_search_where_a_folder_is_closed(self, open_folder: Path) -> None:
        data_dir = open_folder / "closed" / "data"
        data_dir.mkdir(mode=0o755, parents=True)
        data_dir.parent.chmod(0o700)
        own = re.search(r"^CapPrm:\s*(\w+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
        if own and int(own[1], 16) & READ_SEARCH:
            options = setpriv_options(NOBODY, programs=[PROGRAM], data_dir=data_dir)
            assert options[-2:] == ("--bounding-set", "-all,+dac_read_search")
        else:  # as a root in a container
            with pytest.raises(EmbeddedError, match=f"can not enter {data_dir.parent}: keep FAREBOX_DATA_DIR"):
                setpriv_options(NOBODY, programs=[PROGRAM], data_dir=data_dir)

    def test_a_program_that_can_not_be_executed(self, open_folder: Path) -> None:
        program = open_folder / "program"
        program.touch(mode=0o700)
        with pytest.raises(EmbeddedError, match="chmod"):
            setpriv_options(NOBODY, programs=[program], data_dir=open_folder)

    def test_the_owner_of_the_data_runs_the_stores(self, open_folder: Path) -> None:
        database = open_folder / "postgres"
        assert choose_user(open_folder, database=database).name == "nobody"
        daemon = pwd.getpwnam("daemon")
        os.chown(open_folder, daemon.pw_uid, 23456)
        assert choose_user(open_folder, database=database) == StoreUser(daemon.pw_uid, daemon.pw_gid)
        os.chown(open_folder, 12345, 23456)
        assert choose_user(open_folder, database=database).name == "nobody", "initdb needs a user with a name"
        database.mkdir()
        os.chown(database, 12345, 23456)
        assert choose_user(open_folder, database=database) == StoreUser(12345, 23456)

    def test_a_store_folder_behind_a_link_keeps_its_owner(self, open_folder: Path) -> None:
        (open_folder / "victim").mkdir()
        (open_folder / "valkey").symlink_to("victim")
        make_store_folder(open_folder / "valkey", NOBODY)
        assert (open_folder / "victim").stat().st_uid == 0
