"""Spans of messages in the gateway, made when their work has ended."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from palaver.contracts.ids import span_id_of_message, text_from_id
from palaver.gateway.sockets.commands import OutboundMessages
from palaver.gateway.sockets.resume_span import MOST_EVENTS, ResumeSpan
from palaver.gateway.sockets.socket import Socket
from palaver.gateway.upstream.pending_sends import PendingSend
from palaver.runtime.telemetry.spans import Attributes, Event, messaging_attributes
from palaver.runtime.telemetry.trace_context import TraceContext, new_span_id
from palaver.runtime.telemetry.tracing import tracer


def begin_message(parent: TraceContext) -> tuple[TraceContext, str]:
    """The context in which a message goes on, and the span that it is below; both are empty where traces are
    off."""
    if not parent.trace_id:
        return tracer.begin_message(), ""
    trace = tracer.begin(parent, is_edge=True)
    return trace.child(), trace.span_id


def record_received(
    send: PendingSend, socket: Socket | None, messages: OutboundMessages | None, error: str = ""
) -> None:
    """Records the span of a send, from its frame to its answer. `messages`: it was stored as these. Does
    nothing where traces are off."""
    if not send.trace.trace_id:
        return
    attributes = messaging_attributes("send", len(send.texts), text_from_id(send.chat_id))
    attributes["user.id"] = text_from_id(send.sender.user_id)
    attributes["palaver.socket"] = send.sender.number
    if socket is not None:
        attributes["palaver.generation"] = socket.generation.name
    if messages is not None:
        attributes["messaging.message.id"] = text_from_id(messages.ids[0])
        attributes["palaver.seq"] = messages.first_seq
    if not send.trace.sampled:
        attributes["palaver.kept"] = "error" if error else "slow"
    tracer.record(
        "receive message", "server", send.trace, send.parent_id, send.received_at, attributes, error
    )


class DeliverySpan(NamedTuple):
    """Messages that were delivered to sockets. `began`: when they came from the messenger, in nanoseconds
    since the epoch."""

    messages: OutboundMessages
    trace_id: str
    began: int
    sockets: Sequence[Socket]


def record_delivered(delivered: DeliverySpan) -> None:
    """Records the span of a delivery, from the messenger's batch to the bytes to each socket."""
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
    """Records the span of a frame that has no answer, where its client wants it traced."""
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


def begin_resume(parent: TraceContext, socket: Socket) -> ResumeSpan | None:
    """The span of a resume; None where it is not sampled."""
    trace = tracer.begin(parent, is_edge=True)
    return ResumeSpan(trace, socket_attributes(socket)) if trace.sampled else None
