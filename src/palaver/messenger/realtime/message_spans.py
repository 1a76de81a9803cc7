"""What is kept of messages' way through the messenger: spans, made when their batch is on disk."""

from collections.abc import Sequence

from palaver.contracts.ids import text_from_id
from palaver.messenger.domain import Message
from palaver.messenger.pending_send import PendingSend, stored_keys
from palaver.runtime.telemetry.spans import Attributes, Link, Span
from palaver.runtime.telemetry.trace_context import new_span_id, new_trace_id
from palaver.runtime.telemetry.tracing import error_code, tracer

MOST_LINKS = 128


def is_sampled(traceparent: str) -> bool:
    """Whether spans are made. The edge wrote it: its form is right."""
    return traceparent[-1:] == "1"


def span_of_message(message_id: bytes) -> str:
    """The id of the span in which a message was journalled. Made from the message's own id, so that whoever
    reads the message later, on a resume, can name the span."""
    return message_id[8:].hex()


def traceparent_of_send(send: PendingSend) -> str:
    """What gateways are told with the new messages of a sampled request."""
    return f"00-{send.traceparent[3:35]}-{span_of_message(send.ids[0])}-01"


def traceparent_of_message(message: Message) -> str:
    """What gateways are told with a message from the journal, which does not know whether it was sampled."""
    if not message.trace_id:
        return ""
    return f"00-{message.trace_id}-{span_of_message(message.id)}-00"


def keep_batch(sends: Sequence[PendingSend], began: int, ended: int, error: Exception | None) -> None:
    """Makes the spans of a batch that was written from `began` to `ended` (nanoseconds since the epoch): its
    own, and one for each of its requests that is sampled. Nothing where none is, and it was fast."""
    if not tracer.is_on:
        return
    sampled = [send for send in sends if send.traceparent and not send.stale]
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
    code = "" if error is None else error_code(error)
    for span in spans:
        tracer.put(span)
    tracer.put(Span("commit batch", "client", *batch, "", began, ended, attributes, code, links))


def span_of_send(send: PendingSend, batch: Link, ended: int) -> Span:
    """From the moment that the messenger heard of a request to send to the one at which it was on disk."""
    attributes: Attributes = {
        "messaging.system": "palaver",
        "messaging.operation.name": "journal",
        "messaging.batch.message_count": len(send.texts),
        "user.id": text_from_id(send.sender_id),
        "palaver.chat_id": text_from_id(send.membership.chat_id),
    }
    span_id = new_span_id()
    if send.error is None:
        first = stored_keys(send)[0]
        span_id = span_of_message(first.id)
        attributes["messaging.message.id"] = text_from_id(first.id)
        attributes["palaver.seq"] = first.seq
    return Span(
        "journal message",
        "producer",
        send.traceparent[3:35],
        span_id,
        send.traceparent[36:52],
        send.came_at,
        ended,
        attributes,
        "" if send.error is None else error_code(send.error),
        [batch],
    )
