"""`palaver trace` and `palaver logs`, as processes on a written data directory."""

import json
import os
import pty
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.telemetry_files import ALICE, BOB, TRACE_ID, append_request, append_rows, line, span
from tests.harness.waiting import wait_until
from tests.unit.cli.test_cli import run

COMMAND = [sys.executable, "-m", "palaver"]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory with a request in it."""
    append_request(tmp_path)
    return tmp_path


def words(done: "subprocess.CompletedProcess[str]") -> list[str]:
    """The first two words of each row, behind its times."""
    return [" ".join(row[29 * row.startswith(" ") :].split()[:2]) for row in done.stdout.splitlines()]


# ---- trace ----


def test_a_trace_is_drawn_through_services(data_dir: Path) -> None:
    """Nobody could say where a request spent its time."""
    done = run("trace", TRACE_ID.upper(), "--data-dir", str(data_dir))
    assert (done.returncode, done.stderr) == (0, "")
    assert words(done) == [
        f"Trace {TRACE_ID}",
        "",
        "gateway GET",
        "gateway GET",
        "auth GET",
        "auth ·",
        "gateway ·",
        "",
        "linked, of",
        "messenger commit",
    ]
    assert "\x1b" not in done.stdout


def test_a_trace_is_named_by_its_header_too(data_dir: Path) -> None:
    """Who copies `traceresponse` from an answer would have to cut it."""
    done = run("trace", f"00-{TRACE_ID}-{'a' * 16}-01", "--data-dir", str(data_dir))
    assert f"Trace {TRACE_ID} " in done.stdout


def test_a_trace_is_json_for_programs(data_dir: Path) -> None:
    """A script would have to read columns."""
    done = run("trace", TRACE_ID, "--json", PALAVER_DATA_DIR=str(data_dir))
    found = json.loads(done.stdout)
    assert found["trace_id"] == TRACE_ID
    assert [one["span_id"] for one in found["spans"]] == ["a" * 16, "b" * 16, "c" * 16]
    assert [one["event"] for one in found["lines"]] == ["looked up", "request"]
    assert [(one["name"], one["links"]) for one in found["linked"]] == [
        ("commit batch", [[TRACE_ID, "a" * 16]])
    ]


def test_a_terminal_gets_colours(data_dir: Path) -> None:
    """An error would not stand out."""
    append_rows(
        data_dir, "traces/auth.jsonl", [span("broken", "d" * 16, "c" * 16, error="internal", service="auth")]
    )
    main, end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    environment.pop("NO_COLOR", None)
    shown = b""
    with subprocess.Popen(
        [*COMMAND, "trace", TRACE_ID, "--data-dir", str(data_dir)], stdout=end, env=environment
    ) as process:
        os.close(end)
        try:
            while block := os.read(main, 65_536):
                shown += block
        except OSError:
            # So Linux says that the other end is closed
            pass
    os.close(main)
    assert process.returncode == 0
    assert b"\x1b[31mbroken error=internal\x1b[0m" in shown


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "it was not sampled (its log lines are shown), or is older than the files in"),
        ({"PALAVER_TELEMETRY__TRACES": "false"}, "traces are off (telemetry.traces)"),
        (
            {"PALAVER_TELEMETRY__OTLP_ENDPOINT": "http://x"},
            "they go to the collector that telemetry.otlp_endpoint",
        ),
    ],
    ids=["not-sampled", "off", "collector"],
)
def test_a_trace_without_spans_says_why(data_dir: Path, settings: dict[str, str], reason: str) -> None:
    """An operator would think that the request never came."""
    other = "2" * 32
    append_rows(data_dir, "logs/gateway.log", [line("unsampled", trace_id=other)])
    done = run("trace", other, "--data-dir", str(data_dir), **settings)
    assert done.returncode == 1
    assert "· unsampled" in done.stdout
    assert done.stderr.startswith(f"palaver: trace {other} has no spans: ")
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_data_directory_without_traces_is_named(tmp_path: Path) -> None:
    """An operator would not see that the directory is the wrong one."""
    done = run("trace", TRACE_ID, "--data-dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"there is no directory {tmp_path}/traces" in done.stderr
    done = run("logs", "--data-dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"palaver: there are no logs in {tmp_path}/logs")
    done = run("logs", "--data-dir", str(tmp_path / "none"))
    assert done.stderr == f"palaver: there is no data directory {tmp_path}/none (--data-dir)\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["trace", "4bf92f"], "a trace id has 32 hexadecimal digits, which are not all 0"),
        (["trace", "0" * 32], "a trace id has 32 hexadecimal digits, which are not all 0"),
        (["trace"], "give either TRACE_ID or --message CHAT_ID SEQ"),
        (
            ["trace", TRACE_ID, "--message", BOB, "1"],
            "give either TRACE_ID or --message CHAT_ID SEQ",
        ),
        (["trace", "--message", "general", "1"], "CHAT_ID must be a UUID"),
        (["trace", "--message", BOB, "0"], "SEQ must be a number from 1"),
        (["trace", "--message", BOB, str(2**63)], "SEQ must be a number from 1"),
        (["logs", "--user", "alice"], "--user must be a UUID"),
        (["logs", "--chat", "general"], "--chat must be a UUID"),
        (["logs", "--trace", "x"], "a trace id has 32 hexadecimal digits, which are not all 0"),
        (["logs", "--level", "loud"], "--level must be one of debug, info, warning, error, critical"),
        (["logs", "--since", "soon"], "--since must be like 30s, 10m, 2h, 1d, or an ISO 8601 time"),
    ],
)
def test_a_mistake_is_one_line(data_dir: Path, arguments: list[str], reason: str) -> None:
    """Whoever mistypes an id would get a traceback, or an empty answer that looks like a true one."""
    done = run(*arguments, "--data-dir", str(data_dir))
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"palaver: {reason}\n")


# ---- logs ----


def test_lines_of_all_services_come_by_time(data_dir: Path) -> None:
    """An operator would read three files at once."""
    done = run("logs", "--data-dir", str(data_dir))
    assert (done.returncode, done.stderr) == (0, "")
    assert [" ".join(row.split()[2:5]) for row in done.stdout.splitlines()] == [
        "info auth looked",
        "info gateway request",
        "gateway Traceback: none",
        "warning gateway other",
    ]


@pytest.mark.parametrize(
    ("arguments", "events"),
    [
        (["--level", "WARNING"], ["Traceback: none", "other"]),
        (["--user", ALICE.upper()], ["looked up", "request"]),
        (["--chat", BOB], ["other"]),
        (["--trace", TRACE_ID], ["looked up", "request"]),
        (["--service", "auth"], ["looked up"]),
        (["--since", "2025-11-23T12:00:00.010Z"], ["other"]),
        (["--lines", "1"], ["other"]),
        (["--lines", "0"], []),
        (["--since", "10m"], []),
    ],
    ids=["level", "user", "chat", "trace", "service", "moment", "lines", "none", "age"],
)
def test_filters_and_json(data_dir: Path, arguments: list[str], events: list[str]) -> None:
    """An operator would look for one line among all, and a script would have to read columns."""
    done = run("logs", "--json", "--data-dir", str(data_dir), *arguments)
    assert done.returncode == 0
    found = [json.loads(row) for row in done.stdout.splitlines()]
    assert [one.get("event") or one["text"] for one in found] == events
    assert done.stderr == ("" if events else "palaver: no such line is kept\n")


def test_instances_are_read_too(data_dir: Path) -> None:
    """Of two gateways only one could be followed."""
    second = {"instance": "gateway-2", "trace_id": TRACE_ID}
    append_rows(
        data_dir, "logs/gateway-2.log", [line("of the second", 11, **second), "Traceback of the second"]
    )
    append_rows(
        data_dir, "traces/gateway-2.jsonl", [span("GET", "9" * 16, "a" * 16, start=3, instance="gateway-2")]
    )
    done = run("logs", "--service", "gateway-2", "--data-dir", str(data_dir))
    assert [" ".join(row.split()[2:]) for row in done.stdout.splitlines()][:1] == [
        f'info gateway "of the second" instance=gateway-2 trace_id={TRACE_ID}'.replace('"', "")
    ]
    for service in ("gateway", "gateway-2"):
        shown = run("logs", "--service", service, "--data-dir", str(data_dir)).stdout
        assert "Traceback of the second" in shown
    drawn = run("trace", TRACE_ID, "--data-dir", str(data_dir)).stdout
    assert sum("instance=gateway-2" in row for row in drawn.splitlines()) == 2
    found = json.loads(run("trace", TRACE_ID, "--json", "--data-dir", str(data_dir)).stdout)
    assert [one.get("instance") for one in found["spans"]] == [None, None, None, "gateway-2"]


def test_an_unknown_service_is_one_line(data_dir: Path) -> None:
    """A misspelt service would look like a silent one."""
    done = run("logs", "--service", "mesenger", "--data-dir", str(data_dir))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"palaver: there is no log of mesenger in {data_dir}/logs, but of auth, gateway\n"


def test_a_reader_that_leaves_ends_the_command(data_dir: Path) -> None:
    """`palaver logs | head` would end with a traceback."""
    append_rows(data_dir, "logs/gateway.log", [line("x" * 100, 11)] * 5_000)
    command = f"{' '.join(COMMAND)} logs --lines 5000 --data-dir {data_dir} | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1


@contextmanager
def following(data_dir: Path, *arguments: str) -> "Iterator[tuple[subprocess.Popen[str], Path]]":
    """`palaver logs --follow` that has shown what is there, and the file that it writes to."""
    output = data_dir / "followed"
    with output.open("w") as file:
        process = subprocess.Popen(
            [*COMMAND, "logs", "--follow", "--data-dir", str(data_dir), *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        wait_until(lambda: "other" in output.read_text(), "the lines that are there")
        yield process, output
    finally:
        process.kill()
        process.wait()


def test_lines_are_followed_across_rotations(data_dir: Path) -> None:
    """An operator who watches would see nothing more, and not know it."""
    with following(data_dir, "--level", "warning") as (process, output):
        log = data_dir / "logs" / "gateway.log"
        for number in range(3):
            append_rows(
                data_dir, "logs/gateway.log", [line(f"before {number}", 20, level="error"), line("no", 20)]
            )
            log.rename(log.with_name(f"gateway.log.{number + 1}"))
            append_rows(data_dir, "logs/gateway.log", [line(f"after {number}", 21, level="error")])
        wait_until(lambda: "after 2" in output.read_text(), f"the last line in {output.read_text()}")
        shown = output.read_text()
        assert all(
            shown.count(f"{word} {number}") == 1 for word in ("before", "after") for number in range(3)
        )
        assert " no" not in shown.replace(" none", "")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert "Traceback (" not in output.read_text()
    assert "Abort" not in output.read_text()


def test_following_ends_with_its_reader(data_dir: Path) -> None:
    """`palaver logs --follow | grep -m1 …` would hang until the next line."""
    process = subprocess.Popen(
        [*COMMAND, "logs", "--follow", "--data-dir", str(data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(10) == 0
        assert process.stderr.read() == ""


# ---- size ----


def test_an_id_is_found_in_large_files_at_once(tmp_path: Path) -> None:
    """With all that is kept by default, each look would take many seconds."""
    for name, row in (
        ("traces/gateway.jsonl", json.dumps(span("x", "a" * 16, trace_id="1" * 32))),
        ("logs/gateway.log", json.dumps(line("x", trace_id="1" * 32, agent="y" * 60))),
    ):
        path = append_rows(tmp_path, name, [json.loads(row.replace("1" * 32, TRACE_ID))])
        block = (row + "\n") * (4 * 1024 * 1024 // len(row))
        with path.open("a") as file:
            for _ in range(12):
                file.write(block)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = run("trace", TRACE_ID, "--data-dir", str(tmp_path))
    # To parse 96 MiB takes more than twice as long
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1.0
    assert done.stdout.startswith(f"Trace {TRACE_ID} · 1 span · 1 log line")
