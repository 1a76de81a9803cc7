"""The span of a resume under way."""

import time

from palaver.gateway.sockets.commands import OutboundMessages
from palaver.runtime.telemetry.spans import Attributes, Event, Link, Span
from palaver.runtime.telemetry.trace_context import Trace, new_span_id
from palaver.runtime.telemetry.tracing import tracer

# Messages that are named one by one at most
MOST_EVENTS = 256


class ResumeSpan:
    """What a sampled resume delivers, with links to its messages' traces. `attributes`: the socket's."""

    __slots__ = ("_attributes", "_began", "_events", "_links", "_messages", "_place")

    def __init__(self, place: Trace, attributes: Attributes) -> None:
        self._place = place
        self._attributes = attributes
        self._began = time.time_ns()
        self._links: list[Link] = []
        self._events: list[Event] = []
        self._messages = 0

    def add(self, messages: OutboundMessages) -> None:
        """Notes messages that were delivered."""
        self._messages += len(messages.ids)
        if len(self._events) >= MOST_EVENTS:
            return
        place: Attributes = {"palaver.chat_id": messages.chat_text, "palaver.seq": messages.first_seq}
        self._events.append(Event("told", time.time_ns(), {**place, **self._attributes}))
        if messages.trace_id:
            self._links.append(Link(messages.trace_id, span_of_message(messages.ids[0])))

    def end(self) -> None:
        """Keeps the span: all that was missed has been delivered."""
        attributes = {**self._attributes, "messaging.batch.message_count": self._messages}
        tracer.put(
            Span(
                "resume",
                "server",
                self._place.trace_id,
                new_span_id(),
                self._place.span_id,
                self._began,
                time.time_ns(),
                attributes,
                links=self._links,
                events=self._events,
            )
        )


def span_of_message(message_id: bytes) -> str:
    """The id of the span in which the messenger journalled a message."""
    return message_id[8:].hex()
