"""How the end of a gRPC call is written in HTTP/2's trailers, and read."""

import base64
import binascii
from urllib.parse import quote, unquote

import grpc
import grpc.aio
import msgspec

from palaver.contracts.errors import INTERNAL, PalaverError, error_to_wire
from palaver.runtime.grpc.errors import ERROR_KEY
from palaver.runtime.grpc.http2.frames import ErrorCode
from palaver.runtime.grpc.http2.header_blocks import Headers
from palaver.runtime.grpc.messages import StatusError

_BY_NUMBER = {status.value[0]: status for status in grpc.StatusCode}
# What grpc-message carries as it is
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_OF_HTTP = {
    b"400": grpc.StatusCode.INTERNAL,
    b"401": grpc.StatusCode.UNAUTHENTICATED,
    b"403": grpc.StatusCode.PERMISSION_DENIED,
    b"404": grpc.StatusCode.UNIMPLEMENTED,
    b"429": grpc.StatusCode.UNAVAILABLE,
    b"502": grpc.StatusCode.UNAVAILABLE,
    b"503": grpc.StatusCode.UNAVAILABLE,
    b"504": grpc.StatusCode.UNAVAILABLE,
}
_OF_RESET = {
    ErrorCode.REFUSED_STREAM: grpc.StatusCode.UNAVAILABLE,
    ErrorCode.CANCEL: grpc.StatusCode.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: grpc.StatusCode.PERMISSION_DENIED,
}


def trailers_of(error: BaseException | None) -> Headers:
    """The trailers of a call that ends with `error`, or well."""
    if error is None:
        return _trailers(grpc.StatusCode.OK, "")
    if isinstance(error, StatusError):
        return _trailers(error.status, error.text)
    kind = error.kind if isinstance(error, PalaverError) else INTERNAL
    wire = error_to_wire(error)
    value = base64.b64encode(msgspec.json.encode(wire)).rstrip(b"=")
    return [*_trailers(grpc.StatusCode[kind.grpc], wire.message), (ERROR_KEY.encode(), value)]


def _trailers(status: grpc.StatusCode, message: str) -> Headers:
    trailers = [(b"grpc-status", str(status.value[0]).encode())]
    if message:
        trailers.append((b"grpc-message", quote(message, safe=_PLAIN).encode()))
    return trailers


def error_of_trailers(trailers: Headers) -> grpc.aio.AioRpcError | None:
    """What a call ended with. None: well."""
    values = dict(trailers)
    status = status_of(values.get(b"grpc-status"))
    if status is grpc.StatusCode.OK:
        return None
    details = unquote(values.get(b"grpc-message", b"").decode("latin-1"), errors="replace")
    trailing = grpc.aio.Metadata()
    if (packed := values.get(ERROR_KEY.encode())) is not None:
        try:
            trailing.add(ERROR_KEY, base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True))
        except binascii.Error:
            details = details or "an error that can't be read"
    return grpc.aio.AioRpcError(status, grpc.aio.Metadata(), trailing, details)


def status_of(value: bytes | None) -> grpc.StatusCode:
    """The status of `grpc-status`; UNKNOWN where that is missing, or none."""
    if value is None or not value.isdigit() or len(value) > 2:
        return grpc.StatusCode.UNKNOWN
    return _BY_NUMBER.get(int(value), grpc.StatusCode.UNKNOWN)


def error_of_http(status: bytes) -> grpc.aio.AioRpcError:
    """What a peer means that answers in HTTP alone, such as a proxy."""
    code = _OF_HTTP.get(status, grpc.StatusCode.UNKNOWN)
    return rpc_error(code, f"HTTP status {status.decode('latin-1')}")


def error_of_reset(code: int) -> grpc.aio.AioRpcError:
    """What a peer means that resets the stream."""
    known = {int(one): one for one in ErrorCode}.get(code, ErrorCode.INTERNAL_ERROR)
    return rpc_error(_OF_RESET.get(known, grpc.StatusCode.INTERNAL), f"the stream was reset: {known.name}")


def rpc_error(status: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    """The error that a call of `grpc.aio` would end with."""
    return grpc.aio.AioRpcError(status, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
