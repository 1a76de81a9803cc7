"""Tracing: spans of the requests and messages of this process, under the ids of W3C trace context.

A span is a plain record, made when its work has ended: what is not kept costs a few microseconds, and a
message on its hot path nothing at all unless it is sampled. Which requests are sampled the edge decides
(`Sampler`) and passes on to the services behind it; each process keeps besides what failed or was slow.
"""

import random
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from palaver.contracts.errors import PalaverError
from palaver.runtime.telemetry.spans import Attributes, Event, Kind, Link, Span
from palaver.runtime.telemetry.trace_context import (
    NO_TRACE,
    TraceContext,
    new_trace_id,
    parse_traceparent,
)

# Spans below one request that are kept at most; a use case that needs more is a fault of its own
MOST_BELOW = 200


# Where a kept span goes. Must not wait, and must not raise
Export = Callable[[Span], None]


class Sampler:
    """Which traces are kept in full: the first few of each second, and a share of all others.

    So a quiet system, or an operator who tries one request, sees everything, and the cost on a busy one is
    bounded. No clock of its own: `now` in seconds.
    """

    def __init__(self, ratio: float, per_second: int) -> None:
        self._ratio = ratio
        self._per_second = per_second
        self._second = -1
        self._left = 0

    def decide(self, now: float) -> bool:
        """Whether a new trace is sampled."""
        second = int(now)
        if second != self._second:
            self._second, self._left = second, self._per_second
        if self._left > 0:
            self._left -= 1
            return True
        return self._ratio > 0 and random.random() < self._ratio  # noqa: S311 - no secret


class Tracer:
    """Makes this process's spans. `is_on`: False until it is configured, and where traces are switched off;
    then nothing is recorded, and new traces get no ids."""

    def __init__(self) -> None:
        self.is_on = False
        self.slow_ns = 0
        self._export: Export | None = None
        self._sampler = Sampler(0.0, 0)

    def configure(self, export: Export | None, sampler: Sampler, slow_seconds: float) -> None:
        """Sets where spans go, which traces begun here are sampled, and from when on work is slow."""
        self._export = export
        self._sampler = sampler
        self.slow_ns = int(slow_seconds * 1e9)
        self.is_on = export is not None

    def begin(self, parent: TraceContext, *, is_edge: bool) -> TraceContext:
        """The context in which work goes on: its sender's, or that of a new trace, whose span id is empty.
        `NO_TRACE` where traces are off.

        At the edge a trace is sampled where its client wants that, or else by the sampler; behind it, where
        it is at the edge.
        """
        if not self.is_on:
            return NO_TRACE
        if parent.sampled:
            return parent
        sampled = is_edge and self._sampler.decide(time.monotonic())
        return TraceContext(parent.trace_id or new_trace_id(), parent.span_id, sampled)

    def begin_message(self) -> TraceContext:
        """The context of a message with which a trace begins, at the edge; `NO_TRACE` where traces are off.

        The same as `begin` and a span id, for the hot path: one random number holds both ids.
        """
        if not self.is_on:
            return NO_TRACE
        ids = f"{random.getrandbits(192) or 1:048x}"
        return TraceContext(ids[:32], ids[32:], self._sampler.decide(time.monotonic()))

    def serve(self, name: str, traceparent: str, attributes: Attributes, *, is_edge: bool) -> "ActiveSpan":
        """The span of one request from another process: `with tracer.serve(…) as span`."""
        parent = parse_traceparent(traceparent) if self.is_on else NO_TRACE
        return ActiveSpan(self, name, "server", attributes, self.begin(parent, is_edge=is_edge), None)

    def span(self, name: str, kind: Kind = "internal", attributes: Attributes | None = None) -> "ActiveSpan":
        """The span of a part of the work under way: `with tracer.span(…)`. Nothing where none is."""
        above = _current.get()
        parent = NO_TRACE if above is None else above.context
        root = above if above is None or above._root is None else above._root
        return ActiveSpan(self, name, kind, {} if attributes is None else attributes, parent, root)

    def record(
        self,
        name: str,
        kind: Kind,
        context: TraceContext,
        parent_id: str,
        start: int,
        attributes: Attributes,
        error: str = "",
        links: list[Link] | None = None,
        events: list[Event] | None = None,
    ) -> None:
        """Keeps a span that ends now. `start`: nanoseconds since the epoch."""
        trace_id, span_id, end = context.trace_id, context.span_id, time.time_ns()
        self.put(Span(name, kind, trace_id, span_id, parent_id, start, end, attributes, error, links, events))

    def put(self, span: Span) -> None:
        """Keeps a span."""
        if self._export is not None:
            self._export(span)


