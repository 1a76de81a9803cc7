"""Reading the logs of all services, as they are and as they grow."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from palaver.runtime.telemetry.free_space import FreeSpace
from palaver.runtime.telemetry.rotating_file import RotatingFile
from palaver.watch.log_reader import LogFilter, LogLine, LogReader
from tests.harness.telemetry_files import MS, NOON, TRACE_ID, append_rows, line

EVERYTHING = LogFilter()


def told(lines: Iterator[LogLine] | list[LogLine]) -> list[str]:
    """Events, or other text, in order."""
    return [one.fields["event"] if one.fields else one.raw.decode() for one in lines]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Two services, one of which has rotated its log, and crashed."""
    append_rows(tmp_path, "logs/gateway.log.2", [line("one", 1)])
    append_rows(
        tmp_path, "logs/gateway.log.1", [line("two", 2), "Traceback", "  in x", line("six", 6, level="error")]
    )
    append_rows(tmp_path, "logs/gateway.log", ["Killed", line("eight", 8), '{"time": "2025-11'])
    append_rows(
        tmp_path, "logs/auth.log", [line("four", 4, service="auth"), line("seven", 7, service="auth")]
    )
    return tmp_path


def test_lines_come_by_time(data_dir: Path) -> None:
    """Nobody could follow a request from one service to the next."""
    with LogReader(data_dir / "logs") as logs:
        assert told(logs.all_lines(EVERYTHING)) == [
            *("one", "two", "Traceback", "  in x", "four", "six", "seven", "Killed", "eight"),
            '{"time": "2025-11',
        ]


@pytest.mark.parametrize("most", range(1, 12))
def test_the_last_lines_are_the_end_of_all(data_dir: Path, most: int) -> None:
    """Reading from the end would show other lines than reading from the beginning."""
    with LogReader(data_dir / "logs") as logs:
        every = told(logs.all_lines(EVERYTHING))
    with LogReader(data_dir / "logs") as logs:
        found = told(logs.last_lines(EVERYTHING, most))
    assert found == every[-most:]


