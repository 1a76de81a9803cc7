"""gRPC between services: how errors cross, and a server that says when its port is taken."""

import contextlib
import errno
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

import grpc
import grpc.aio
import msgspec

from palaver.contracts.errors import (
    INTERNAL,
    OVERLOADED,
    RESTARTING,
    UNAUTHENTICATED,
    UNAVAILABLE,
    PalaverError,
    WireError,
    error_from_wire,
    error_to_wire,
)

# Trailing metadata of a refused call: a `WireError` as JSON
ERROR_KEY = "palaver-error-bin"
MESSAGE_BYTES = 32 * 1024 * 1024
SERVER_OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    # Without it a second server would share the port, and take half of the connections
    ("grpc.so_reuseport", 0),
    # A peer that vanished is found out within 40 s
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Peers may ping as often as this without being taken for an attack
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
]

_kinds = {
    grpc.StatusCode.UNAVAILABLE: UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: UNAVAILABLE,
    # So ends a call that outlived a stopping server's grace
    grpc.StatusCode.CANCELLED: RESTARTING,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OVERLOADED,
    grpc.StatusCode.UNAUTHENTICATED: UNAUTHENTICATED,
}


async def abort_call(context: Any, error: BaseException) -> NoReturn:
    """Ends a call with `error`, on the server, by gRPC's own exception."""
    wire = error_to_wire(error)
    kind = error.kind if isinstance(error, PalaverError) else INTERNAL
    trailing = ((ERROR_KEY, msgspec.json.encode(wire)),)
    await context.abort(grpc.StatusCode[kind.grpc], wire.message, trailing)
    raise AssertionError("abort() never returns")


def error_from_rpc(error: grpc.aio.AioRpcError) -> PalaverError:
    """The error that the server meant; or, where no server of ours answered, what the status says."""
    wire = wire_error_of(error)
    if wire is not None:
        return error_from_wire(wire)
    kind = _kinds.get(error.code(), INTERNAL)
    retry_after = 1.0 if kind in (UNAVAILABLE, OVERLOADED, RESTARTING) else 0.0
    return PalaverError(kind, retry_after=retry_after, grpc=error.code().name, details=error.details())


def wire_error_of(error: grpc.aio.AioRpcError) -> WireError | None:
    """The error that a server of ours attached, if one answered at all."""
    trailing: Any = error.trailing_metadata() or ()  # its stubs forget that it is a sequence of pairs
    for key, value in trailing:
        if key == ERROR_KEY and isinstance(value, bytes):
            try:
                return msgspec.json.decode(value, type=WireError)
            except msgspec.DecodeError:
                return None
    return None


@contextlib.asynccontextmanager
async def serving_grpc(
    add_services: Callable[[grpc.aio.Server], None], host: str, port: int, grace: float
) -> AsyncIterator[tuple[grpc.aio.Server, int]]:
    """Serves until the block ends, then waits `grace` seconds for calls. Yields the port too, for port 0.

    Raises `OSError` where the port is taken.
    """
    server = grpc.aio.server(options=SERVER_OPTIONS)
    add_services(server)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError as error:
        # gRPC says no more than that it could not; the port is what is wrong in practice
        raise OSError(errno.EADDRINUSE, f"address already in use: {address}") from error
    await server.start()
    try:
        yield server, bound
    finally:
        await server.stop(grace)
