"""The lock on a data directory."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from palaver.runtime.directory_lock import lock_directory, lock_owner
from palaver.runtime.startup import StartError


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """Other tests do not inherit what is tested here."""
    old = os.umask(0o022)
    yield
    os.umask(old)


def test_the_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    """Other users of the machine could read messages and signing keys."""
    path = tmp_path / "a" / "data"
    with lock_directory(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE((path / "palaver.lock").stat().st_mode) == 0o600


def test_a_directory_in_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two messengers with one hub each would write into one journal."""
    monkeypatch.setattr("palaver.runtime.directory_lock.LOCK_SECONDS", 0.0)
    with (
        lock_directory(tmp_path),
        pytest.raises(StartError, match=rf"in use by another `palaver up` \(process {os.getpid()}\)"),
        lock_directory(tmp_path),
    ):
        pass
    with lock_directory(tmp_path):
        pass


def test_a_lock_is_held_until_the_last_service_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a `kill -9` a new start would meet old services on its ports and databases."""
    monkeypatch.setattr("palaver.runtime.directory_lock.LOCK_SECONDS", 0.0)
    with lock_directory(tmp_path) as lock:
        left = subprocess.Popen(
            [sys.executable, "-c", "input()"],
            stdin=subprocess.PIPE,
            pass_fds=(lock,),
            stderr=subprocess.DEVNULL,
        )
    try:
        with pytest.raises(StartError), lock_directory(tmp_path):
            pass
    finally:
        left.communicate()
    with lock_directory(tmp_path):
        pass


@pytest.mark.parametrize("below", ["file", "file/deep"])
def test_an_unwritable_directory_is_named(tmp_path: Path, below: str) -> None:
    """Services would die one after the other, each with a traceback."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(StartError, match=r"cannot write to data directory .*file(/deep)?: Not a directory"),
        lock_directory(tmp_path / below),
    ):
        pass


def test_the_owner_of_a_lock_is_known(tmp_path: Path) -> None:
    """`palaver infra down` could not stop the services, or would take an old number for theirs."""
    assert lock_owner(tmp_path) is None
    with lock_directory(tmp_path):
        assert lock_owner(tmp_path) == os.getpid()
    assert lock_owner(tmp_path) is None
