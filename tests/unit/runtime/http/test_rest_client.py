"""REST between services, as traces tell of it."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from palaver.contracts.errors import RATE_LIMITED, UNAVAILABLE, PalaverError
from palaver.runtime.http.rest_client import SHARE_OF_ONE, RestClient
from palaver.runtime.http.server import serving_http
from palaver.runtime.open_files import inside_connections, open_files
from palaver.runtime.requester import work_for
from palaver.runtime.telemetry.tracing import tracer
from tests.harness.tracing import SAMPLED, TRACE, recording
from tests.harness.waiting import eventually


async def echo(request: Request) -> JSONResponse:
    """What was sent; with a status that the query asks for."""
    return JSONResponse(dict(request.headers), int(request.query_params.get("status", 200)))


APP = Starlette(routes=[Route("/things/{thing}", echo)])


async def test_a_call_carries_the_trace_on() -> None:
    """The other service would begin a trace of its own, and the request be in two halves."""
    async with serving_http(APP, "127.0.0.1", 0) as server:
        client = RestClient(f"http://127.0.0.1:{server.port}")
        with recording() as recorded, tracer.serve("request", SAMPLED, {}, is_edge=True) as work:
            told = await client.call("GET", "/things/7", query={"q": "secret"}, route="/things/{thing}")
        await client.close()
    span = recorded.span("GET /things/{thing}")
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
        with recording() as recorded:
            assert b"traceparent" not in await client.call("GET", "/things/7")
        await client.close()
    assert recorded.spans == []


@pytest.mark.parametrize(("query", "error"), [({"status": "503"}, "503"), ({"status": "404"}, "")])
async def test_failures_of_the_other_are_marked(query: dict[str, Any], error: str) -> None:
    """A trace would not show which service has failed."""
    async with serving_http(APP, "127.0.0.1", 0) as server:
        client = RestClient(f"http://127.0.0.1:{server.port}")
        with (
            recording() as recorded,
            tracer.serve("request", SAMPLED, {}, is_edge=True),
            pytest.raises(PalaverError),
        ):
            await client.call("GET", "/things/7", query=query)
        await client.close()
    assert recorded.span("GET /things/7").error == error


async def test_a_service_that_is_away_is_marked() -> None:
    """A trace would show a call that ended well, or none."""
    client = RestClient("http://127.0.0.1:9")
    with (
        recording() as recorded,
        tracer.serve("request", SAMPLED, {}, is_edge=True),
        pytest.raises(PalaverError) as caught,
    ):
        await client.call("GET", "/things/7")
    await client.close()
    assert caught.value.kind is UNAVAILABLE
    assert recorded.span("GET /things/7").error == "unavailable"


async def test_one_requester_cannot_have_all_connections() -> None:
    """One address with slow sign-ins would keep everybody else from auth."""
    go_on = asyncio.Event()
    share = inside_connections(open_files()) // SHARE_OF_ONE
    held = 0

    async def hold(_: Request) -> JSONResponse:
        nonlocal held
        held += 1
        await go_on.wait()
        return JSONResponse({})

    async def call_for(key: str, path: str) -> bytes:
        work_for(key)
        return await client.call("GET", path)

    app = Starlette(routes=[Route("/slow", hold), Route("/things/{thing}", echo)])
    async with serving_http(app, "127.0.0.1", 0) as server:
        client = RestClient(f"http://127.0.0.1:{server.port}")
        waiting = [asyncio.create_task(call_for("greedy", "/slow")) for _ in range(share)]
        await eventually(lambda: held == share, "all are held")
        with pytest.raises(PalaverError) as refused:
            await asyncio.create_task(call_for("greedy", "/things/7"))
        assert (refused.value.kind, refused.value.retry_after) == (RATE_LIMITED, 1.0)
        await asyncio.create_task(call_for("alice", "/things/7"))
        go_on.set()
        await asyncio.gather(*waiting)
        # Whoever was answered may call again
        await asyncio.create_task(call_for("greedy", "/things/7"))
        await client.close()


# ---- several replicas ----


def naming(name: str) -> Starlette:
    """A service that answers with a name."""

    async def answer(_: Request) -> JSONResponse:
        return JSONResponse(name)

    return Starlette(routes=[Route("/name", answer, methods=["GET", "POST"])])


async def test_calls_spread_over_the_replicas_that_are_there() -> None:
    """One auth would serve all gateways; or each third sign-in fail while one of three is away."""
    async with (
        serving_http(naming("one"), "127.0.0.1", 0) as one,
        serving_http(naming("two"), "127.0.0.1", 0) as two,
    ):
        urls = [f"http://127.0.0.1:{port}" for port in (one.port, two.port, 9)]
        client = RestClient(",".join(urls))
        answers = Counter([await client.call("POST", "/name") for _ in range(60)])
        await client.close()
    assert set(answers) == {b'"one"', b'"two"'}
    assert min(answers.values()) > 5


async def test_a_name_is_what_the_replica_is_asked_for() -> None:
    """A proxy before auth, which knows it by its name, would answer for somebody else."""
    async with serving_http(APP, "127.0.0.1", 0) as server:
        client = RestClient(f"http://localhost:{server.port}")
        sent = json.loads(await client.call("GET", "/things/7"))
        await client.close()
    assert sent["host"] == f"localhost:{server.port}"
