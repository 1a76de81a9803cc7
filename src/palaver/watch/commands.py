"""What the commands print. Each returns an exit code, and raises `StartError`."""

import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from palaver.runtime.deployment_secret import secret_of
from palaver.runtime.service_addresses import messenger_target
from palaver.runtime.settings import Settings
from palaver.runtime.startup import StartError
from palaver.watch.log_reader import LogFilter, LogLine, LogReader, ReorderBuffer
from palaver.watch.terminal import log_rows, reader_is_gone, until_nobody_reads, write_rows
from palaver.watch.trace_reader import StoredTrace, find_trace
from palaver.watch.trace_tree import draw_trace

FOLLOW_PAUSE_SECONDS = 0.1


@until_nobody_reads
def show_trace(settings: Settings, trace_id: str, *, as_json: bool) -> int:
    """A trace."""
    trace = find_trace(settings.data_dir, trace_id)
    if as_json:
        write_rows(json_text(trace_fields(trace_id, trace)))
    elif trace.newest:
        write_rows(*draw_trace(trace_id, trace))
    if trace.spans:
        return 0
    complain(f"trace {trace_id} has no spans: {reason_of(settings, trace)}")
    return 1


@until_nobody_reads
def show_message(settings: Settings, chat_id: bytes, seq: int, *, as_json: bool) -> int:
    """A message, as the messenger has it, and its trace. Raises `not_found` too."""
    # Imported here: gRPC takes longer to load than a trace takes to draw
    from palaver.watch.message_report import draw_message, inspect_message, report_of

    secret = secret_of(settings, made_in=settings.data_dir)
    found = inspect_message(messenger_target(settings), secret.sent, chat_id, seq)
    trace_id = found.message.trace_id
    trace = find_trace(settings.data_dir, trace_id) if trace_id else StoredTrace([], [], [])
    report = report_of(found, (*trace.spans, *trace.linked))
    if as_json:
        write_rows(json_text({"message": report, **trace_fields(trace_id, trace)}))
    else:
        write_rows(*draw_message(report), *(["", *draw_trace(trace_id, trace)] if trace.newest else []))
    if trace_id and not trace.spans:
        complain(f"the message's trace has no spans: {reason_of(settings, trace)}")
    return 0


@until_nobody_reads
def show_logs(data_dir: Path, wanted: LogFilter, most: int | None, *, goes_on: bool, as_json: bool) -> int:
    """The last `most` lines that are wanted and, with `goes_on`, those that come, by time."""
    with LogReader(data_dir / "logs") as logs:
        check_service(data_dir / "logs", logs, wanted.service)
        is_empty = True
        for line in (
            logs.all_lines(wanted, goes_on=goes_on)
            if most is None
            else logs.last_lines(wanted, most, goes_on=goes_on)
        ):
            write_line(line, as_json=as_json)
            is_empty = False
        if is_empty and not goes_on:
            complain("no such line is kept")
        held = ReorderBuffer()
        while goes_on:
            sys.stdout.flush()
            if reader_is_gone(FOLLOW_PAUSE_SECONDS):
                break
            held.add(logs.new_lines(wanted), time.monotonic())
            for line in held.take(time.monotonic()):
                write_line(line, as_json=as_json)
    return 0


def check_service(directory: Path, logs: LogReader, service: str) -> None:
    """Raises `StartError` where there are no logs, or none of the service that is wanted."""
    if not logs.services:
        raise StartError(
            f"there are no logs in {directory}: services write them there under `palaver up`, or with "
            'telemetry.log_to = "file"'
        )
    if service and service not in logs.services:
        known = ", ".join(sorted(logs.services))
        raise StartError(f"there is no log of {service} in {directory}, but of {known}")


def write_line(line: LogLine, *, as_json: bool) -> None:
    """Writes a log line: readable, or the JSON that the service wrote."""
    if not as_json:
        write_rows(*log_rows(line))
        return
    text = line.raw.decode(errors="replace")
    # Text between the events is made JSON, so that a program that reads this meets nothing else
    write_rows(text if line.fields else json_text({"service": line.service, "text": text}))


def trace_fields(trace_id: str, trace: StoredTrace) -> dict[str, Any]:
    """A trace as JSON has it."""
    lines = [line.fields for line in trace.lines]
    return {"trace_id": trace_id, "spans": trace.spans, "lines": lines, "linked": trace.linked}


def reason_of(settings: Settings, trace: StoredTrace) -> str:
    """Why there may be no spans of a trace."""
    directory = settings.data_dir / "traces"
    if settings.telemetry.otlp_endpoint:
        return "they go to the collector that telemetry.otlp_endpoint names"
    if not settings.telemetry.traces:
        return "traces are off (telemetry.traces)"
    if not directory.is_dir():
        return f"there is no directory {directory}; does --data-dir name the one of `palaver up`?"
    lines = " (its log lines are shown)" if trace.lines else ""
    return f"it was not sampled{lines}, or is older than the files in {directory}, or never was"


def json_text(fields: Any) -> str:
    """One line of JSON."""
    return msgspec.json.encode(fields).decode()


def complain(reason: str) -> None:
    """One line on stderr, behind what was printed."""
    sys.stdout.flush()
    sys.stderr.write(f"palaver: {reason}\n")
