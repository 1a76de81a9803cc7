"""Spans: records of finished work (OpenTelemetry's data model).

Structs, because they are made and encoded in C: less than a microsecond for both. None of them is part of a
cycle, so the garbage collector need not look at those that wait.
"""

from typing import Literal, NamedTuple

import msgspec

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attributes = dict[str, str | int | float | bool]


class Link(NamedTuple):
    """A span of the same or another trace that this one has to do with."""

    trace_id: str
    span_id: str


class Event(msgspec.Struct, gc=False):
    """Something that happened at one moment of a span. `at`: nanoseconds since the epoch."""

    name: str
    at: int
    attributes: Attributes


class Span(msgspec.Struct, omit_defaults=True, gc=False):
    """Finished work. `start` and `end`: nanoseconds since the epoch; `error`: a code, or empty.

    Encoded as JSON it is what trace files hold, but for the service.
    """

    name: str
    kind: Kind
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    attributes: Attributes
    error: str = ""
    links: list[Link] | None = None
    events: list[Event] | None = None


def messaging_attributes(operation: str, messages: int, chat_id: str) -> Attributes:
    """What every span of messages of one chat has (OpenTelemetry's messaging conventions)."""
    return {
        "messaging.system": "palaver",
        "messaging.operation.name": operation,
        "messaging.batch.message_count": messages,
        "palaver.chat_id": chat_id,
    }
