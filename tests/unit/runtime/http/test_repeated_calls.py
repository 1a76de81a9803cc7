"""Calls between services that may be made twice, and those that may not."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from palaver.runtime.http.repeated_calls import ATTEMPTS, repeated_call
from palaver.runtime.http.rest_client import NoResponseError, RestClient
from palaver.runtime.http.server import serving_http
from tests.harness.tcp_proxy import HOST, tcp_proxy


async def answer(_: Request) -> JSONResponse:
    """A name."""
    return JSONResponse("one")


APP = Starlette(routes=[Route("/name", answer)])


async def test_a_call_that_may_be_made_twice_is_made_again_at_another_replica() -> None:
    """While one of two auths is frozen, each second request would fail or take ten seconds."""
    async with serving_http(APP, HOST, 0) as one, tcp_proxy(one.port) as frozen:
        frozen.cut = True
        for _ in range(4):
            client = RestClient(
                f"http://{HOST}:{one.port},http://{HOST}:{frozen.port}", 60.0, first_timeout=0.2
            )
            assert await repeated_call(client, "GET", "/name") == b'"one"'
            await client.close()


async def test_a_call_that_may_have_been_executed_is_not_made_again() -> None:
    """A sign-up that was executed and not answered would be refused as a second one."""
    calls = 0

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        await reader.readuntil(b"\r\n\r\n")
        calls += 1
        writer.transport.abort()

    server = await asyncio.start_server(break_off, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    client = RestClient(f"http://{HOST}:{port}")
    with pytest.raises(NoResponseError):
        await client.call("POST", "/users", body=b"{}")
    assert calls == 1
    with pytest.raises(NoResponseError):
        await repeated_call(client, "POST", "/users/names", body=b"{}")
    assert calls == 1 + ATTEMPTS
    await client.close()
    server.close()
