"""Errors across a real gRPC connection, and the port of a server."""

from typing import Any

import grpc.aio
import pytest

from palaver.contracts.errors import (
    OVERLOADED,
)
from palaver.runtime.grpc.errors import error_from_rpc
from palaver.runtime.grpc.server import serving_grpc
from tests.harness.grpc_method import serving_method


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

    async with serving_method(echo) as call:
        assert len(await call(bytes(20 * 1024 * 1024), timeout=10)) == 20 * 1024 * 1024
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(bytes(33 * 1024 * 1024), timeout=10)
    assert error_from_rpc(caught.value).kind is OVERLOADED
