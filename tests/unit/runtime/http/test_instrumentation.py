"""HTTP requests as traces, lines and metrics tell of them, on a real server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from palaver.runtime.http.instrumentation import REQUESTS, RequestInstrumentation
from palaver.runtime.http.server import serving_http
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.log_context import bind_field, mark_failed
from tests.harness.tracing import PARENT, SAMPLED, TRACE, UNSAMPLED, Recorded, recording

SECRET = "very.secret.token"


async def greet(name: str) -> Response:
    """A route with a template."""
    bind_field("user_id", name)
    log.info("greeted")
    return PlainTextResponse(name)


async def meet(request: Request) -> Response:
    """A route that reads a body and knows nobody."""
    await request.body()
    log.info("met")
    return PlainTextResponse("somebody")


async def fail() -> Response:
    """A route that fails in a way that is foreseen."""
    mark_failed("unavailable")
    return PlainTextResponse("away", 503)


async def break_down() -> Response:
    """A route that fails in a way that is not."""
    raise LookupError(SECRET)


def app_of(**options: Any) -> RequestInstrumentation:
    """An app with those routes."""
    app = FastAPI()
    app.get("/greet/{name}")(greet)
    app.post("/meet")(meet)
    app.get("/fail")(fail)
    app.get("/break")(break_down)
    app.get("/healthz")(meet)
    return RequestInstrumentation(app, **{"is_edge": True, "access_log": True, **options})


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    with recording() as recorded:
        yield recorded


class Connection:
    """One HTTP/1.1 connection, kept alive."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def ask(self, target: str, *, method: str = "GET", body: bytes = b"", **headers: str) -> None:
        """Writes a request without waiting for its answer."""
        given = {"host": "x", "content-length": str(len(body)), **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
        self.writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)

    async def hear(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next answer."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers

    async def call(self, target: str, **options: Any) -> tuple[int, dict[str, str]]:
        """One request, and its answer."""
        self.ask(target, **options)
        return await self.hear()


@contextlib.asynccontextmanager
async def connected(app: RequestInstrumentation) -> AsyncIterator[Connection]:
    """A connection to a server of the app."""
    async with serving_http(app, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            yield Connection(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()


async def test_the_clients_trace_goes_on(recorded: Recorded) -> None:
    """A client could not find its request in our traces, nor its answer's span."""
    async with connected(app_of()) as connection:
        _, headers = await connection.call("/greet/bob", traceparent=SAMPLED, user_agent="curl/8")
    span = recorded.span("GET /greet/{name}")
    assert headers["traceresponse"] == f"00-{TRACE}-{span.span_id}-01"
    assert (span.kind, span.trace_id, span.parent_id, span.error) == ("server", TRACE, PARENT, "")
    assert span.end > span.start
    expected = {
        "http.request.method": "GET",
        "http.route": "/greet/{name}",
        "url.path": "/greet/bob",
        "http.response.status_code": 200,
        "user_agent.original": "curl/8",
        "client.address": "127.0.0.1",
        "user.id": "bob",
    }
    assert expected.items() <= span.attributes.items()


@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-" + "0" * 32 + f"-{PARENT}-01"])
async def test_without_a_trace_one_is_begun(traceparent: str) -> None:
    """A client that sends nothing, or nonsense, would get no id that it could show to an operator."""
    with recording(per_second=1) as recorded:
        async with connected(app_of()) as connection:
            _, headers = await connection.call("/greet/bob", traceparent=traceparent)
    span = recorded.span("GET /greet/{name}")
    assert headers["traceresponse"] == f"00-{span.trace_id}-{span.span_id}-01"
    assert span.trace_id not in (TRACE, "0" * 32)
    assert span.parent_id == ""


async def test_what_is_not_sampled_costs_no_disk(recorded: Recorded) -> None:
    """A busy system would write a span for each request, and fill its disk."""
    async with connected(app_of()) as connection:
        _, headers = await connection.call("/greet/bob", traceparent=UNSAMPLED)
    assert recorded.spans == []
    assert headers["traceresponse"].startswith(f"00-{TRACE}-")
    assert headers["traceresponse"].endswith("-00")


@pytest.mark.parametrize(("path", "error"), [("/fail", "unavailable"), ("/break", "LookupError")])
async def test_failures_are_kept_unasked(recorded: Recorded, path: str, error: str) -> None:
    """The one request of a thousand that failed would be the one without a trace."""
    app = app_of()
    async with connected(app) as connection:
        status, _ = await connection.call(path, traceparent=UNSAMPLED)
    span = recorded.span(f"GET {path}")
    assert (span.error, span.attributes["error.type"]) == (error, error)
    assert span.attributes["http.response.status_code"] == status
    assert span.attributes["palaver.kept"] == "error"
    [line] = [line for line in recorded.lines if line["event"] == "request"]
    assert (line["status"], line["trace_id"]) == (status, TRACE)
    assert SECRET not in str(recorded.lines) + str(span.attributes)


async def test_mistakes_of_clients_are_no_failures(recorded: Recorded) -> None:
    """Anybody who guesses paths could fill the disk with traces."""
    async with connected(app_of()) as connection:
        assert (await connection.call("/nothing"))[0] == 404
    assert recorded.spans == []


async def test_slow_requests_are_kept_unasked() -> None:
    """Nobody could see why a request was slow."""
    with recording(slow_seconds=0.0) as recorded:
        async with connected(app_of()) as connection:
            await connection.call("/greet/bob", traceparent=UNSAMPLED)
    assert recorded.span("GET /greet/{name}").attributes["palaver.kept"] == "slow"


async def test_behind_the_edge_nothing_is_sampled_unasked() -> None:
    """Services would keep halves of traces, and more of them than the setting says."""
    with recording(per_second=100) as recorded:
        async with connected(app_of(is_edge=False)) as connection:
            await connection.call("/greet/bob")
            await connection.call("/greet/alice", traceparent=SAMPLED)
    assert recorded.span("GET /greet/{name}").trace_id == TRACE


async def test_health_begins_no_traces() -> None:
    """What machines ask every second would use up the traces that are kept, and fill the log."""
    with recording(per_second=100) as recorded:
        async with connected(app_of()) as connection:
            await connection.call("/healthz")
            assert recorded.spans == []
            assert recorded.lines[-1]["log_level"] == "debug"
            await connection.call("/healthz", traceparent=SAMPLED)
    assert recorded.span("GET /healthz").trace_id == TRACE


async def test_each_request_is_a_line(recorded: Recorded) -> None:
    """Nobody could tell afterwards what was asked, by whom, and how it ended."""
    app = app_of(generation_of=lambda path: "v2" if path.startswith("/greet") else "none")
    async with connected(app) as connection:
        await connection.call("/greet/bob", traceparent=SAMPLED, user_agent="a\x85b" + "c" * 300)
        await connection.call("/nothing", method="PROPFIND")
    first, second = [line for line in recorded.lines if line["event"] == "request"]
    assert first.pop("duration_ms") > 0
    assert first == {
        "event": "request",
        "log_level": "info",
        "trace_id": TRACE,
        "method": "GET",
        "route": "/greet/{name}",
        "status": 200,
        "generation": "v2",
        "agent": "ab" + "c" * 197,
        "user_id": "bob",
    }
    assert (second["method"], second["route"], second["status"]) == ("PROPFIND", "unknown", 404)
    assert (second["generation"], second["agent"]) == ("none", "")


async def test_no_query_is_written_down(recorded: Recorded) -> None:
    """A token in an address would lie in logs and traces."""
    async with connected(app_of()) as connection:
        await connection.call(f"/greet/bob?token={SECRET}", traceparent=SAMPLED)
        await connection.call(f"/nothing?token={SECRET}", traceparent=SAMPLED)
    assert len(recorded.spans) == 2
    assert SECRET not in str([span.attributes for span in recorded.spans]) + str(recorded.lines)


async def test_labels_are_bounded() -> None:
    """Whoever makes up methods and paths would fill the memory with metrics."""
    app = app_of(access_log=False)
    async with connected(app) as connection:
        for number in range(3):
            await connection.call(f"/made-up/{number}", method="PROPFIND")
            await connection.call(f"/greet/{number}")
    labels = {sample.labels["route"] for metric in REQUESTS.collect() for sample in metric.samples}
    assert {"/greet/{name}", "unknown"} <= labels
    assert not [route for route in labels if "made-up" in route or route.startswith("/greet/0")]
    assert REQUESTS.labels("unknown", "other", 404, "none")._value.get() >= 3


async def test_requests_of_one_connection_do_not_mix(recorded: Recorded) -> None:
    """Lines of one user's request would name the user of the request before it."""
    async with connected(app_of()) as connection:
        # In turn, then all at once; a large body makes the server stop and go on with reading
        for _ in range(2):
            await connection.call("/greet/bob", traceparent=SAMPLED)
            await connection.call("/meet", method="POST", body=bytes(300_000))
        for _ in range(3):
            connection.ask("/greet/alice", traceparent=SAMPLED)
            connection.ask("/meet", method="POST", body=bytes(300_000))
        for _ in range(6):
            await connection.hear()
    met = [line for line in recorded.lines if line["event"] == "met" or line.get("route") == "/meet"]
    assert len(met) == 10
    assert not [line for line in met if "user_id" in line or line["trace_id"] == TRACE]
    greeted = [line.get("user_id") for line in recorded.lines if line["event"] == "greeted"]
    assert greeted == ["bob"] * 2 + ["alice"] * 3


async def test_switched_off_it_says_nothing() -> None:
    """Who does without traces and lines would still pay for them."""
    with recording() as recorded:
        pass
    async with connected(app_of(access_log=False)) as connection:
        status, headers = await connection.call("/greet/bob", traceparent=SAMPLED)
    assert status == 200
    assert "traceresponse" not in headers
    assert recorded.spans == []
