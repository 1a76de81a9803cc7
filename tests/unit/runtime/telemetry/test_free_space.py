"""When logs and traces leave the rest of a disk to data."""

import os
from pathlib import Path

import pytest

from palaver.runtime.telemetry.free_space import LOOK_SECONDS, FreeSpace
from palaver.runtime.telemetry.log_lines import LogWriter
from palaver.runtime.telemetry.rotating_file import RotatingFile

MOST = 1 << 60


def test_a_disk_with_room_is_used_and_a_nearly_full_one_is_not(tmp_path: Path) -> None:
    """Log lines would take the last bytes of the disk, or nothing would be logged at all."""
    found = os.statvfs(tmp_path)
    free = found.f_bavail * found.f_frsize
    assert FreeSpace(tmp_path, 0).has_room()
    # Of more than a disk has, a tenth of the disk is asked for
    assert FreeSpace(tmp_path, MOST).has_room() is (free >= found.f_blocks * found.f_frsize // 10)
    assert FreeSpace(tmp_path / "not there", MOST).has_room()


def test_the_disk_is_looked_at_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line would cost a system call more, or the disk would never be found to have room again."""
    now, looks = 0.0, []
    space = FreeSpace(tmp_path, 0, lambda: now)
    monkeypatch.setattr(space, "_look", lambda: looks.append(now) is None)
    for _ in range(100):
        assert space.has_room()
    assert looks == [0.0]
    now = LOOK_SECONDS
    assert space.has_room()
    assert looks == [0.0, LOOK_SECONDS]


def test_lines_that_are_missing_are_counted_in_the_log(tmp_path: Path) -> None:
    """Whoever reads a log would not know that it has a gap."""
    now = 0.0
    space = FreeSpace(tmp_path, 0, lambda: now)
    file = RotatingFile(tmp_path / "a.log", 1 << 20, 1, space)
    lines = LogWriter({}, file.write)
    for event, has_room in (("one", True), ("two", False), ("three", False), ("four", True)):
        space._next_look, space._has_room = 1.0, has_room
        lines.put(lines.render(None, "info", {"event": event}))
    file.close()
    written = (tmp_path / "a.log").read_text()
    assert [f'"event":"{event}"' in written for event in ("one", "two", "three", "four")] == [1, 0, 0, 1]
    assert '"event":"lines_missing"' in written
    assert '"dropped":2' in written
