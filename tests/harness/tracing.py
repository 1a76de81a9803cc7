"""Spans and lines of code that runs in the test's own process, as an operator would have them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import structlog
from structlog.testing import capture_logs

from palaver.runtime.telemetry.spans import Span
from palaver.runtime.telemetry.tracing import Sampler, current_span, tracer

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{PARENT}-01"
UNSAMPLED = f"00-{TRACE}-{PARENT}-00"


class SpanRecorder:
    """A sink that keeps spans in memory."""

    def __init__(self) -> None:
        self.all: list[Span] = []

    def export(self, span: Span) -> None:
        """Takes one span."""
        self.all.append(span)

    def named(self, name: str) -> list[Span]:
        """Those of a name, in the order of their ends."""
        return [span for span in self.all if span.name == name]


@contextlib.contextmanager
def recording_spans(
    ratio: float = 0.0, per_second: int = 0, slow_seconds: float = 60.0
) -> Iterator[SpanRecorder]:
    """Turns tracing on during the block, with a sampling ratio and spans a second."""
    recorded = SpanRecorder()
    tracer.configure(recorded.export, Sampler(ratio, per_second), slow_seconds)
    try:
        yield recorded
    finally:
        tracer.configure(None, Sampler(0.0, 0), slow_seconds)


class Recorded:
    """`spans`, and `lines` with all that their tasks had bound."""

    def __init__(self, spans: list[Span], lines: list[Any]) -> None:
        self.spans = spans
        self.lines = lines

    def span(self, name: str, trace_id: str = "") -> Span:
        """The one span of that name, and of that trace where one is given."""
        named = [span for span in self.spans if span.name == name and trace_id in ("", span.trace_id)]
        assert len(named) == 1, (name, [(span.name, span.trace_id) for span in self.spans])
        return named[0]

    def lines_of(self, trace_id: str) -> list[Any]:
        """All lines of a trace."""
        return [line for line in self.lines if line.get("trace_id") == trace_id]


@contextlib.contextmanager
def recording(per_second: int = 0, slow_seconds: float = 60.0) -> Iterator[Recorded]:
    """Records the block. `per_second`: traces that are sampled without a caller that samples."""
    bound = [structlog.contextvars.merge_contextvars, name_trace]
    with (
        recording_spans(per_second=per_second, slow_seconds=slow_seconds) as spans,
        capture_logs(processors=bound) as lines,
    ):
        yield Recorded(spans.all, lines)


def name_trace(_logger: Any, _method: str, line: Any) -> Any:
    """A processor that puts the trace's id in each line."""
    work = current_span()
    if work is not None:
        line["trace_id"] = work.trace_id
    return line
