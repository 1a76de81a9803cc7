"""Spans and log lines of one trace, as services have written them under the data directory."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from palaver.watch.log_files import Identity, LogFile, open_files
from palaver.watch.log_reader import LogFilter, LogLine, LogReader

# Services write spans a quarter of a second late
SETTLED_SECONDS = 0.6
PATIENCE_SECONDS = 1.0
PAUSE_SECONDS = 0.1


class StoredEvent(msgspec.Struct, frozen=True):
    """Something that happened at one moment of a span. `at`: nanoseconds since the epoch."""

    name: str
    at: int
    attributes: dict[str, Any] = {}


class StoredSpan(msgspec.Struct, frozen=True):
    """A span, and the service that made it. `start` and `end`: nanoseconds since the epoch."""

    trace_id: str
    span_id: str
    start: int
    end: int
    parent_id: str = ""
    name: str = ""
    kind: str = "internal"
    service: str = ""
    error: str = ""
    attributes: dict[str, Any] = {}
    links: list[tuple[str, str]] = []
    events: list[StoredEvent] = []
    # Where the service's instance has a name of its own
    instance: str | msgspec.UnsetType = msgspec.UNSET


class StoredTrace(NamedTuple):
    """One trace: its spans, spans of other traces that link to it, by their start, and its log lines."""

    spans: list[StoredSpan]
    linked: list[StoredSpan]
    lines: list[LogLine]

    @property
    def newest(self) -> int:
        """The end of its last span, or the time of its last line; 0 where there is none."""
        ends = [span.end for span in (*self.spans, *self.linked)]
        return max([*ends, *(line.at for line in self.lines)], default=0)


_decoder = msgspec.json.Decoder(StoredSpan)


def find_trace(data_dir: Path, trace_id: str) -> StoredTrace:
    """What is there of a trace. Waits a little where that is nothing, or where more may come any moment.

    Raises `StartError`.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = read_trace(data_dir, trace_id)
        is_settled = found.newest and time.time_ns() - found.newest > SETTLED_SECONDS * 1e9
        if is_settled or time.monotonic() > deadline:
            return found
        time.sleep(PAUSE_SECONDS)


def read_trace(data_dir: Path, trace_id: str) -> StoredTrace:
    """What is there of a trace now. Raises `StartError`."""
    with LogReader(data_dir / "logs") as logs:
        lines = list(logs.all_lines(LogFilter(trace_id=trace_id)))
    spans, linked = [], []
    needle = trace_id.encode()
    files: dict[Identity, LogFile] = {}
    open_files(data_dir / "traces", "jsonl", files)
    for file in files.values():
        for span in filter(None, map(parse_span, file.lines(needle, is_final=True))):
            if span.trace_id == trace_id:
                spans.append(span)
            elif any(link[0] == trace_id for link in span.links):
                linked.append(span)
        file.close()
    return StoredTrace(by_start(spans), by_start(linked), lines)


def parse_span(line: bytes) -> StoredSpan | None:
    """The span that a line is; None where it is none, as a line is that was cut by a crash."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def by_start(spans: Iterable[StoredSpan]) -> list[StoredSpan]:
    """Spans in the order in which their work began; a parent before a child of the same moment."""
    return sorted(spans, key=lambda span: (span.start, -span.end))