@dataclass(slots=True, eq=False)
class ActiveSpan:
    """A span under way. `attributes`, `error`, `links` and `events` may be changed until it ends.

    `parent` is the context that it is below, `context` the one of work that it causes. All spans of one
    request are held until the request ends, and then kept or forgotten together.
    """

    _tracer: Tracer
    name: str
    kind: Kind
    attributes: Attributes
    parent: TraceContext
    # None: it is the request's own. Not itself, which only the garbage collector could clear away
    _root: "ActiveSpan | None"
    context: TraceContext = field(init=False)
    start: int = 0
    error: str = ""
    links: list[Link] | None = None
    events: list[Event] | None = None
    _below: list[Span] = field(default_factory=list)
    # None: not decided yet
    _is_kept: bool | None = None
    _token: "Token[ActiveSpan | None] | None" = None

    def __post_init__(self) -> None:
        self.context = self.parent.child()

    @property
    def trace_id(self) -> str:
        """Empty where traces are off, or nothing is traced."""
        return self.context.trace_id

    @property
    def span_id(self) -> str:
        """As `trace_id`."""
        return self.context.span_id

    @property
    def traceparent(self) -> str:
        """The header's value for the next process; empty where traces are off."""
        return self.context.traceparent

    def __enter__(self) -> Self:
        self.start = time.time_ns()
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._token is not None
        _current.reset(self._token)
        self._token = None
        if error is not None and not self.error:
            self.error = error_code(error)
        if self.context.trace_id:
            self._end(time.time_ns())

    def _end(self, end: int) -> None:
        ids = (self.context.trace_id, self.context.span_id, self.parent.span_id)
        own, error = self.attributes, self.error
        span = Span(self.name, self.kind, *ids, self.start, end, own, error, self.links, self.events)
        if self._root is not None:
            self._root._take(span)
            return
        is_slow = end - self.start >= self._tracer.slow_ns
        self._is_kept = self.context.sampled or bool(self.error) or is_slow
        if not self._is_kept:
            return
        if not self.context.sampled:
            span.attributes["palaver.kept"] = "error" if self.error else "slow"
        for one in (*self._below, span):
            self._tracer.put(one)

    def _take(self, span: Span) -> None:
        """Holds a finished part until it is known whether the request is kept."""
        if self._is_kept is None:
            if len(self._below) < MOST_BELOW:
                self._below.append(span)
        elif self._is_kept:
            # A part that the request left behind
            self._tracer.put(span)


def error_code(error: BaseException) -> str:
    """The `error` of a span; empty for one that is the caller's own mistake."""
    if isinstance(error, PalaverError):
        return error.kind.code if error.kind.http >= 500 else ""
    return type(error).__name__


_current: ContextVar[ActiveSpan | None] = ContextVar("palaver_span", default=None)

tracer = Tracer()


def current_span() -> ActiveSpan | None:
    """The innermost active span of this task."""
    return _current.get()


def trace_headers() -> Mapping[str, str]:
    """The header that carries the trace on by HTTP; none where there is no trace."""
    span = _current.get()
    return {"traceparent": span.traceparent} if span is not None and span.trace_id else {}


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """The metadata that carries the trace on by gRPC; none where there is no trace."""
    return tuple(trace_headers().items())
