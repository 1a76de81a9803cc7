"""Errors across a real gRPC connection, and the port of a server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
import pytest

from palaver.contracts.errors import (
    CATALOGUE,
    INTERNAL,
    OVERLOADED,
    UNAVAILABLE,
    ErrorKind,
    PalaverError,
)
from palaver.runtime.grpc.errors import abort_call, error_from_rpc
from tests.harness.grpc_method import serving_method


async def error_of(call: Callable[..., Awaitable[bytes]], seconds: float = 5.0) -> PalaverError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"", timeout=seconds)
    return error_from_rpc(caught.value)


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=lambda kind: kind.code)
async def test_an_error_arrives_as_it_was_raised(kind: ErrorKind) -> None:
    """Without it a client would get another error than the one that happened, without the field's name."""
    raised = PalaverError(kind, "Größe", field="title", retry_after=1.5, secret="hidden")

    async def refuse(_request: bytes, context: Any) -> bytes:
        await abort_call(context, raised)

    async with serving_method(refuse) as call:
        error = await error_of(call)
    assert (error.kind, error.message, error.field, error.retry_after) == (kind, "Größe", "title", 1.5)
    assert "hidden" not in repr(vars(error))


async def test_an_unknown_error_says_nothing() -> None:
    """Without it the inside of one service would be shown by another."""

    async def fail(_request: bytes, context: Any) -> bytes:
        await abort_call(context, ValueError("the inside"))

    async with serving_method(fail) as call:
        error = await error_of(call)
    assert (error.kind, error.message, error.debug.get("details")) == (INTERNAL, INTERNAL.title, None)


async def test_no_answer_means_away() -> None:
    """Without it a restart of a service would be shown as a fault, which nobody repeats."""
    async with grpc.aio.insecure_channel("127.0.0.1:9") as channel:
        error = await error_of(channel.unary_unary("/Test/Call", None, None))
    assert error.kind is UNAVAILABLE
    assert error.retry_after > 0


async def test_a_late_answer_means_away() -> None:
    """Without it a service that hangs would be shown as a fault, which nobody repeats."""

    async def hang(_request: bytes, _context: Any) -> bytes:
        await asyncio.sleep(60)
        return b""

    async with serving_method(hang) as call:
        assert (await error_of(call, 0.1)).kind is UNAVAILABLE


@pytest.mark.parametrize(
    ("status", "kind"),
    [(grpc.StatusCode.RESOURCE_EXHAUSTED, OVERLOADED), (grpc.StatusCode.UNIMPLEMENTED, INTERNAL)],
)
async def test_a_status_of_grpcs_own_is_understood(status: grpc.StatusCode, kind: ErrorKind) -> None:
    """Without it an error that gRPC itself makes would break the caller."""

    async def refuse(_request: bytes, context: Any) -> bytes:
        await context.abort(status, "by gRPC", (("palaver-error-bin", b"not JSON"),))
        return b""

    async with serving_method(refuse) as call:
        assert (await error_of(call)).kind is kind


async def test_what_failed_on_the_other_side_is_not_repeated() -> None:
    """A text that one service failed at would be in the log of the other."""

    async def fail(_request: bytes, _context: Any) -> bytes:
        raise ValueError("what somebody wrote")

    async with serving_method(fail) as call:
        error = await error_of(call)
    assert error.kind is INTERNAL
    assert "what somebody wrote" not in repr(vars(error))
