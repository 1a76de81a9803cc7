"""A gRPC server with one method."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio

from palaver.runtime.grpc.server import serving_grpc

Handler = Callable[[bytes, Any], Awaitable[bytes]]


@contextlib.asynccontextmanager
async def serving_method(handler: Handler) -> AsyncIterator[Callable[..., Awaitable[bytes]]]:
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
