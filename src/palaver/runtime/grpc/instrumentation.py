"""Spans, log lines and metrics of gRPC calls, on both ends (OpenTelemetry's RPC conventions)."""

import time
from collections.abc import Awaitable
from typing import Any, TypeVar

import grpc
from prometheus_client import Counter, Histogram

from palaver.contracts.errors import INTERNAL, PalaverError
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.spans import Attributes
from palaver.runtime.telemetry.tracing import ActiveSpan, error_code, tracer

CALLS = Counter(
    "palaver_grpc_calls",
    "Calls answered, by code of the error catalogue; `ok` where there was no error.",
    ["method", "code"],
)
SECONDS = Histogram(
    "palaver_grpc_call_seconds",
    "Time of calls.",
    ["method"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
RETRIES = Counter(
    "palaver_grpc_retries", "Calls that were made again, because the other service was away.", ["method"]
)
_OK = grpc.StatusCode.OK.value[0]

A = TypeVar("A")


class Method:
    """The instrumentation of one method, in the process that serves it."""

    def __init__(self, service: str, name: str) -> None:
        self._service = service
        self._name = name
        self._seconds = SECONDS.labels(name)
        self._ok = CALLS.labels(name, "ok")

    async def serve(self, traceparent: str, response: Awaitable[A]) -> A:
        """Awaits `response` in a span of the caller's trace. Raises what it raises, counted and logged."""
        began = time.perf_counter()
        attributes = attributes_of(self._service, self._name)
        try:
            with tracer.serve(
                f"{self._service}/{self._name}", traceparent, attributes, is_edge=False
            ) as span:
                try:
                    found = await response
                except BaseException as error:
                    self._record_error(span, error)
                    raise
                attributes["rpc.grpc.status_code"] = _OK
                self._ok.inc()
                return found
        finally:
            self._seconds.observe(time.perf_counter() - began)

    def _record_error(self, span: ActiveSpan, error: BaseException) -> None:
        """What is no `Exception` cancels a call: its caller is gone, or waits no more."""
        if not isinstance(error, Exception):
            CALLS.labels(self._name, "cancelled").inc()
            span.attributes["rpc.grpc.status_code"] = grpc.StatusCode.CANCELLED.value[0]
            return
        kind = error.kind if isinstance(error, PalaverError) else INTERNAL
        CALLS.labels(self._name, kind.code).inc()
        span.attributes["rpc.grpc.status_code"] = grpc.StatusCode[kind.grpc].value[0]
        if kind.http >= 500:
            span.attributes["error.type"] = error_code(error)
        if not isinstance(error, PalaverError):
            log.error("call_failed", method=self._name, exc_info=error)
        elif kind.http >= 500:
            log.warning("call_refused", method=self._name, code=kind.code, debug=error.debug)


def client_span(service: str, method: str) -> ActiveSpan:
    """The span of a call to another service: `with client_span(…) as span`. Empty where no trace is."""
    return tracer.span(f"{service}/{method}", "client", attributes_of(service, method))


def set_status(span: ActiveSpan, status: Any) -> None:
    """Records the `grpc.StatusCode` with which a call ended."""
    span.attributes["rpc.grpc.status_code"] = status.value[0]


def attributes_of(service: str, method: str) -> Attributes:
    """The attributes of every span of a call."""
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
