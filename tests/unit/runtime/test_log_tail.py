"""The end of another process's log."""

from pathlib import Path

from palaver.runtime.log_tail import LogTail


def test_the_tail_of_a_log_is_of_this_start(tmp_path: Path) -> None:
    """An operator would be shown the crash of last week."""
    log = tmp_path / "a.log"
    log.write_text("last week\n" * 100)
    tail = LogTail(log, log.stat().st_size, log.stat().st_ino)
    with log.open("a") as file:
        file.writelines(f"{n}\n" for n in range(30))
    assert tail.read(3) == "27\n28\n29"
    assert "last week" not in tail.read(100)
    log.write_text("cut\n")
    assert tail.read() == "cut"


def test_the_tail_of_a_log_goes_back_over_a_rotation(tmp_path: Path) -> None:
    """Of a crash just after a rotation an operator would be shown the last line alone, or nothing."""
    log = tmp_path / "a.log"
    log.write_text("last week\n" * 3)
    tail = LogTail(log, log.stat().st_size, log.stat().st_ino)
    with log.open("a") as file:
        file.writelines(f"{n}\n" for n in range(3))
    log.rename(tmp_path / "a.log.1")
    log.write_text("boom\n")
    assert tail.read(3) == "1\n2\nboom"
    assert tail.read() == "0\n1\n2\nboom"
