"""Spans of messages on their way through the gateway, made when their work has ended."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from palaver.contracts.ids import text_from_id
from palaver.gateway.sockets.commands import OutboundMessages
from palaver.gateway.sockets.resume_span import MOST_EVENTS, ResumeSpan, span_of_message
from palaver.gateway.sockets.socket import Socket
from palaver.gateway.upstream.pending_sends import PendingSend
from palaver.runtime.telemetry.spans import Attributes, Event, Span
from palaver.runtime.telemetry.trace_context import new_span_id
from palaver.runtime.telemetry.tracing import tracer


def is_sampled(traceparent: str) -> bool:
    """Whether spans are made. The gateway wrote it: its form is right."""
    return traceparent[-1:] == "1"


def begin_message(traceparent: str) -> tuple[str, str]:
    """The traceparent under which a message goes on, and the span that it is below; both are empty where
    traces are off."""
    if not traceparent:
        return tracer.begin_message(), ""
    place = tracer.begin(traceparent, is_edge=True)
    if place is None:
        return "", ""
    return f"00-{place.trace_id}-{new_span_id()}-{'01' if place.sampled else '00'}", place.span_id


def keep_received(
    send: PendingSend, socket: Socket | None, messages: OutboundMessages | None, error: str = ""
) -> None:
    """Keeps the span of a send, from its frame to its answer. `messages`: it was stored as these. Does
    nothing where traces are off."""
    if not send.traceparent:
        return
    attributes: Attributes = {
        "messaging.system": "palaver",
        "messaging.operation.name": "send",
        "messaging.batch.message_count": len(send.texts),
        "user.id": text_from_id(send.sender.user_id),
        "palaver.chat_id": text_from_id(send.chat_id),
        "palaver.socket": send.sender.number,
    }
    if socket is not None:
        attributes["palaver.generation"] = socket.generation.name
    if messages is not None:
        attributes["messaging.message.id"] = text_from_id(messages.ids[0])
        attributes["palaver.seq"] = messages.first_seq
    if not is_sampled(send.traceparent):
        attributes["palaver.kept"] = "error" if error else "slow"
    tracer.put(
        Span(
            "receive message",
            "server",
            send.traceparent[3:35],
            send.traceparent[36:52],
            send.parent_id,
            send.received_at,
            time.time_ns(),
            attributes,
            error,
        )
    )


class DeliverySpan(NamedTuple):
    """Messages that were delivered to sockets. `began`: when they came from the messenger, in nanoseconds
    since the epoch."""

    messages: OutboundMessages
    trace_id: str
    began: int
    sockets: Sequence[Socket]


def keep_delivered(delivered: DeliverySpan) -> None:
    """Keeps the span of a delivery, from the messenger's batch to the bytes to each socket."""
    messages, trace_id, began, sockets = delivered
    ended = time.time_ns()
    attributes: Attributes = {
        "messaging.system": "palaver",
        "messaging.operation.name": "deliver",
        "messaging.message.id": text_from_id(messages.ids[0]),
        "messaging.batch.message_count": len(messages.ids),
        "palaver.chat_id": messages.chat_text,
        "palaver.seq": messages.first_seq,
        "palaver.sockets": len(sockets),
    }
    events = [Event("told", ended, socket_attributes(socket)) for socket in sockets[:MOST_EVENTS]]
    tracer.put(
        Span(
            "deliver message",
            "consumer",
            trace_id,
            new_span_id(),
            span_of_message(messages.ids[0]),
            began,
            ended,
            attributes,
            events=events,
        )
    )


def keep_frame(name: str, traceparent: str, socket: Socket, chat_id: bytes) -> None:
    """Keeps the span of a frame that has no answer, where its client wants it traced."""
    if not traceparent:
        return
    place = tracer.begin(traceparent, is_edge=True)
    if place is None or not place.sampled:
        return
    now = time.time_ns()
    attributes = {"palaver.chat_id": text_from_id(chat_id), **socket_attributes(socket)}
    tracer.put(Span(name, "server", place.trace_id, new_span_id(), place.span_id, now, now, attributes))


def socket_attributes(socket: Socket) -> Attributes:
    """Who a socket is."""
    return {
        "palaver.socket": socket.number,
        "palaver.generation": socket.generation.name,
        "user.id": text_from_id(socket.user_id),
        "session.id": text_from_id(socket.session_id),
    }


def begin_resume(traceparent: str, socket: Socket) -> ResumeSpan | None:
    """The span of a resume; None where it is not sampled."""
    place = tracer.begin(traceparent, is_edge=True)
    if place is None or not place.sampled:
        return None
    return ResumeSpan(place, socket_attributes(socket))
