"""The deployment's secret between a REST client and a server."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from palaver.contracts.errors import UNAUTHENTICATED, UNAVAILABLE, PalaverError
from palaver.runtime.deployment_secret import HEADER, DeploymentSecret
from palaver.runtime.http.rest_client import RestClient
from palaver.runtime.http.secret import SecretRequired
from palaver.runtime.http.server import serving_http
from tests.harness.inside import SECRET

OTHER = "another-secret-of-a-deployment-elsewhere"


class Inside:
    """A private service with a route; `bodies`: what was read of requests."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.url = ""

    async def serve(self, request: Request) -> Response:
        """Reads the body."""
        self.bodies.append(await request.body())
        if request.headers.get("authorization") == "Bearer bad":
            raise PalaverError(UNAUTHENTICATED)
        return PlainTextResponse("inside")

    def app(self) -> Starlette:
        """The service."""
        routes = [Route(path, self.serve, methods=["GET", "POST"]) for path in ("/names", "/healthz")]
        secret = DeploymentSecret([SECRET, OTHER])
        return Starlette(routes=routes, middleware=[Middleware(SecretRequired, secret=secret)])


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Inside]:
    """Serves it on a Unix socket."""
    found = Inside()
    found.url = f"unix:{tmp_path / 'inside.sock'}"
    async with serving_http(found.app(), "", 0, path=str(tmp_path / "inside.sock")):
        yield found


async def call(inside: Inside, secret: str = "", path: str = "/names") -> bytes:
    """A request of a client that has a secret."""
    client = RestClient(inside.url, secret=secret)
    try:
        return await client.call("POST", path, body=b"who?")
    finally:
        await client.close()


@pytest.mark.parametrize("secret", [SECRET, OTHER])
async def test_each_secret_is_let_in(inside: Inside, secret: str) -> None:
    """A secret could not be changed while services run."""
    assert await call(inside, secret) == b"inside"


@pytest.mark.parametrize("secret", ["", SECRET[:-1], SECRET + "x", SECRET.upper()])
async def test_nobody_else_is_let_in(inside: Inside, secret: str) -> None:
    """Whoever can connect could sign in as anybody, from any address that they name."""
    with pytest.raises(PalaverError) as caught:
        await call(inside, secret)
    # Not `unauthenticated`: users would be signed out for a mistake of an operator
    assert caught.value.kind is UNAVAILABLE
    assert caught.value.debug["cause"] == "it does not accept our secret"
    assert inside.bodies == []


async def test_the_refusal_is_problem_details(inside: Inside) -> None:
    """Whoever debugs a deployment by hand would not learn what is missing."""
    connector = aiohttp.UnixConnector(inside.url.removeprefix("unix:"))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://inside/elsewhere", headers={HEADER: "x"}) as response,
    ):
        assert response.status == 401
        assert response.content_type == "application/problem+json"
        problem = await response.json(content_type=None)
    assert (problem["status"], problem["code"]) == (401, "unauthenticated")
    assert problem["detail"] == "the deployment's secret is needed"


async def test_health_needs_none(inside: Inside) -> None:
    """A probe would restart a service that works."""
    assert await call(inside, path="/healthz") == b"inside"


async def test_a_socket_that_is_not_there_is_away(tmp_path: Path) -> None:
    """A service that restarts would look like a fault of ours."""
    client = RestClient(f"unix:{tmp_path / 'none.sock'}", secret=SECRET)
    with pytest.raises(PalaverError) as caught:
        await client.call("GET", "/names", headers={"authorization": "Bearer token-of-a-user"})
    await client.close()
    assert caught.value.kind is UNAVAILABLE
    assert SECRET not in repr(vars(caught.value))


async def test_a_server_that_speaks_something_else_gets_no_secret_into_a_log(tmp_path: Path) -> None:
    """The library's error has all headers of the request in its repr."""
    import asyncio

    async def speak_nonsense(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"nonsense\r\n\r\n")
        await writer.drain()
        writer.close()

    path = str(tmp_path / "odd.sock")
    async with await asyncio.start_unix_server(speak_nonsense, path):
        client = RestClient(f"unix:{path}", secret=SECRET)
        with pytest.raises(PalaverError) as caught:
            await client.call("GET", "/names", headers={"authorization": "Bearer token-of-a-user"})
        await client.close()
    assert caught.value.kind is UNAVAILABLE
    shown = repr(vars(caught.value))
    assert SECRET not in shown
    assert "token-of-a-user" not in shown
