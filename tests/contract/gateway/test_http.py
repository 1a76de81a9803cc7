"""HTTP/1.1 by bytes, on each server of a running Palaver: where requests end, and how they are refused."""

import asyncio
import contextlib
import json
import uuid

import pytest

from palaver.runtime.http.instrumentation import REQUESTS
from tests.harness.http_connection import ReadResponse, read_responses
from tests.harness.services import LOOPBACK, PalaverServices
from tests.harness.users import PASSWORD, ApiClient, profile_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = b"Host: a\r\n"
PROBLEM = {"type", "title", "status", "detail", "code"}
LEGACY = {"code", "message"}


async def exchange(port: int, *pieces: bytes) -> list[ReadResponse]:
    """The responses to bytes that are sent in pieces, until the server closes or is silent for a while."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    found = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)
        async with asyncio.timeout(0.5):
            while piece := await reader.read(65_536):
                found += piece
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return read_responses(found)


@pytest.mark.parametrize("service", ["gateway", "auth", "messenger"])
async def test_no_server_answers_a_body(services: PalaverServices, service: str) -> None:
    """A stranger's body would be answered as a request, to somebody else behind a proxy."""
    own = services.settings
    ports = {"gateway": own.gateway.port, "auth": own.auth.port, "messenger": own.messenger.http_port}
    body = b"\r\n" * 200 + b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
    for offer in (b"foo", b"websocket", b"h2c", b"websocket, foo"):
        head = b"POST /healthz HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: " + offer + b"\r\n"
        found = await exchange(ports[service], head + b"Content-Length: %d\r\n\r\n" % len(body), body)
        # The gateway says first that it understands only JSON
        assert [one.status for one in found] == [415 if service == "gateway" else 405]
        found = await exchange(
            ports[service], b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 100 + b"\r\n"
        )
        assert [one.status for one in found] == [431]
        assert json.loads(found[0].body)["code"] == "head_too_large"


@pytest.mark.parametrize(
    ("path", "name", "keys"),
    [
        ("/v2/users", "v2", PROBLEM),
        ("/v2/ws", "v2", PROBLEM),
        ("/messenger/chats", "v1", LEGACY),
        ("/messenger/ws", "v1", LEGACY),
        ("/auth/user", "v0", LEGACY),
        ("/nowhere", "none", PROBLEM),
        ("/healthz", "none", PROBLEM),
    ],
)
async def test_a_refused_head_has_the_shape_of_its_path(
    services: PalaverServices, path: str, name: str, keys: set[str]
) -> None:
    """Clients could not read why they are refused, and operators would not see that they are."""
    line = f"GET {path} HTTP/1.1\r\n".encode()
    for head, status in (
        (line + b"\r\n", 400),
        (line + HOST + HOST + b"\r\n", 400),
        (line + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (line + HOST + b"X: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (line + HOST + b"X: " + b"a" * 300_000, 431),
        (f"GET {path}?q=".encode() + b"a" * 40_000, 431),
        (line + HOST + b"X: a\r\n" * 200 + b"\r\n", 431),
    ):
        counted = REQUESTS.labels("unknown", "GET", status, name)
        before = counted._value.get()
        (found,) = await exchange(services.settings.gateway.port, head)
        assert found.status == status
        assert found.headers["connection"] == "close"
        assert set(json.loads(found.body)) - {"trace_id"} == keys
        assert counted._value.get() == before + 1


async def test_clients_that_offer_http2_are_served(api: ApiClient) -> None:
    """Java's HttpClient and curl --http2, which offer it on every request, could not sign up."""
    account = {"email": f"{uuid.uuid4()}@example.org", "password": PASSWORD, **profile_of("Bob", "Baker")}
    curl = await asyncio.create_subprocess_exec(
        "curl",
        *("-s", "-w", "\n%{http_code}", "--http2", "-H", "content-type: application/json"),
        *("-d", json.dumps(account), api.url + "/v2/users"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await curl.communicate()
    assert output.rpartition(b"\n")[2] == b"201", output


async def test_a_trailer_is_no_header(api: ApiClient, services: PalaverServices) -> None:
    """A trailer would pass for an `Authorization` that a proxy has checked."""
    bob = await api.sign_up("Bob")
    head = b"GET /v2/users/me HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    trailer = f"0\r\nAuthorization: Bearer {bob.token}\r\n\r\n".encode()
    (found,) = await exchange(services.settings.gateway.port, head + trailer)
    assert found.status == 401


async def test_a_length_may_be_followed_by_a_space(services: PalaverServices) -> None:
    """Clients that write legal heads would get 413."""
    body = b'{"email":"a@b.c","password":"wrong one"}'
    head = b"POST /v2/sessions HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
    port = services.settings.gateway.port
    (found,) = await exchange(port, head + b"Content-Length: %d \r\n\r\n" % len(body), body)
    assert found.status == 401


async def test_a_crowd_of_silent_connections_leaves_the_door_open(services: PalaverServices) -> None:
    """Anybody could shut the door for minutes, with connections that say nothing."""
    port = services.settings.gateway.port
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(1_100):
            _, writer = await asyncio.open_connection(LOOPBACK, port)
            stack.callback(writer.close)
        for _ in range(20):
            (found,) = await exchange(
                port, b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
            )
            assert found.status == 200


async def test_a_broken_body_has_the_shape_of_its_path(services: PalaverServices) -> None:
    """A body that is cut off by a bad chunk would be a bare 400, or what follows a request."""
    for path, keys in (("/v2/sessions", PROBLEM), ("/auth/sign-in", LEGACY)):
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n".encode()
        smuggled = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
        chunks = b'Transfer-Encoding: chunked\r\n\r\n2\r\n{"\r\n'
        (found,) = await exchange(
            services.settings.gateway.port, head + chunks, b"x\r\n" + smuggled, smuggled
        )
        assert (found.status, found.headers["connection"]) == (400, "close")
        assert set(json.loads(found.body)) - {"trace_id"} == keys
