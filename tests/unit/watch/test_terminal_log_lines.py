"""How log lines read."""

import click
import msgspec

from palaver.watch.log_reader import LogLine, parse_event
from palaver.watch.terminal import clock, log_rows
from tests.harness.telemetry_files import MS, NOON, TRACE_ID, line


def rows(one: LogLine) -> list[str]:
    """A line as a pipe gets it."""
    return [click.unstyle(row) for row in log_rows(one)]


def test_an_event_reads_as_one_row() -> None:
    """An operator would have to read JSON."""
    event = parse_event(
        "auth", msgspec.json.encode(line("wrong password", 1.5, level="warning", trace_id=TRACE_ID, tries=3))
    )
    assert rows(event) == [
        f"2025-11-23 12:00:00.001Z warning  gateway   wrong password tries=3 trace_id={TRACE_ID}",
    ]


def test_an_exception_is_below_its_event() -> None:
    """A traceback would be one endless row."""
    event = parse_event("auth", msgspec.json.encode(line("x", level="error", exception="Traceback\n  boom")))
    assert rows(event)[1:] == ["    Traceback", "      boom"]


def test_other_text_is_shown_as_it_is() -> None:
    """A crash's traceback would be hidden."""
    text = LogLine(NOON, "auth", None, b"Fatal \xff\x1b[2J\tx\r")
    assert rows(text) == ["2025-11-23 12:00:00.000Z          auth      Fatal \ufffd\ufffd[2J     x"]


def test_any_time_is_shown() -> None:
    """A span with a wrong clock would end the command."""
    assert clock(NOON + 7 * MS) == "2025-11-23 12:00:00.007Z"
    assert clock(-1) == "1969-12-31 23:59:59.999Z"
    assert clock(2**70) == f"{2**70} ns"