def test_rare_levels_are_found_with_the_text_around(data_dir: Path) -> None:
    """A crash's traceback would be missing from `--level error`, or come at a wrong time."""
    with LogReader(data_dir / "logs") as logs:
        every = list(logs.all_lines(LogFilter(level="error")))
    with LogReader(data_dir / "logs") as logs:
        found = logs.last_lines(LogFilter(level="error"), 10)
    assert found == every
    assert told(found) == ["Traceback", "  in x", "six", "Killed"]
    assert [(one.at - NOON) // MS for one in found] == [2, 2, 6, 8]


def test_since_leaves_older_lines_out(data_dir: Path) -> None:
    """`--since` would show all, or lose what is new."""
    wanted = LogFilter(since=NOON + 6_500_000)
    with LogReader(data_dir / "logs") as logs:
        assert told(logs.last_lines(wanted, 10)) == ["seven", "Killed", "eight", '{"time": "2025-11']
    with LogReader(data_dir / "logs") as logs:
        assert told(logs.all_lines(wanted)) == ["seven", "Killed", "eight", '{"time": "2025-11']


def test_files_that_are_too_old_are_not_read(tmp_path: Path) -> None:
    """`--since 1m` would read all that is kept."""
    hour = 3_600_000
    old = append_rows(
        tmp_path, "logs/gateway.log.1", [line("old", 0), line("of a clock that was wrong", 2 * hour)]
    )
    os.utime(old, ns=(NOON, NOON))
    new = append_rows(tmp_path, "logs/gateway.log", [line("new", hour)])
    with LogReader(tmp_path / "logs") as logs:
        assert told(logs.all_lines(LogFilter(since=NOON + hour * 900_000))) == ["new"]
        # What follows is not the old file's lines after all
        with new.open("a") as file:
            file.write(json.dumps(line("newer", hour)) + "\n")
        assert told(logs.new_lines(EVERYTHING)) == ["newer"]


def test_a_log_of_text_alone_is_shown(tmp_path: Path) -> None:
    """A service that dies before its first event would leave no reason."""
    append_rows(tmp_path, "logs/gateway.log", ["ImportError: no module"])
    with LogReader(tmp_path / "logs") as logs:
        assert told(logs.all_lines(EVERYTHING)) == ["ImportError: no module"]


def test_an_id_is_found_across_files(data_dir: Path) -> None:
    """A request's lines would be lost with the first rotation."""
    append_rows(data_dir, "logs/gateway.log.2", [line("old", 2, trace_id=TRACE_ID)])
    append_rows(
        data_dir, "logs/auth.log", [line("new", 9, trace_id=TRACE_ID), line("about", 9, text=TRACE_ID)]
    )
    with LogReader(data_dir / "logs") as logs:
        assert told(logs.all_lines(LogFilter(trace_id=TRACE_ID))) == ["old", "new"]
    with LogReader(data_dir / "logs") as logs:
        assert told(logs.last_lines(LogFilter(trace_id=TRACE_ID), 1)) == ["new"]


@pytest.mark.parametrize("most", [None, 0, 2])
def test_nothing_falls_between_what_is_there_and_what_comes(tmp_path: Path, most: int | None) -> None:
    """`--follow` would lose or double the line that was being written when it began."""
    path = append_rows(tmp_path, "logs/gateway.log", [line("one"), line("two")])
    whole = json.dumps(line("three")) + "\n"
    with path.open("a") as file:
        file.write(whole[:30])
        file.flush()
        with LogReader(tmp_path / "logs") as logs:
            lines = (
                logs.all_lines(EVERYTHING, goes_on=True)
                if most is None
                else logs.last_lines(EVERYTHING, most, goes_on=True)
            )
            assert told(lines) == ["one", "two"][: 2 if most is None else most]
            assert told(logs.new_lines(EVERYTHING)) == []
            file.write(whole[30:])
            file.flush()
            assert told(logs.new_lines(EVERYTHING)) == ["three"]
            assert told(logs.new_lines(EVERYTHING)) == []


def test_rotations_are_followed(tmp_path: Path) -> None:
    """`--follow` would fall silent when a file is full, or lose what was written about then."""
    directory = tmp_path / "logs"
    path = append_rows(tmp_path, "logs/gateway.log", [line("0")])
    with LogReader(directory) as logs:
        told(logs.all_lines(EVERYTHING, goes_on=True))
        for number in range(1, 13):
            append_rows(tmp_path, "logs/gateway.log", [line(str(number), number)])
            if number % 2:
                rotate(path, kept=2)
        # The one that was open, and all that are still there: 2 to 7 went before anybody looked
        assert told(logs.new_lines(EVERYTHING)) == ["1", "8", "9", "10", "11", "12"]
        append_rows(tmp_path, "logs/gateway.log", [line("13")])
        rotate(path, kept=2)
        append_rows(tmp_path, "logs/gateway.log.1", ["written by who had it open"])
        append_rows(tmp_path, "logs/auth.log", [line("new service")])
        assert sorted(told(logs.new_lines(EVERYTHING))) == ["13", "new service", "written by who had it open"]


def rotate(path: Path, kept: int) -> None:
    """As services do: `.log` becomes `.log.1`, and so on; `kept` files besides the newest stay."""
    for number in range(kept, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.unlink() if number == kept else older.rename(path.with_name(f"{path.name}.{number + 1}"))
    path.rename(path.with_name(f"{path.name}.1"))


def test_what_services_write_is_followed_line_by_line(tmp_path: Path) -> None:
    """The files of services would rotate in another way than is read here."""
    path = tmp_path / "logs" / "gateway.log"
    file = RotatingFile(path, 4096, 3, FreeSpace(Path("/"), 0))
    found: list[str] = []
    with LogReader(path.parent) as logs:
        for number in range(600):
            file.write(json.dumps(line(str(number), number)).encode() + b"\n")
            if number % 25 == 0:
                found += told(logs.new_lines(EVERYTHING))
        found += told(logs.new_lines(EVERYTHING))
    file.close()
    assert found == [str(number) for number in range(600)]
    assert path.with_name("gateway.log.2").exists()


def test_a_deleted_file_is_read_to_its_end_once(tmp_path: Path) -> None:
    """The last lines of a file that is given up would be lost, or its place on the disk held for ever."""
    path = append_rows(tmp_path, "logs/gateway.log", [line("one")])
    with LogReader(tmp_path / "logs") as logs:
        told(logs.all_lines(EVERYTHING, goes_on=True))
        append_rows(tmp_path, "logs/gateway.log", [line("two")])
        with path.open("a") as file:
            file.write("Killed")
        path.unlink()
        assert told(logs.new_lines(EVERYTHING)) == ["two", "Killed"]
        assert logs.services == set()


def test_a_cut_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    """`--follow` would fall silent after somebody has emptied a log."""
    path = append_rows(tmp_path, "logs/gateway.log", [line("one"), line("two")])
    with LogReader(tmp_path / "logs") as logs:
        told(logs.all_lines(EVERYTHING, goes_on=True))
        os.truncate(path, 0)
        append_rows(tmp_path, "logs/gateway.log", [line("three")])
        assert told(logs.new_lines(EVERYTHING)) == ["three"]
