"""Spans of messages in the messenger, made when their batch is on disk."""

from collections.abc import Sequence

from palaver.contracts.ids import span_id_of_message, text_from_id
from palaver.messenger.domain import Message
from palaver.messenger.sequencing import Append, messages_of
from palaver.runtime.telemetry.spans import Attributes, Link, Span, messaging_attributes
from palaver.runtime.telemetry.trace_context import NO_TRACE, TraceContext, new_span_id, new_trace_id
from palaver.runtime.telemetry.tracing import error_code, tracer

MOST_LINKS = 128


def trace_of_append(append: Append) -> TraceContext:
    """The context in which new messages are delivered; `NO_TRACE` where their request is not sampled."""
    if not append.trace.sampled:
        return NO_TRACE
    return TraceContext(append.trace.trace_id, span_id_of_message(append.ids[0]), True)


def trace_of_message(message: Message) -> TraceContext:
    """The context in which a message from the journal is delivered. The journal does not know whether it was
    sampled."""
    return TraceContext(message.trace_id, span_id_of_message(message.id), False)


def record_batch(appends: Sequence[Append], began: int, ended: int, error: Exception | None) -> None:
    """Records the spans of a batch that was written from `began` to `ended` (nanoseconds since the epoch):
    its own, and one for each of its requests that is sampled. None where no request is, and it was fast."""
    if not tracer.is_on:
        return
    sampled = [append for append in appends if append.trace.sampled and not append.stale]
    if not sampled and error is None and ended - began < tracer.slow_ns:
        return
    batch = Link(new_trace_id(), new_span_id())
    spans = [span_of_append(append, batch, ended) for append in sampled]
    attributes: Attributes = {
        "db.system.name": "sqlite",
        "db.operation.name": "write batch",
        "db.operation.batch.size": len(appends),
        "messaging.batch.message_count": sum(len(append.texts) for append in appends),
    }
    links = [Link(span.trace_id, span.span_id) for span in spans[:MOST_LINKS]]
    spans.append(Span("commit batch", "client", *batch, "", began, ended, attributes, code_of(error), links))
    for span in spans:
        tracer.put(span)


def span_of_append(append: Append, batch: Link, ended: int) -> Span:
    """From the moment at which the messenger received a request to the one at which it was on disk."""
    chat_id, trace, code = text_from_id(append.audience.chat_id), append.trace, code_of(append.error)
    attributes = messaging_attributes("journal", len(append.texts), chat_id)
    attributes["user.id"] = text_from_id(append.sender_id)
    span_id = new_span_id()
    if append.error is None:
        first = messages_of(append)[0]
        span_id = span_id_of_message(first.id)
        attributes["messaging.message.id"] = text_from_id(first.id)
        attributes["palaver.seq"] = first.seq
    ids = (trace.trace_id, span_id, trace.span_id)
    return Span("journal message", "producer", *ids, append.came_at, ended, attributes, code, [batch])


def code_of(error: Exception | None) -> str:
    """The `error` of a span."""
    return "" if error is None else error_code(error)
