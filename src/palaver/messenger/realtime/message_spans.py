"""Spans of messages in the messenger, made when their batch is on disk."""

from collections.abc import Sequence

from palaver.contracts.ids import span_id_of_message, text_from_id
from palaver.messenger.domain import Message
from palaver.messenger.pending_send import PendingSend, stored_keys
from palaver.runtime.telemetry.spans import Attributes, Link, Span, messaging_attributes
from palaver.runtime.telemetry.trace_context import NO_TRACE, TraceContext, new_span_id, new_trace_id
from palaver.runtime.telemetry.tracing import error_code, tracer

MOST_LINKS = 128


def trace_of_send(send: PendingSend) -> TraceContext:
    """The context in which new messages are delivered; `NO_TRACE` where their request is not sampled."""
    if not send.trace.sampled:
        return NO_TRACE
    return TraceContext(send.trace.trace_id, span_id_of_message(send.ids[0]), True)


def trace_of_message(message: Message) -> TraceContext:
    """The context in which a message from the journal is delivered. The journal does not know whether it was
    sampled."""
    return TraceContext(message.trace_id, span_id_of_message(message.id), False)


def record_batch(sends: Sequence[PendingSend], began: int, ended: int, error: Exception | None) -> None:
    """Records the spans of a batch that was written from `began` to `ended` (nanoseconds since the epoch):
    its own, and one for each of its requests that is sampled. None where no request is, and it was fast."""
    if not tracer.is_on:
        return
    sampled = [send for send in sends if send.trace.sampled and not send.stale]
    if not sampled and error is None and ended - began < tracer.slow_ns:
        return
    batch = Link(new_trace_id(), new_span_id())
    spans = [span_of_send(send, batch, ended) for send in sampled]
    attributes: Attributes = {
        "db.system.name": "sqlite",
        "db.operation.name": "write batch",
        "db.operation.batch.size": len(sends),
        "messaging.batch.message_count": sum(len(send.texts) for send in sends),
    }
    links = [Link(span.trace_id, span.span_id) for span in spans[:MOST_LINKS]]
    spans.append(Span("commit batch", "client", *batch, "", began, ended, attributes, code_of(error), links))
    for span in spans:
        tracer.put(span)


def span_of_send(send: PendingSend, batch: Link, ended: int) -> Span:
    """From the moment at which the messenger received a send to the one at which it was on disk."""
    chat_id, trace, code = text_from_id(send.membership.chat_id), send.trace, code_of(send.error)
    attributes = messaging_attributes("journal", len(send.texts), chat_id)
    attributes["user.id"] = text_from_id(send.sender_id)
    span_id = new_span_id()
    if send.error is None:
        first = stored_keys(send)[0]
        span_id = span_id_of_message(first.id)
        attributes["messaging.message.id"] = text_from_id(first.id)
        attributes["palaver.seq"] = first.seq
    ids = (trace.trace_id, span_id, trace.span_id)
    return Span("journal message", "producer", *ids, send.came_at, ended, attributes, code, [batch])


def code_of(error: Exception | None) -> str:
    """The `error` of a span."""
    return "" if error is None else error_code(error)
