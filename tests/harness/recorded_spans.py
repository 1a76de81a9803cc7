"""Spans that this process keeps, for tests to look at."""

import contextlib
from collections.abc import Iterator

from palaver.runtime.telemetry.spans import Span
from palaver.runtime.telemetry.tracing import Sampler, tracer


class KeptSpans:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.all: list[Span] = []

    def export(self, span: Span) -> None:
        """See `tracing.SpanExporter`."""
        self.all.append(span)

    def named(self, name: str) -> list[Span]:
        """Those of a name, in the order of their ends."""
        return [span for span in self.all if span.name == name]


@contextlib.contextmanager
def keeping_spans(ratio: float = 0.0, per_second: int = 0, slow_seconds: float = 60.0) -> Iterator[KeptSpans]:
    """Traces are on during the block, and sampled so."""
    kept = KeptSpans()
    tracer.configure(kept, Sampler(ratio, per_second), slow_seconds)
    try:
        yield kept
    finally:
        tracer.configure(None, Sampler(0.0, 0), slow_seconds)
