"""What every gRPC call passes before its handler, over a real connection, of every kind of method."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import DecodeError

from palaver.contracts.errors import MALFORMED, NOT_FOUND, PalaverError
from palaver.runtime.deployment_secret import HEADER, DeploymentSecret
from palaver.runtime.grpc.errors import error_from_rpc
from palaver.runtime.grpc.interceptors import DecodingInterceptor, SecretInterceptor
from palaver.runtime.grpc.server import serving_grpc
from tests.harness.inside import METADATA, SECRET

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
UNDECODABLE, REFUSED = b"undecodable", b"refused"


def decode(raw: bytes) -> bytes:
    """A deserializer."""
    if raw == UNDECODABLE:
        raise DecodeError("what protobuf says")
    return raw


class Served:
    """A service with a method of each kind, which answers what it gets. `requests`: what reached it."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.begun = 0

    def note(self, request: bytes) -> bytes:
        """What is answered. Raises what a stream's handler raises."""
        self.requests.append(request)
        if request == REFUSED:
            raise PalaverError(NOT_FOUND, "not here")
        return request

    async def unary_unary(self, request: bytes, _context: Any) -> bytes:
        self.begun += 1
        return self.note(request)

    async def unary_stream(self, request: bytes, context: Any) -> None:
        self.begun += 1
        await context.write(self.note(request))

    async def stream_unary(self, requests: AsyncIterator[bytes], _context: Any) -> bytes:
        self.begun += 1
        return b"".join([self.note(request) async for request in requests])

    async def stream_stream(self, requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        self.begun += 1
        async for request in requests:
            yield self.note(request)

    def add(self, server: grpc.aio.Server) -> None:
        """Puts it on a server."""
        handlers = {
            kind: getattr(grpc, f"{kind}_rpc_method_handler")(getattr(self, kind), decode) for kind in KINDS
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Test", handlers),))


@contextlib.asynccontextmanager
async def serving(served: Served) -> AsyncIterator[grpc.aio.Channel]:
    """The service behind both interceptors."""
    interceptors = (SecretInterceptor(DeploymentSecret([SECRET])), DecodingInterceptor())
    async with (
        serving_grpc(served.add, "127.0.0.1", 0, 0.0, interceptors=interceptors) as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield channel


async def call(channel: grpc.aio.Channel, kind: str, request: bytes, metadata: Any, name: str = "") -> bytes:
    """What a call of a kind gives. Raises `AioRpcError`."""
    begun = getattr(channel, kind)(f"/Test/{name or kind}", None, None)(
        *(() if kind.startswith("stream") else (request,)), metadata=metadata, timeout=10
    )
    if kind.startswith("stream"):
        with contextlib.suppress(grpc.aio.UsageError):
            await begun.write(request)
            await begun.done_writing()
    if kind.endswith("stream"):
        return b"".join([part async for part in begun])
    answer: bytes = await begun
    return answer


async def test_a_refused_stream_ends_with_the_reason() -> None:
    """Whoever has set a wrong secret would read of an internal error."""
    async with serving(Served()) as channel:

        async def attach() -> grpc.StatusCode:
            method: Any = channel.stream_stream("/palaver.v1.Messenger/Attach")
            stream = method(iter([b"hello"] * 3), timeout=10)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream.read()
            code: grpc.StatusCode = caught.value.code()
            return code

        codes = await asyncio.gather(*(attach() for _ in range(20)))
    assert set(codes) == {grpc.StatusCode.UNAUTHENTICATED}


@pytest.mark.parametrize("kind", KINDS)
async def test_with_the_secret_a_call_is_served(kind: str) -> None:
    """Services could not call each other."""
    async with serving(Served()) as channel:
        for _ in range(2):
            assert await call(channel, kind, b"hello", METADATA) == b"hello"


@pytest.mark.parametrize(
    "metadata",
    [(), ((HEADER, ""),), ((HEADER, SECRET[:-1]),), ((HEADER, SECRET + "x"),), (("authorization", SECRET),)],
    ids=["none", "empty", "a part", "more", "another header"],
)
@pytest.mark.parametrize("kind", [*KINDS, "a method that is not there"])
async def test_without_it_nothing_is_begun(kind: str, metadata: Any) -> None:
    """Whoever can connect could ask for every message, and fill the memory with streams."""
    served = Served()
    async with serving(served) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, kind if kind in KINDS else "unary_unary", b"hello", metadata, kind.split()[0])
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert caught.value.details() == "the deployment's secret is needed"
    assert (served.begun, served.requests) == (0, [])


@pytest.mark.parametrize("kind", KINDS)
async def test_bytes_that_are_no_request_are_the_callers_mistake(kind: str) -> None:
    """An operator would look for a fault of the server, and callers would try again."""
    async with serving(Served()) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, kind, UNDECODABLE, METADATA)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        error = error_from_rpc(caught.value)
        assert (error.kind, error.message) == (MALFORMED, "the request cannot be decoded")
        assert await call(channel, kind, b"hello", METADATA) == b"hello"


@pytest.mark.parametrize("kind", ["stream_unary", "stream_stream"])
async def test_a_stream_ends_with_the_error_that_it_raised(kind: str) -> None:
    """A gateway would not learn why its stream has ended."""
    async with serving(Served()) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, kind, REFUSED, METADATA)
    assert error_from_rpc(caught.value).kind is NOT_FOUND
