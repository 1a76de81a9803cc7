"""Spans as they are kept under the data directory, one JSON object a line."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from palaver.watch.log_files import close_all, lines_backwards, open_kept


class KeptEvent(msgspec.Struct, frozen=True):
    """Something that happened at one moment of a span. `at`: nanoseconds since the epoch."""

    name: str
    at: int
    attributes: dict[str, Any] = {}


class KeptSpan(msgspec.Struct, frozen=True):
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
    events: list[KeptEvent] = []


class KeptTrace(NamedTuple):
    """What is kept of one trace: its spans, and spans of other traces that link to it, by their start."""

    spans: list[KeptSpan]
    linked: list[KeptSpan]


_decoder = msgspec.json.Decoder(KeptSpan)


def read_span(line: bytes) -> KeptSpan | None:
    """The span that a line is; None where it is none, as a line is that was cut by a crash."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def read_trace(data_dir: Path, trace_id: str) -> KeptTrace:
    """What is kept of a trace under the data directory. Raises `StartError`."""
    files = open_kept(data_dir / "traces", "jsonl")
    try:
        return trace_of(
            (line for kept in files for line in lines_backwards(kept, trace_id.encode())), trace_id
        )
    finally:
        close_all(files)


def trace_of(lines: Iterable[bytes], trace_id: str) -> KeptTrace:
    """The trace's spans, and those that link to it, among lines."""
    needle = trace_id.encode()
    spans, linked = [], []
    for line in lines:
        # Far cheaper than to parse it
        span = read_span(line) if needle in line else None
        if span is None:
            continue
        if span.trace_id == trace_id:
            spans.append(span)
        elif any(link[0] == trace_id for link in span.links):
            linked.append(span)
    return KeptTrace(by_start(spans), by_start(linked))


def by_start(spans: Iterable[KeptSpan]) -> list[KeptSpan]:
    """Spans in the order in which their work began; a parent before a child of the same moment."""
    return sorted(spans, key=lambda span: (span.start, -span.end))
