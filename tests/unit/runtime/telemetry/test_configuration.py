"""Where lines and spans of a process go. Most tests have a process of their own: it is set up once in one."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from palaver.runtime.settings.telemetry import TelemetrySettings
from palaver.runtime.startup import StartError
from palaver.runtime.telemetry.configuration import open_file

SERVICE = """
import json, logging, sys
from pathlib import Path
from palaver.runtime.settings.telemetry import TelemetrySettings
from palaver.runtime.telemetry.configuration import close_telemetry, configure_telemetry, log
from palaver.runtime.telemetry.tracing import tracer

configure_telemetry("auth", TelemetrySettings(**json.loads(sys.argv[2])), Path(sys.argv[1]))
"""
REQUEST = """
with tracer.serve("request", "", {}, is_edge=True) as work:
    log.info("in_request")
    logging.getLogger("uvicorn.error").info("WebSocket /ws?token=abcdef")
close_telemetry()
"""


def run(directory: Path, code: str, stdout: Any = subprocess.PIPE, **settings: Any) -> str:
    """What a process with these settings says on stdout."""
    done = subprocess.run(
        [sys.executable, "-c", SERVICE + code, str(directory), json.dumps(settings)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout or ""


def json_lines(text: str) -> list[dict[str, Any]]:
    """Its objects."""
    return [json.loads(line) for line in text.splitlines()]


def test_by_itself_lines_go_to_stdout_and_spans_to_a_file(tmp_path: Path) -> None:
    """Nobody could follow a request without installing something first."""
    ours, library = json_lines(run(tmp_path, REQUEST))
    assert [line["event"] for line in (ours, library)] == ["in_request", "WebSocket /ws?token=***"]
    assert [path.name for path in tmp_path.iterdir()] == ["traces"]
    path = tmp_path / "traces" / "auth.jsonl"
    (span,) = json_lines(path.read_text())
    assert (span["service"], span["name"]) == ("auth", "request")
    assert span["trace_id"] == ours["trace_id"] == library["trace_id"]
    assert span["span_id"] == ours["span_id"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_lines_go_to_a_file_where_that_is_set(tmp_path: Path) -> None:
    """`palaver logs` would have nothing to show."""
    assert run(tmp_path, REQUEST, log_to="file") == ""
    lines = json_lines((tmp_path / "logs" / "auth.log").read_text())
    assert [line["event"] for line in lines] == ["in_request", "WebSocket /ws?token=***"]


@pytest.mark.parametrize("instance", ["2", "auth-2"])
def test_an_instance_has_files_of_its_own(tmp_path: Path, instance: str) -> None:
    """Two processes of one service would rotate each other's files, and nobody could tell them apart."""
    run(tmp_path, REQUEST, log_to="file")
    run(tmp_path, REQUEST, log_to="file", instance=instance)
    for directory, ending in (("logs", "log"), ("traces", "jsonl")):
        assert {path.name for path in (tmp_path / directory).iterdir()} == {
            f"auth.{ending}",
            f"auth-2.{ending}",
        }
        for one in json_lines((tmp_path / directory / f"auth-2.{ending}").read_text()):
            assert (one["service"], one["instance"]) == ("auth", "auth-2")
        for one in json_lines((tmp_path / directory / f"auth.{ending}").read_text()):
            assert "instance" not in one


def test_without_traces_nothing_is_written_of_them(tmp_path: Path) -> None:
    """Who switches traces off would still pay for them."""
    (line, _) = json_lines(run(tmp_path, REQUEST, traces=False))
    assert line["trace_id"] == ""
    assert list(tmp_path.iterdir()) == []


def test_files_rotate_as_set(tmp_path: Path) -> None:
    """Lines and spans would fill the disk."""
    code = """
import time
for _ in range(20):
    for _ in range(10):
        with tracer.serve("request", "", {}, is_edge=True) as work:
            log.info("in_request")
    time.sleep(0.02)
close_telemetry()
"""
    run(tmp_path, code, log_to="file", file_bytes=4096, files=2, sample_ratio=1)
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {"auth.log", "auth.log.1"}
    for path in (tmp_path / "logs").iterdir():
        json_lines(path.read_text())


