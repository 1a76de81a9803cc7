"""The span of a resume under way."""

import time

from palaver.contracts.ids import span_id_of_message
from palaver.gateway.sockets.commands import OutboundMessages
from palaver.runtime.telemetry.spans import Attributes, Event, Link
from palaver.runtime.telemetry.trace_context import TraceContext
from palaver.runtime.telemetry.tracing import tracer

# Messages that are named one by one at most
MOST_EVENTS = 256


class ResumeSpan:
    """What a sampled resume delivers, with links to its messages' traces. `attributes`: the socket's."""

    __slots__ = ("_attributes", "_began", "_events", "_links", "_messages", "_trace")

    def __init__(self, trace: TraceContext, attributes: Attributes) -> None:
        self._trace = trace
        self._attributes = attributes
        self._began = time.time_ns()
        self._links: list[Link] = []
        self._events: list[Event] = []
        self._messages = 0

    def add(self, messages: OutboundMessages) -> None:
        """Adds messages that were delivered."""
        self._messages += len(messages.ids)
        if len(self._events) >= MOST_EVENTS:
            return
        about: Attributes = {"palaver.chat_id": messages.chat_text, "palaver.seq": messages.first_seq}
        self._events.append(Event("told", time.time_ns(), {**about, **self._attributes}))
        if messages.trace.trace_id:
            self._links.append(Link(messages.trace.trace_id, span_id_of_message(messages.ids[0])))

    def end(self) -> None:
        """Records the span: all that was missed has been delivered."""
        attributes = {**self._attributes, "messaging.batch.message_count": self._messages}
        context, parent_id = self._trace.child(), self._trace.span_id
        tracer.record(
            "resume", "server", context, parent_id, self._began, attributes, "", self._links, self._events
        )
