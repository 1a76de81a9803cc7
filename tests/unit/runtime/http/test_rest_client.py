"""REST between services, as traces tell of it."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from palaver.contracts.errors import UNAVAILABLE, PalaverError
from palaver.runtime.http.rest_client import RestClient
from palaver.runtime.http.server import serving_http
from palaver.runtime.telemetry.tracing import tracer
from tests.harness.tracing import SAMPLED, TRACE, keeping


async def echo(request: Request) -> JSONResponse:
    """What was sent; with a status that the query asks for."""
    return JSONResponse(dict(request.headers), int(request.query_params.get("status", 200)))


APP = Starlette(routes=[Route("/things/{thing}", echo)])


async def test_a_call_carries_the_trace_on() -> None:
    """The other service would begin a trace of its own, and the request be in two halves."""
    async with serving_http(APP, "127.0.0.1", 0) as server:
        client = RestClient(f"http://127.0.0.1:{server.port}")
        with keeping() as kept, tracer.serve("request", SAMPLED, {}, is_edge=True) as work:
            told = await client.call("GET", "/things/7", query={"q": "secret"}, route="/things/{thing}")
        await client.close()
    span = kept.span("GET /things/{thing}")
    assert f"00-{TRACE}-{span.span_id}-01".encode() in told
    assert (span.kind, span.parent_id, span.error) == ("client", work.span_id, "")
    assert span.attributes == {
        "http.request.method": "GET",
        "url.path": "/things/{thing}",
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "http.response.status_code": 200,
    }


async def test_without_a_trace_none_is_said() -> None:
    """Every poll of a service for itself would be a trace in the other's files."""
    async with serving_http(APP, "127.0.0.1", 0) as server:
        client = RestClient(f"http://127.0.0.1:{server.port}")
        with keeping() as kept:
            assert b"traceparent" not in await client.call("GET", "/things/7")
        await client.close()
    assert kept.spans == []


@pytest.mark.parametrize(("query", "error"), [({"status": "503"}, "503"), ({"status": "404"}, "")])
async def test_failures_of_the_other_are_marked(query: dict[str, Any], error: str) -> None:
    """A trace would not show which service has failed."""
    async with serving_http(APP, "127.0.0.1", 0) as server:
        client = RestClient(f"http://127.0.0.1:{server.port}")
        with (
            keeping() as kept,
            tracer.serve("request", SAMPLED, {}, is_edge=True),
            pytest.raises(PalaverError),
        ):
            await client.call("GET", "/things/7", query=query)
        await client.close()
    assert kept.span("GET /things/7").error == error


async def test_a_service_that_is_away_is_marked() -> None:
    """A trace would show a call that ended well, or none."""
    client = RestClient("http://127.0.0.1:9")
    with (
        keeping() as kept,
        tracer.serve("request", SAMPLED, {}, is_edge=True),
        pytest.raises(PalaverError) as caught,
    ):
        await client.call("GET", "/things/7")
    await client.close()
    assert caught.value.kind is UNAVAILABLE
    assert kept.span("GET /things/7").error == "unavailable"
