"""What is kept of messages' way through the gateway: spans, made when their work has ended."""

import time
from collections.abc import Sequence
from typing import NamedTuple, Self

from palaver.contracts.ids import span_id_of_message, text_from_id
from palaver.gateway.sockets.commands import OutboundMessages
from palaver.gateway.sockets.registry import Socket
from palaver.gateway.upstream.pending_sends import InFlight
from palaver.runtime.telemetry.spans import Attributes, Event, Link, Span
from palaver.runtime.telemetry.trace_context import TraceContext, new_span_id
from palaver.runtime.telemetry.tracing import tracer

# Sockets of a delivery, and messages of a resume, that are named one by one at most
MOST_EVENTS = 256


def begin_message(parent: TraceContext) -> tuple[TraceContext, str]:
    """The context in which a message goes on, and the span that it is below; both are empty where traces are
    off."""
    if not parent.trace_id:
        return tracer.begin_message(), ""
    trace = tracer.begin(parent, is_edge=True)
    if not trace.trace_id:
        return trace, ""
    return TraceContext(trace.trace_id, new_span_id(), trace.sampled), trace.span_id


def keep_received(
    sent: InFlight, socket: Socket | None, told: OutboundMessages | None, error: str = ""
) -> None:
    """A client's request to send, from its frame to its answer. `told`: it was stored as this. Nothing where
    traces are off."""
    if not sent.trace.trace_id:
        return
    attributes: Attributes = {
        "messaging.system": "palaver",
        "messaging.operation.name": "send",
        "messaging.batch.message_count": len(sent.texts),
        "user.id": text_from_id(sent.sender_id),
        "palaver.chat_id": text_from_id(sent.chat_id),
        "palaver.socket": sent.socket,
    }
    if socket is not None:
        attributes["palaver.generation"] = socket.generation.name
    if told is not None:
        attributes["messaging.message.id"] = text_from_id(told.ids[0])
        attributes["palaver.seq"] = told.first_seq
    if not sent.trace.sampled:
        attributes["palaver.kept"] = "error" if error else "slow"
    tracer.put(
        Span(
            "receive message",
            "server",
            sent.trace.trace_id,
            sent.trace.span_id,
            sent.parent_id,
            sent.heard_at,
            time.time_ns(),
            attributes,
            error,
        )
    )


class DeliverySpan(NamedTuple):
    """Messages that were told to sockets. `began`: when the messenger's word came, in nanoseconds since the
    epoch."""

    told: OutboundMessages
    trace_id: str
    began: int
    sockets: Sequence[Socket]


def keep_delivered(delivered: DeliverySpan) -> None:
    """Messages of one chat, from the messenger's word to the bytes to each socket."""
    told, trace_id, began, sockets = delivered
    ended = time.time_ns()
    attributes: Attributes = {
        "messaging.system": "palaver",
        "messaging.operation.name": "deliver",
        "messaging.message.id": text_from_id(told.ids[0]),
        "messaging.batch.message_count": len(told.ids),
        "palaver.chat_id": told.chat_text,
        "palaver.seq": told.first_seq,
        "palaver.sockets": len(sockets),
    }
    events = [Event("told", ended, facts_of(socket)) for socket in sockets[:MOST_EVENTS]]
    tracer.put(
        Span(
            "deliver message",
            "consumer",
            trace_id,
            new_span_id(),
            span_id_of_message(told.ids[0]),
            began,
            ended,
            attributes,
            events=events,
        )
    )


def keep_frame(name: str, parent: TraceContext, socket: Socket, chat_id: bytes) -> None:
    """A frame that has no answer, where its client asks to follow it."""
    if not parent.trace_id:
        return
    trace = tracer.begin(parent, is_edge=True)
    if not trace.sampled:
        return
    now = time.time_ns()
    attributes = {"palaver.chat_id": text_from_id(chat_id), **facts_of(socket)}
    tracer.put(Span(name, "server", trace.trace_id, new_span_id(), trace.span_id, now, now, attributes))


def facts_of(socket: Socket) -> Attributes:
    """Who a socket is."""
    return {
        "palaver.socket": socket.number,
        "palaver.generation": socket.generation.name,
        "user.id": text_from_id(socket.user_id),
        "session.id": text_from_id(socket.session_id),
    }


class ResumeSpan:
    """A resume under way that is sampled: what it tells, with links to the traces of the messages."""

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

    def add(self, told: OutboundMessages) -> None:
        """Messages were told."""
        self._messages += len(told.ids)
        if len(self._events) >= MOST_EVENTS:
            return
        facts: Attributes = {"palaver.chat_id": told.chat_text, "palaver.seq": told.first_seq}
        self._events.append(Event("told", time.time_ns(), {**facts, **facts_of(self._socket)}))
        if told.trace.trace_id:
            self._links.append(Link(told.trace.trace_id, span_id_of_message(told.ids[0])))

    def end(self) -> None:
        """Everything that was missed has been told."""
        attributes = {**facts_of(self._socket), "messaging.batch.message_count": self._messages}
        tracer.put(
            Span(
                "resume",
                "server",
                self._trace.trace_id,
                new_span_id(),
                self._trace.span_id,
                self._began,
                time.time_ns(),
                attributes,
                links=self._links,
                events=self._events,
            )
        )
