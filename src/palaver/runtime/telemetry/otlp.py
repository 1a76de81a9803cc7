"""Spans and log lines to an OTLP collector by gRPC, with the exporters of OpenTelemetry's SDK.

Importing this takes a third of a second: only where a collector is set.
"""

import logging
import socket
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import grpc
import msgspec
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

import palaver
from palaver.runtime.startup import StartError
from palaver.runtime.telemetry.masking import mask_spans
from palaver.runtime.telemetry.spans import Span

# How long a collector may take to answer
EXPORT_SECONDS = 3.0
# The SDK would try again for minutes; our spool decides when. A tuple without any code means its default
_RETRIED = (grpc.StatusCode.OK,)
_CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)

_SEVERITIES = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}
_SCOPE = InstrumentationScope("palaver", palaver.__version__)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_decode_span = msgspec.json.Decoder(Span).decode


class ExportError(Exception):
    """The collector did not take what it was given; the text is its reason."""


class Collector:
    """One signal's way to the collector: JSON lines are converted to the SDK's records and exported."""

    def __init__(self, exporter: Any, convert: Callable[[bytes], Any], failure: "LastFailure") -> None:
        self._exporter = exporter
        self._convert = convert
        self._failure = failure

    def write(self, lines: Sequence[bytes]) -> None:
        """Exports them. Raises `ExportError`, after `EXPORT_SECONDS` at the latest."""
        result = self._exporter.export([self._convert(line) for line in lines])
        if result.name != "SUCCESS":
            raise ExportError(self._failure.take())

    def stop(self) -> None:
        """Ends an export under way, and all others."""
        self._exporter.shutdown()


class LastFailure(logging.Handler):
    """Keeps the SDK's reason of a failed export, for the one line that we write. Each thread has its own."""

    def __init__(self) -> None:
        super().__init__()
        self._own = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Remembers one record."""
        self._own.reason = record.getMessage()

    def take(self) -> str:
        """The last one."""
        return str(getattr(self._own, "reason", "the export failed"))


def open_collectors(service: str, instance: str, endpoint: str) -> tuple[Collector, Collector]:
    """Where spans and where lines go. Does not connect yet. Raises `StartError`.

    `OTEL_EXPORTER_OTLP_…` variables set the rest: headers, certificates, compression.
    """
    resource = resource_of(service, instance)
    # Its stubs know texts alone as values of options
    options: Any = _CHANNEL_OPTIONS
    try:
        spans = OTLPSpanExporter(
            endpoint, timeout=EXPORT_SECONDS, channel_options=options, retryable_error_codes=_RETRIED
        )
        lines = OTLPLogExporter(
            endpoint, timeout=EXPORT_SECONDS, channel_options=options, retryable_error_codes=_RETRIED
        )
    except Exception as error:
        raise StartError(f"cannot export to {endpoint}: {error}") from error
    failure = silence_sdk()
    return (
        Collector(spans, lambda line: readable_span(_decode_span(mask_spans(line)), resource), failure),
        Collector(lines, lambda line: readable_line(msgspec.json.decode(line), resource), failure),
    )


def silence_sdk() -> LastFailure:
    """Keeps the SDK's lines out of the log, which would get one for each failed export."""
    failure = LastFailure()
    logger = logging.getLogger("opentelemetry")
    logger.handlers = [failure]
    logger.propagate = False
    # Its filter against repetitions takes a failed export of spans and one of lines for the same
    logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").filters.clear()
    return failure


def resource_of(service: str, instance: str) -> Resource:
    """The process (OpenTelemetry's resource conventions). `OTEL_RESOURCE_ATTRIBUTES` may add to it."""
    return Resource.create(
        {
            "service.name": service,
            "service.namespace": "palaver",
            "service.version": palaver.__version__,
            # A process whose instance has no name of its own is a new one at each start
            "service.instance.id": str(uuid4()) if instance == service else instance,
            "host.name": socket.gethostname(),
        }
    )


def readable_span(span: Span, resource: Resource) -> ReadableSpan:
    """A span as a record of the SDK."""
    is_remote = span.kind in ("server", "consumer")
    return ReadableSpan(
        span.name,
        context_of(span.trace_id, span.span_id),
        context_of(span.trace_id, span.parent_id, is_remote) if span.parent_id else None,
        resource,
        span.attributes,
        [Event(event.name, event.attributes, event.at) for event in span.events or ()],
        [Link(context_of(*link)) for link in span.links or ()],
        SpanKind[span.kind.upper()],
        status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
        start_time=span.start,
        end_time=span.end,
        instrumentation_scope=_SCOPE,
    )


def context_of(trace_id: str, span_id: str, is_remote: bool = False) -> SpanContext:
    """A place in a trace as a record of the SDK."""
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote, _SAMPLED)


def readable_line(fields: dict[str, Any], resource: Resource) -> ReadableLogRecord:
    """A log line as a record of the SDK: what the data model has no place for is an attribute."""
    level, event = fields.pop("level"), fields.pop("event")
    trace_id, span_id = fields.pop("trace_id"), fields.pop("span_id")
    written = (datetime.fromisoformat(fields.pop("time")) - _EPOCH) // _MICROSECOND * 1000
    del fields["service"]
    fields.pop("instance", None)
    place = None
    if trace_id and span_id:
        place = set_span_in_context(NonRecordingSpan(context_of(trace_id, span_id)))
    record = LogRecord(
        timestamp=written,
        observed_timestamp=written,
        context=place,
        severity_text=level,
        severity_number=_SEVERITIES.get(level, SeverityNumber.UNSPECIFIED),
        body=event,
        attributes=fields,
    )
    return ReadableLogRecord(record, resource, _SCOPE)