def test_the_settings_decide_what_is_kept(tmp_path: Path) -> None:
    """An operator could not bound what traces cost; or would miss what failed."""
    code = """
for number in range(100):
    with tracer.serve(f"request {number}", "", {}, is_edge=True) as work:
        if number == 99:
            work.error = "internal"
        if number == 98:
            work.start -= 3_000_000_000
close_telemetry()
"""
    run(tmp_path, code, sample_per_second=0, sample_ratio=0, slow_seconds=3)
    spans = json_lines((tmp_path / "traces" / "auth.jsonl").read_text())
    assert [span["name"] for span in spans] == ["request 98", "request 99"]


def test_levels_below_the_set_one_are_left_out(tmp_path: Path) -> None:
    """The setting would do nothing."""
    code = """
for logger in (log, logging.getLogger("library")):
    logger.info("info")
    logger.warning("warning")
"""
    lines = json_lines(run(tmp_path, code, log_level="warning"))
    assert [line["event"] for line in lines] == ["warning", "warning"]


def test_clients_mistakes_are_no_lines(tmp_path: Path) -> None:
    """Anybody could fill the log with errors by sending nonsense over a socket."""
    code = """
logging.getLogger("picows").error("wrong frame")
logging.getLogger("picows.client-1").error("wrong frame")
"""
    assert run(tmp_path, code) == ""


def test_lines_of_before_a_crash_are_there(tmp_path: Path) -> None:
    """The last lines of a killed process, which say why, would be missing."""
    code = """
import os, signal
log.info("last words")
os.kill(os.getpid(), signal.SIGKILL)
"""
    for settings in ({"log_to": "file"}, {"log_to": "stdout"}):
        done = subprocess.run(
            [sys.executable, "-c", SERVICE + code, str(tmp_path), json.dumps(settings)],
            capture_output=True,
            text=True,
            check=False,
        )
        text = done.stdout or (tmp_path / "logs" / "auth.log").read_text()
        assert [line["event"] for line in json_lines(text)] == ["last words"]


def test_a_terminal_gets_text(tmp_path: Path) -> None:
    """Whoever starts a service in a terminal would have to read JSON."""
    reading, terminal = pty.openpty()
    try:
        run(tmp_path, REQUEST, stdout=terminal)
        text = os.read(reading, 10_000).decode()
    finally:
        os.close(reading)
        os.close(terminal)
    first, second = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert re.match(r"\d\d:\d\d:\d\d \[info     \] auth: in_request +trace_id=[0-9a-f]{32}$", first)
    assert "WebSocket /ws?token=***" in second


def test_closing_twice_and_without_opening_does_no_harm(tmp_path: Path) -> None:
    """A service that fails at its start would show an error that hides the reason."""
    run(tmp_path, "close_telemetry()\nclose_telemetry()\nlog.info('on')")


def test_a_directory_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    """A service would run, and keep nothing of what it was told to keep."""
    (tmp_path / "traces").touch()
    with pytest.raises(StartError, match=f"cannot write {tmp_path}/traces/auth.jsonl"):
        open_file(tmp_path / "traces" / "auth.jsonl", TelemetrySettings())


def test_the_sdk_is_imported_only_for_a_collector(tmp_path: Path) -> None:
    """Each start would take a third of a second longer."""
    code = "print(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert run(tmp_path, code) == "False\n"
    assert run(tmp_path, code, otlp_endpoint="http://127.0.0.1:1") == "True\n"


def test_with_a_collector_nothing_goes_to_files(tmp_path: Path) -> None:
    """A service without a disk could not start, or would fill it."""
    code = """
print(tracer.is_on, TelemetrySettings(otlp_endpoint="http://c:4317").writes_files)
"""
    assert run(tmp_path, code, otlp_endpoint="http://127.0.0.1:1") == "True False\n"
    assert list(tmp_path.iterdir()) == []
