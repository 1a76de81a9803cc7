"""Listening on Unix sockets, whatever lies there."""

import os
import socket
import stat
from pathlib import Path

import pytest

from palaver.runtime.unix_sockets import fits, listen_on_path, remove_socket, remove_stale


def connected(path: Path) -> bool:
    """Whether somebody listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def test_only_its_owner_can_connect(tmp_path: Path) -> None:
    """Every user of the machine could call the inside."""
    before = os.umask(0)
    try:
        listen_on_path(str(tmp_path / "s")).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) & 0o077 == 0


def test_one_that_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    """A service would not start again after `kill -9`."""
    path = tmp_path / "s"
    listen_on_path(str(path)).close()
    assert path.exists()
    with listen_on_path(str(path)) as again:
        again.listen()
        assert connected(path)


def test_one_that_is_listened_on_is_not_taken(tmp_path: Path) -> None:
    """A second service would take the first one's callers."""
    path = tmp_path / "s"
    with listen_on_path(str(path)) as first:
        first.listen()
        with pytest.raises(OSError, match="already in use"):
            listen_on_path(str(path))
        assert connected(path)


def test_a_file_is_not_removed(tmp_path: Path) -> None:
    """A mistyped setting would delete a database."""
    path = tmp_path / "auth.db"
    path.write_text("accounts")
    with pytest.raises(OSError, match="is no socket"):
        remove_stale(str(path))
    assert path.read_text() == "accounts"


def test_what_is_gone_already_is_no_error(tmp_path: Path) -> None:
    """A stop would end with a traceback where the directory was removed before."""
    remove_socket(str(tmp_path / "none"))
    remove_stale(str(tmp_path / "none"))


def test_the_longest_path_is_the_kernels(tmp_path: Path) -> None:
    """A path would be taken that cannot be bound, or one refused that could."""
    name = tmp_path / ("x" * (107 - len(str(tmp_path)) - 1))
    assert fits(name)
    listen_on_path(str(name)).close()
    assert not fits(name.with_name(name.name + "x"))
