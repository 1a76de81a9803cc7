"""Errors across a real gRPC connection, and the port of a server."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio
import pytest

from palaver.contracts.errors import (
    OVERLOADED,
)
from palaver.runtime.grpc.errors import error_from_rpc
from palaver.runtime.grpc.server import serving_grpc

Handler = Callable[[bytes, Any], Awaitable[bytes]]


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Callable[..., Awaitable[bytes]]]:
    """A server with one method, and what calls it."""

    def add(server: grpc.aio.Server) -> None:
        method = grpc.unary_unary_rpc_method_handler(handler)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Test", {"Call": method}),))

    options = [("grpc.max_receive_message_length", -1)]
    async with (
        serving_grpc(add, "127.0.0.1", 0, 0.0) as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel,
    ):
        yield channel.unary_unary("/Test/Call", None, None)


async def test_a_taken_port_is_an_error() -> None:
    """Without it two servers would share a port, and callers would reach either."""
    async with serving_grpc(lambda _: None, "127.0.0.1", 0, 0.0) as (_, port):
        with pytest.raises(OSError, match=f"in use: 127.0.0.1:{port}"):
            async with serving_grpc(lambda _: None, "127.0.0.1", port, 0.0):
                pass


async def test_large_messages_pass() -> None:
    """Without it a page of long texts, which is larger than gRPC's own limit, could not be read."""

    async def echo(request: bytes, _context: Any) -> bytes:
        return request

    async with serving(echo) as call:
        assert len(await call(bytes(20 * 1024 * 1024), timeout=10)) == 20 * 1024 * 1024
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(bytes(33 * 1024 * 1024), timeout=10)
    assert error_from_rpc(caught.value).kind is OVERLOADED
