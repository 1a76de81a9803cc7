"""Files of lines that are followed by new ones."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from palaver.runtime.telemetry.free_space import FreeSpace
from palaver.runtime.telemetry.rotating_file import RotatingFile

ROOM = FreeSpace(Path("/"), 0)


def all_lines(path: Path) -> list[bytes]:
    """The lines of all files, oldest first."""
    older = sorted(path.parent.glob(f"{path.name}.*"), key=lambda each: -int(each.suffix[1:]))
    return b"".join(each.read_bytes() for each in (*older, path)).splitlines()


def test_lines_follow_those_of_the_last_start(tmp_path: Path) -> None:
    """A restart would empty the log of the crash that it follows."""
    path = tmp_path / "deep" / "a.log"
    for line in (b"1\n", b"2\n"):
        file = RotatingFile(path, 4096, 3, ROOM)
        file.write(line)
        file.close()
    assert path.read_bytes() == b"1\n2\n"


def test_only_the_owner_reads(tmp_path: Path) -> None:
    """Other users of the machine would see who talks to whom."""
    mask = os.umask(0)
    try:
        RotatingFile(tmp_path / "logs" / "a.log", 4096, 3, ROOM).close()
    finally:
        os.umask(mask)
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "logs" / "a.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("files", [1, 2, 4])
def test_no_more_files_are_kept_than_wished(tmp_path: Path, files: int) -> None:
    """Lines would fill the disk, and the database on it would stop."""
    path = tmp_path / "a.log"
    file = RotatingFile(path, 4096, files, ROOM)
    for number in range(1_000):
        file.write(b"%0100d\n" % number)
    file.close()
    found = sorted(each.name for each in tmp_path.iterdir())
    assert found == ["a.log", *(f"a.log.{n}" for n in range(1, files))]
    assert all(each.stat().st_size < 4096 + 102 for each in tmp_path.iterdir())
    kept = all_lines(path)
    assert kept == [b"%0100d" % n for n in range(1_000 - len(kept), 1_000)]


def test_files_of_a_larger_setting_are_removed(tmp_path: Path) -> None:
    """They would stay for ever, and `palaver logs` would show lines of last year."""
    path = tmp_path / "a.log"
    for name in ("a.log", "a.log.1", "a.log.2", "a.log.3", "a.log.4"):
        (tmp_path / name).write_bytes(b"old\n")
    RotatingFile(path, 4096, 3, ROOM).close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.log", "a.log.1", "a.log.2"]


def test_no_line_is_lost_or_torn_under_load(tmp_path: Path) -> None:
    """What an operator looks for would be missing, or be two halves."""
    path = tmp_path / "a.log"
    file = RotatingFile(path, 4096, 10_000, ROOM)

    def write_many(thread: int) -> None:
        for number in range(500):
            file.write(b"%d %d %s\n" % (thread, number, b"x" * (number % 90)))

    threads = [threading.Thread(target=write_many, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file.close()
    lines = all_lines(path)
    for n in range(4):
        mine = [line for line in lines if line.startswith(b"%d " % n)]
        assert mine == [b"%d %d %s" % (n, number, b"x" * (number % 90)) for number in range(500)]
    assert len(lines) == 2_000
    assert len(list(tmp_path.iterdir())) > 20


def test_half_a_line_of_a_killed_process_takes_no_other_with_it(tmp_path: Path) -> None:
    """The first line after a crash could not be read."""
    path = tmp_path / "a.log"
    path.write_bytes(b'{"event":"li')
    file = RotatingFile(path, 4096, 3, ROOM)
    file.write(b"first\n")
    file.write(b"second\n")
    file.close()
    assert path.read_bytes() == b'{"event":"li\nfirst\nsecond\n'


def test_a_second_process_goes_on_in_the_file_that_the_first_has_begun(tmp_path: Path) -> None:
    """Two gateways of one directory would rotate each other's new files away at once."""
    path = tmp_path / "a.log"
    one, other = RotatingFile(path, 4096, 3, ROOM), RotatingFile(path, 4096, 3, ROOM)
    for file in (one, other):
        file.write(b"x" * 5_000 + b"\n")
    one.write(b"of one\n")
    other.write(b"of the other\n")
    assert path.read_bytes() == b"of one\nof the other\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.log", "a.log.1"]
    one.close()
    other.close()


def test_a_file_that_was_taken_away_is_made_anew(tmp_path: Path) -> None:
    """After an operator's `rm` the lines would go nowhere until the next restart."""
    path = tmp_path / "a.log"
    file = RotatingFile(path, 4096, 3, ROOM)
    path.unlink()
    file.write(b"x" * 5_000 + b"\n")
    file.write(b"here\n")
    file.close()
    assert path.read_bytes() == b"here\n"


def test_where_no_new_file_can_be_made_the_old_one_goes_on(tmp_path: Path) -> None:
    """A service would fall silent."""
    path = tmp_path / "a.log"
    file = RotatingFile(path, 4096, 2, ROOM)
    (tmp_path / "a.log.1").mkdir()
    (tmp_path / "a.log.1" / "x").touch()
    file.write(b"x" * 5_000 + b"\n")
    file.write(b"still here\n")
    file.close()
    assert path.read_bytes().endswith(b"x\nstill here\n")


CRASH = """
import os, sys
from pathlib import Path
from palaver.runtime.telemetry.free_space import FreeSpace
from palaver.runtime.telemetry.rotating_file import RotatingFile
ROOM = FreeSpace(Path("/"), 0)
file = RotatingFile(Path(sys.argv[1]), 4096, 3, ROOM)
for _ in range(60):
    file.write(b"x" * 100 + b"\\n")
os.write(1, b"to stdout\\n")
raise RuntimeError("boom")
"""


def test_the_traceback_of_a_crash_is_in_the_newest_file(tmp_path: Path) -> None:
    """`palaver up` would show an old line as the reason of a crash, and the traceback would be lost."""
    path = tmp_path / "a.log"
    with path.open("ab") as log:
        subprocess.run([sys.executable, "-c", CRASH, str(path)], stdout=log, stderr=log, check=False)
    assert (tmp_path / "a.log.1").exists()
    newest = path.read_text()
    assert "to stdout" in newest
    assert newest.rstrip().endswith("RuntimeError: boom")


def test_an_output_that_leads_elsewhere_stays_there(tmp_path: Path) -> None:
    """What a container's log gets would end in a file that nobody looks at."""
    done = subprocess.run(
        [sys.executable, "-c", CRASH, str(tmp_path / "a.log")], capture_output=True, text=True, check=False
    )
    assert done.stdout == "to stdout\n"
    assert "RuntimeError: boom" in done.stderr


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """What was lost would not be counted; and a line cut in half would spoil the next."""
    path = tmp_path / "a.log"
    script = """
import resource, signal, sys
from pathlib import Path
from palaver.runtime.telemetry.free_space import FreeSpace
from palaver.runtime.telemetry.rotating_file import RotatingFile
ROOM = FreeSpace(Path("/"), 0)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = RotatingFile(Path(sys.argv[1]), 1 << 20, 3, ROOM)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
try:
    file.write(b"x" * 1_500 + b"\\n")
except OSError:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    file.write(b"there is room again\\n")
"""
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    assert path.read_bytes() == b"x" * 1_000 + b"\nthere is room again\n"
