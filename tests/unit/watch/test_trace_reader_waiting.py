"""Finding a trace that has just happened."""

import threading
import time
from pathlib import Path

from palaver.watch.trace_reader import PATIENCE_SECONDS, find_trace
from tests.harness.telemetry_files import TRACE_ID, append_rows, line, span


def test_spans_that_are_written_late_are_waited_for(tmp_path: Path) -> None:
    """Who asks right after the answer would be told that there is no trace, or see a half of it."""
    now = time.time_ns()
    append_rows(tmp_path, "traces/gateway.jsonl", [{**span("first", "a" * 16), "start": now, "end": now}])
    late = {**span("second", "b" * 16), "start": now + 1, "end": now + 1}
    timer = threading.Timer(0.3, append_rows, (tmp_path, "traces/auth.jsonl", [late]))
    timer.start()
    try:
        found = find_trace(tmp_path, TRACE_ID)
    finally:
        timer.join()
    assert [one.name for one in found.spans] == ["first", "second"]


def test_what_is_old_is_not_waited_for(tmp_path: Path) -> None:
    """Each look at an old trace would take a second."""
    append_rows(tmp_path, "logs/gateway.log", [line("request", trace_id=TRACE_ID)])
    began = time.monotonic()
    found = find_trace(tmp_path, TRACE_ID)
    assert time.monotonic() - began < PATIENCE_SECONDS / 2
    assert [one.fields["event"] for one in found.lines] == ["request"]


def test_waiting_ends(tmp_path: Path) -> None:
    """The command would hang on a wrong id."""
    began = time.monotonic()
    assert find_trace(tmp_path, TRACE_ID).newest == 0
    assert PATIENCE_SECONDS <= time.monotonic() - began < PATIENCE_SECONDS + 2
