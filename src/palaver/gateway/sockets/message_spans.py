"""Spans of messages in the gateway, made when their work has ended."""

import time
from collections.abc import Sequence
from typing import NamedTuple, Self

from palaver.contracts.ids import span_id_of_message, text_from_id
from palaver.gateway.sockets.commands import OutboundMessages
from palaver.gateway.sockets.registry import Socket
from palaver.gateway.upstream.pending_sends import InFlight
from palaver.runtime.telemetry.spans import Attributes, Event, Link, messaging_attributes
from palaver.runtime.telemetry.trace_context import TraceContext, new_span_id
from palaver.runtime.telemetry.tracing import tracer

# Events of one span at most: sockets of a delivery, messages of a resume
MOST_EVENTS = 256


def begin_message(parent: TraceContext) -> tuple[TraceContext, str]:
    """The context in which a message goes on, and the span that it is below; both are empty where traces are
    off."""
    if not parent.trace_id:
        return tracer.begin_message(), ""
    trace = tracer.begin(parent, is_edge=True)
    return trace.child(), trace.span_id


def record_received(
    sent: InFlight, socket: Socket | None, messages: OutboundMessages | None, error: str = ""
) -> None:
    """Records a client's request to send, from its frame to its acknowledgement. `messages`: it was stored as
    this. Nothing where traces are off."""
    if not sent.trace.trace_id:
        return
    attributes = messaging_attributes("send", len(sent.texts), text_from_id(sent.chat_id))
    attributes["user.id"] = text_from_id(sent.sender_id)
    attributes["palaver.socket"] = sent.socket
    if socket is not None:
        attributes["palaver.generation"] = socket.generation.name
    if messages is not None:
        attributes["messaging.message.id"] = text_from_id(messages.ids[0])
        attributes["palaver.seq"] = messages.first_seq
    if not sent.trace.sampled:
        attributes["palaver.kept"] = "error" if error else "slow"
    tracer.record("receive message", "server", sent.trace, sent.parent_id, sent.heard_at, attributes, error)


class DeliverySpan(NamedTuple):
    """Messages that were delivered to sockets. `began`: when they came from the messenger, in nanoseconds
    since the epoch."""

    messages: OutboundMessages
    trace_id: str
    began: int
    sockets: Sequence[Socket]


def record_delivered(delivered: DeliverySpan) -> None:
    """Records a delivery of one chat's messages, from their coming to the bytes to each socket."""
    messages, trace_id, began, sockets = delivered
    attributes = messaging_attributes("deliver", len(messages.ids), messages.chat_text)
    attributes["messaging.message.id"] = text_from_id(messages.ids[0])
    attributes["palaver.seq"] = messages.first_seq
    attributes["palaver.sockets"] = len(sockets)
    now = time.time_ns()
    events = [Event("told", now, socket_attributes(socket)) for socket in sockets[:MOST_EVENTS]]
    context, parent_id = TraceContext(trace_id, new_span_id(), True), span_id_of_message(messages.ids[0])
    tracer.record("deliver message", "consumer", context, parent_id, began, attributes, events=events)


def record_frame(name: str, parent: TraceContext, socket: Socket, chat_id: bytes) -> None:
    """Records a frame that has no answer, where its client wants to follow it."""
    if not parent.trace_id:
        return
    trace = tracer.begin(parent, is_edge=True)
    if trace.sampled:
        attributes = {"palaver.chat_id": text_from_id(chat_id), **socket_attributes(socket)}
        tracer.record(name, "server", trace.child(), trace.span_id, time.time_ns(), attributes)


def socket_attributes(socket: Socket) -> Attributes:
    """Attributes that name a socket."""
    return {
        "palaver.socket": socket.number,
        "palaver.generation": socket.generation.name,
        "user.id": text_from_id(socket.user_id),
        "session.id": text_from_id(socket.session_id),
    }


class ResumeSpan:
    """A resume under way that is sampled: what it delivers, with links to the traces of the messages."""

    __slots__ = ("_began", "_events", "_links", "_messages", "_socket", "_trace")

    def __init__(self, trace: TraceContext, socket: Socket) -> None:
        self._trace = trace
        self._socket = socket
        self._began = time.time_ns()
        self._links: list[Link] = []
        self._events: list[Event] = []
        self._messages = 0

    @classmethod
    def begin(cls, parent: TraceContext, socket: Socket) -> Self | None:
        """None where the resume is not sampled."""
        trace = tracer.begin(parent, is_edge=True)
        return cls(trace, socket) if trace.sampled else None

    def add(self, messages: OutboundMessages) -> None:
        """Messages were delivered."""
        self._messages += len(messages.ids)
        if len(self._events) >= MOST_EVENTS:
            return
        about: Attributes = {"palaver.chat_id": messages.chat_text, "palaver.seq": messages.first_seq}
        self._events.append(Event("told", time.time_ns(), {**about, **socket_attributes(self._socket)}))
        if messages.trace.trace_id:
            self._links.append(Link(messages.trace.trace_id, span_id_of_message(messages.ids[0])))

    def end(self) -> None:
        """Everything that was missed has been delivered."""
        attributes = {**socket_attributes(self._socket), "messaging.batch.message_count": self._messages}
        context, parent_id = self._trace.child(), self._trace.span_id
        tracer.record(
            "resume", "server", context, parent_id, self._began, attributes, "", self._links, self._events
        )
