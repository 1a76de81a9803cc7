"""The private directory of sockets, whatever is left of the last one."""

import stat
import tempfile
from pathlib import Path

import pytest

from palaver.runtime.socket_directory import NAME, socket_directory
from palaver.runtime.startup import StartError
from palaver.runtime.unix_sockets import fits, listen_on_path


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A data directory whose path is too long for a socket."""
    path = tmp_path / ("d" * 120)
    path.mkdir()
    return path


def test_it_is_its_owners_and_ends_with_the_block(tmp_path: Path) -> None:
    """Another user of the machine could connect, or a stop would leave sockets behind."""
    with socket_directory(tmp_path) as made:
        assert made == tmp_path / NAME
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
        listen_on_path(str(made / "auth.sock")).close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """`palaver up` would not start again after `kill -9`."""
    left = tmp_path / NAME
    left.mkdir(mode=0o777)
    listen_on_path(str(left / "auth.sock")).close()
    with socket_directory(tmp_path) as made:
        assert list(made.iterdir()) == []
        assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_a_long_path_leads_to_a_short_one(deep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`palaver up` would not start in a deep directory."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp")
    with socket_directory(deep) as made:
        assert fits(made / "messenger.sock")
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
        assert (deep / NAME).readlink() == made
        listen_on_path(str(made / "messenger.sock")).close()
    assert not made.exists()
    assert list(deep.iterdir()) == []


def test_a_short_one_that_was_left_is_removed_too(deep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `kill -9` would leave one more directory."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp")
    left = Path(tempfile.mkdtemp(prefix="palaver-", dir="/tmp"))
    (left / "auth.sock").touch()
    (deep / NAME).symlink_to(left)
    with socket_directory(deep) as made:
        assert made != left
        assert not left.exists()


def test_a_link_elsewhere_is_not_followed(deep: Path, tmp_path: Path) -> None:
    """A link that somebody put there would have `palaver up` delete something else."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (deep / NAME).symlink_to(precious)
    with socket_directory(deep):
        assert precious.is_dir()


def test_where_nothing_is_short_enough_the_start_says_so(deep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator would read a traceback of a bind."""
    monkeypatch.setattr("palaver.runtime.socket_directory.fits", lambda _path: False)
    with pytest.raises(StartError, match="too long for sockets"), socket_directory(deep):
        pass


def test_the_sockets_of_the_original_stay_where_a_copy_is_started(
    deep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever tries out a copy of a running Palaver's data directory would cut its services off from each
    other."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp")
    copy = deep.with_name("e" * 120)
    copy.mkdir()
    with socket_directory(deep) as made:
        listener = listen_on_path(str(made / "auth.sock"))
        listener.listen()
        (copy / NAME).symlink_to(made)
        with socket_directory(copy) as other:
            assert other != made
            assert (made / "auth.sock").exists()
        assert not other.exists()
        listener.close()
    assert not made.exists()
