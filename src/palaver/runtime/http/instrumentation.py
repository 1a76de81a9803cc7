"""Spans, log lines and metrics of HTTP requests: each has a server span, a line and a count.

Plain ASGI, around all else that a service does: a request costs it 30 microseconds with everything on.
"""

import time
from collections.abc import Callable
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palaver.runtime.printable import printable
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.log_context import mark_failed
from palaver.runtime.telemetry.spans import Attributes
from palaver.runtime.telemetry.tracing import ActiveSpan, tracer

REQUESTS = Counter("palaver_http_requests", "Requests answered.", ["route", "method", "status", "generation"])
SECONDS = Histogram(
    "palaver_http_request_seconds",
    "Time from a request's head to the end of its answer.",
    ["route", "method", "generation"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
IN_PROGRESS = Gauge("palaver_http_requests_in_progress", "Requests under way.")

METHODS = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"))
# What machines request every few seconds: lines of `debug`, and no traces begun
HEALTH_PATHS = frozenset(("/healthz", "/readyz", "/metrics"))
# The route of all paths that have none
UNKNOWN = "unknown"
AGENT_CHARACTERS = 200
PATH_CHARACTERS = 500

_ROUTE = "palaver.route"


def no_generation(_path: str) -> str:
    """The generation of private REST, and of health."""
    return "none"


class RequestInstrumentation:
    """ASGI middleware that traces, counts and logs every request.

    `is_edge`: it decides which traces are sampled, as the public door does. `generation_of(path)` names the
    public API that a path belongs to. `quiet_paths` are requested by machines, all the time.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        is_edge: bool,
        access_log: bool,
        generation_of: Callable[[str], str] = no_generation,
        quiet_paths: frozenset[str] = HEALTH_PATHS,
    ) -> None:
        self._app = app
        self._is_edge = is_edge
        self._access_log = access_log
        self._generation_of = generation_of
        self._quiet_paths = quiet_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not tracer.is_on:
            await self._serve(scope, receive, ResponseStart(send, None))
            return
        is_edge = self._is_edge and scope["path"] not in self._quiet_paths
        traceparent = text_of_header(scope, b"traceparent")
        with tracer.serve("", traceparent, attributes_of(scope), is_edge=is_edge) as span:
            await self._serve(scope, receive, ResponseStart(send, span))

    async def _serve(self, scope: Scope, receive: Receive, response: "ResponseStart") -> None:
        IN_PROGRESS.inc()
        began = time.perf_counter()
        try:
            await self._app(scope, receive, response.send)
        except Exception as error:
            mark_failed(type(error).__name__)
            raise
        finally:
            IN_PROGRESS.dec()
            # The server responds for an app that ends without a response
            self._record(scope, response.status or 500, time.perf_counter() - began, response.span)

    def _record(self, scope: Scope, status: int, seconds: float, span: ActiveSpan | None) -> None:
        path, method = scope["path"], scope["method"]
        route, generation = route_of(scope), self._generation_of(path)
        count(route, method if method in METHODS else "other", status, generation, seconds)
        if span is not None:
            finish_span(span, route, method, status)
        if self._access_log:
            write = log.debug if path in self._quiet_paths else log.info
            write(
                "request",
                method=method,
                route=route,
                status=status,
                duration_ms=round(seconds * 1000, 3),
                generation=generation,
                agent=agent_of(scope),
            )


class ResponseStart:
    """The response to one request, on its way out. `status`: 0 until it has begun."""

    __slots__ = ("_send", "span", "status")

    def __init__(self, send: Send, span: ActiveSpan | None) -> None:
        self._send = send
        self.status = 0
        self.span = span

    async def send(self, message: Message) -> None:
        """Passes a part of it on; its head with `traceresponse` (W3C Trace Context level 2, §4)."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.span is not None and self.span.trace_id:
                header = (b"traceresponse", self.span.traceparent.encode())
                message["headers"] = [*message.get("headers", ()), header]
        await self._send(message)


def attributes_of(scope: Scope) -> Attributes:
    """A server span's attributes before the request is served (OpenTelemetry's HTTP conventions). No query:
    it may hold a token."""
    method = scope["method"]
    attributes: Attributes = {
        "http.request.method": method if method in METHODS else "_OTHER",
        "url.scheme": scope["scheme"],
        "url.path": scope["path"][:PATH_CHARACTERS],
        "user_agent.original": agent_of(scope),
    }
    client, server = scope.get("client"), scope.get("server")
    if client:
        attributes["client.address"] = client[0]
    if server:
        attributes["server.address"] = server[0]
        if server[1] is not None:
            attributes["server.port"] = server[1]
    return attributes


def finish_span(span: ActiveSpan, route: str, method: str, status: int) -> None:
    """Names a span by its route, and notes how the request ended. Only a failure of ours is an error."""
    verb = method if method in METHODS else "HTTP"
    if route == UNKNOWN:
        span.name = verb
    else:
        span.name = f"{verb} {route}"
        span.attributes["http.route"] = route
    span.attributes["http.response.status_code"] = status
    if status >= 500 and not span.error:
        span.error = str(status)
    if span.error:
        span.attributes["error.type"] = span.error


def count(route: str, method: str, status: int, generation: str, seconds: float) -> None:
    """Counts an answer. The labels are few by design: nothing that a client makes up is one."""
    key = (route, method, status, generation)
    known = _metrics.get(key)
    if known is None:
        known = _metrics[key] = REQUESTS.labels(*key), SECONDS.labels(route, method, generation)
    known[0].inc()
    known[1].observe(seconds)


# Looking the children up by their labels would take longer than counting
_metrics: dict[tuple[str, str, int, str], tuple[Counter, Histogram]] = {}


def set_route(scope: Scope, route: str) -> None:
    """Notes the route of a request that no router sees."""
    scope[_ROUTE] = route


def route_of(scope: Scope) -> str:
    """The template of the path that was served, e.g. `/v2/chats/{chat_id}`; `unknown` where none was."""
    route: Any = scope.get(_ROUTE)
    if route is None:
        # FastAPI keeps the route as it was included in a scope of its own; Starlette has no such thing
        route = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
        route = getattr(route, "path", UNKNOWN)
    return str(route)


def agent_of(scope: Scope) -> str:
    """The client's program, as it calls itself, as far as it can be shown."""
    return printable(text_of_header(scope, b"user-agent"), AGENT_CHARACTERS)


def text_of_header(scope: Scope, name: bytes) -> str:
    """The first header of that name; empty where there is none."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return ""
