"""What is kept of messages' way through the messenger: spans, made when their batch is on disk."""

from collections.abc import Sequence

from palaver.contracts.ids import span_id_of_message, text_from_id
from palaver.messenger.domain import Message
from palaver.messenger.sequencing import Append, messages_of
from palaver.runtime.telemetry.spans import Attributes, Link, Span
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


def keep_batch(appends: Sequence[Append], began: int, ended: int, error: Exception | None) -> None:
    """Makes the spans of a batch that was written from `began` to `ended` (nanoseconds since the epoch): its
    own, and one for each of its requests that is sampled. Nothing where none is, and it was fast."""
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
    code = "" if error is None else error_code(error)
    for span in spans:
        tracer.put(span)
    tracer.put(Span("commit batch", "client", *batch, "", began, ended, attributes, code, links))


def span_of_append(append: Append, batch: Link, ended: int) -> Span:
    """From the moment that the messenger heard of a request to send to the one at which it was on disk."""
    attributes: Attributes = {
        "messaging.system": "palaver",
        "messaging.operation.name": "journal",
        "messaging.batch.message_count": len(append.texts),
        "user.id": text_from_id(append.sender_id),
        "palaver.chat_id": text_from_id(append.audience.chat_id),
    }
    span_id = new_span_id()
    if append.error is None:
        first = messages_of(append)[0]
        span_id = span_id_of_message(first.id)
        attributes["messaging.message.id"] = text_from_id(first.id)
        attributes["palaver.seq"] = first.seq
    return Span(
        "journal message",
        "producer",
        append.trace.trace_id,
        span_id,
        append.trace.span_id,
        append.came_at,
        ended,
        attributes,
        "" if append.error is None else error_code(append.error),
        [batch],
    )
