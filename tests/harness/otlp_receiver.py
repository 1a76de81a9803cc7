"""An OTLP collector in this process: it takes spans and log lines by gRPC, and records them."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import (
    LogsServiceServicer,
    add_LogsServiceServicer_to_server,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)


class Receiver:
    """What a collector received. Spans and lines are messages of OTLP, each beside its resource."""

    def __init__(self) -> None:
        self.port = 0
        self.spans: list[tuple[dict[str, Any], Any]] = []
        self.lines: list[tuple[dict[str, Any], Any]] = []
        self.headers: dict[str, Any] = {}

    @property
    def endpoint(self) -> str:
        """Its address as the setting wants it."""
        return f"http://127.0.0.1:{self.port}"

    def span(self, name: str) -> Any:
        """The one span of that name."""
        (found,) = [span for _, span in self.spans if span.name == name]
        return found

    def names(self) -> list[str]:
        """The names of the spans."""
        return [span.name for _, span in self.spans]

    def events(self) -> list[str]:
        """The events of the lines."""
        return [line.body.string_value for _, line in self.lines]


def values_of(attributes: Any) -> dict[str, Any]:
    """OTLP's attributes as a dict."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


class Traces(TraceServiceServicer):
    """Takes spans."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - OTLP's name
        """Records them."""
        self._receiver.headers.update(dict(context.invocation_metadata()))
        for of_resource in request.resource_spans:
            resource = values_of(of_resource.resource.attributes)
            for scope in of_resource.scope_spans:
                self._receiver.spans.extend((resource, span) for span in scope.spans)
        return ExportTraceServiceResponse()


class Logs(LogsServiceServicer):
    """Takes log lines."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - OTLP's name and form
        """Records them."""
        for of_resource in request.resource_logs:
            resource = values_of(of_resource.resource.attributes)
            for scope in of_resource.scope_logs:
                self._receiver.lines.extend((resource, line) for line in scope.log_records)
        return ExportLogsServiceResponse()


@contextlib.contextmanager
def running_receiver(port: int = 0) -> Iterator[Receiver]:
    """A collector on a port until the block ends."""
    receiver = Receiver()
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    add_TraceServiceServicer_to_server(Traces(receiver), server)
    add_LogsServiceServicer_to_server(Logs(receiver), server)
    receiver.port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield receiver
    finally:
        server.stop(0).wait()
