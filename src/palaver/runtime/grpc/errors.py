"""How errors cross gRPC."""

from typing import Any, NoReturn

import grpc
import grpc.aio
import msgspec

from palaver.contracts.errors import (
    INTERNAL,
    OVERLOADED,
    RESTARTING,
    UNAVAILABLE,
    PalaverError,
    WireError,
    error_from_wire,
    error_to_wire,
)

# Trailing metadata of a refused call: a `WireError` as JSON
ERROR_KEY = "palaver-error-bin"

_kinds = {
    grpc.StatusCode.UNAVAILABLE: UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: UNAVAILABLE,
    # So ends a call that outlived a stopping server's grace
    grpc.StatusCode.CANCELLED: RESTARTING,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OVERLOADED,
    # That a user is unknown is said with an error of ours: this means that our own secret is not accepted
    grpc.StatusCode.UNAUTHENTICATED: UNAVAILABLE,
}


async def abort_call(context: Any, error: BaseException) -> NoReturn:
    """Ends a call with `error`, on the server, by gRPC's own exception."""
    wire = error_to_wire(error)
    kind = error.kind if isinstance(error, PalaverError) else INTERNAL
    trailing = ((ERROR_KEY, msgspec.json.encode(wire)),)
    await context.abort(grpc.StatusCode[kind.grpc], wire.message, trailing)
    raise AssertionError("abort() never returns")


def error_from_rpc(error: grpc.aio.AioRpcError) -> PalaverError:
    """The error that the server raised; or, where no server of ours responded, the one of the status."""
    wire = wire_error_of(error)
    if wire is not None:
        return error_from_wire(wire)
    kind = _kinds.get(error.code(), INTERNAL)
    retry_after = 1.0 if kind in (UNAVAILABLE, OVERLOADED, RESTARTING) else 0.0
    return PalaverError(kind, retry_after=retry_after, grpc=error.code().name, details=details_of(error))


def details_of(error: grpc.aio.AioRpcError) -> str:
    """What a log may have of a status: gRPC's own words about the connection. Those of a failure on the other
    side repeat the text of the exception there, and with it perhaps a client's."""
    is_ours = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    return (error.details() or "") if is_ours else ""


def wire_error_of(error: grpc.aio.AioRpcError) -> WireError | None:
    """The error that a server of ours attached; None where none did."""
    trailing: Any = error.trailing_metadata() or ()  # its stubs leave out that it is a sequence of pairs
    for key, value in trailing:
        if key == ERROR_KEY and isinstance(value, bytes):
            try:
                return msgspec.json.decode(value, type=WireError)
            except msgspec.DecodeError:
                return None
    return None
