"""Spans: records of finished work (OpenTelemetry's data model)."""

from typing import Literal, NamedTuple

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attributes = dict[str, str | int | float | bool]


class Link(NamedTuple):
    """A span of the same or another trace that this one has to do with."""

    trace_id: str
    span_id: str


class Event(NamedTuple):
    """Something that happened at one moment of a span. `at`: nanoseconds since the epoch."""

    name: str
    at: int
    attributes: Attributes


class Span:
    """Finished work. `start` and `end`: nanoseconds since the epoch; `error`: a code, or empty."""

    __slots__ = (
        "attributes",
        "end",
        "error",
        "events",
        "kind",
        "links",
        "name",
        "parent_id",
        "span_id",
        "start",
        "trace_id",
    )

    def __init__(
        self,
        name: str,
        kind: Kind,
        trace_id: str,
        span_id: str,
        parent_id: str,
        start: int,
        end: int,
        attributes: Attributes,
        error: str = "",
        links: list[Link] | None = None,
        events: list[Event] | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_id = parent_id
        self.start = start
        self.end = end
        self.attributes = attributes
        self.error = error
        self.links = links
        self.events = events
