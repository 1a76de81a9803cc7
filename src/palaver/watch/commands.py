"""What the commands print. Each returns an exit code."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from palaver.contracts.times import rfc3339
from palaver.runtime.settings import TelemetrySettings
from palaver.runtime.startup import StartError
from palaver.watch.follow import follow
from palaver.watch.lines import LogLine, Wanted
from palaver.watch.log_reader import Logs
from palaver.watch.message_report import Story, draw_message
from palaver.watch.search import Found, search
from palaver.watch.tellings import tellings_of
from palaver.watch.terminal import Line, Paper
from palaver.watch.text import log_text
from palaver.watch.trace_reader import KeptTrace
from palaver.watch.waterfall import draw_trace


def show_trace(data_dir: Path, telemetry: TelemetrySettings, trace_id: str, *, as_json: bool) -> int:
    """A trace. Raises `StartError`."""
    paper = Paper()
    found = search(data_dir, trace_id)
    if as_json:
        paper.write_raw(json_text(trace_facts(trace_id, found)))
    elif found.newest:
        write_all(paper, draw_trace(trace_id, found.trace, found.lines, paper.columns))
    paper.flush()
    if found.trace.spans:
        return 0
    complain(f"trace {trace_id} has no spans: {reason_of(data_dir, telemetry, found)}")
    return 1


def show_message(data_dir: Path, telemetry: TelemetrySettings, story: Story, *, as_json: bool) -> int:
    """A message, of which the story has what the journal knows, and its trace. Raises `StartError`."""
    paper = Paper()
    trace_id = story["trace_id"]
    found = search(data_dir, trace_id) if trace_id else Found(KeptTrace([], []), [])
    story = {**story, "told": told_of(found, story)}
    if as_json:
        paper.write_raw(json_text({"message": story, **trace_facts(trace_id, found)}))
    else:
        write_all(paper, draw_message(story))
        if found.newest:
            paper.write([])
            write_all(paper, draw_trace(trace_id, found.trace, found.lines, paper.columns))
    paper.flush()
    if trace_id and not found.trace.spans:
        complain(f"the message's trace has no spans: {reason_of(data_dir, telemetry, found)}")
    return 0


def show_logs(data_dir: Path, wanted: Wanted, most: int | None, *, goes_on: bool, as_json: bool) -> int:
    """The last `most` lines that are wanted and, with `goes_on`, those that come. Raises `StartError`."""
    paper = Paper()
    write = writer_of_lines(paper, as_json)
    with Logs(data_dir / "logs") as logs:
        check_service(data_dir / "logs", logs, wanted.service)
        lines = (
            logs.all_lines(wanted, goes_on=goes_on)
            if most is None
            else logs.last_lines(wanted, most, goes_on=goes_on)
        )
        number = 0
        for number, line in enumerate(lines, 1):  # noqa: B007 - counted
            write(line)
        paper.flush()
        if goes_on:
            follow(logs, lambda line: write(line) if wanted.takes(line) else None, paper.flush)
        elif not number:
            complain("no such line is kept")
    return 0


def check_service(directory: Path, logs: Logs, service: str) -> None:
    """Raises `StartError` where there are no logs, or none of the service that is asked for."""
    if not logs.services:
        raise StartError(
            f"there are no logs in {directory}: services write them there under `palaver up`, or with "
            'telemetry.log_to = "file"'
        )
    if service and service not in logs.services:
        known = ", ".join(sorted(logs.services))
        raise StartError(f"there is no log of {service} in {directory}, but of {known}")


def writer_of_lines(paper: Paper, as_json: bool) -> Callable[[LogLine], None]:
    """What writes a log line: readable, or the JSON that the service wrote."""

    def write_json(line: LogLine) -> None:
        text = line.raw.decode(errors="replace")
        # Text between the events is made JSON, so that a program that reads this meets nothing else
        paper.write_raw(
            text if line.fields is not None else json_text({"service": line.service, "text": text})
        )

    def write_text(line: LogLine) -> None:
        write_all(paper, log_text(line))

    return write_json if as_json else write_text


def write_all(paper: Paper, lines: Iterable[Line]) -> None:
    """Writes lines."""
    for line in lines:
        paper.write(line)


def trace_facts(trace_id: str, found: Found) -> dict[str, Any]:
    """A trace as JSON has it."""
    return {
        "trace_id": trace_id,
        "spans": found.trace.spans,
        "lines": [line.fields for line in found.lines],
        "linked": found.trace.linked,
    }


def told_of(found: Found, story: Story) -> list[dict[str, Any]]:
    """Which sockets were told of the story's message, with the names that the story has."""
    names = {member["user_id"]: member["name"] for member in story["members"]}
    spans = (*found.trace.spans, *found.trace.linked)
    return [
        {**one._asdict(), "at": rfc3339(one.at // 1000), "name": names.get(one.user_id, "")}
        for one in tellings_of(spans, story["chat_id"], story["seq"])
    ]


def reason_of(data_dir: Path, telemetry: TelemetrySettings, found: Found) -> str:
    """Why there may be no spans of a trace."""
    directory = data_dir / "traces"
    if telemetry.otlp_endpoint:
        return "they go to the collector that telemetry.otlp_endpoint names"
    if not telemetry.traces:
        return "traces are off (telemetry.traces)"
    if not directory.is_dir():
        return f"there is no directory {directory}; does --data-dir name the one of `palaver up`?"
    lines = " (its log lines are shown)" if found.lines else ""
    return f"it was not sampled{lines}, or is older than the files in {directory}, or never was"


def json_text(facts: Any) -> str:
    """One line of JSON."""
    return msgspec.json.encode(facts).decode()


def complain(reason: str) -> None:
    """One line on stderr, behind what was printed."""
    sys.stderr.write(f"palaver: {reason}\n")
