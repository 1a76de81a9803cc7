"""The error catalogue: every way in which Palaver refuses, and its code in each protocol.

An error has a text that is safe to show to a client, and, apart from it, a debug context that only logs
see. Anything that is not a `PalaverError` reaches clients as `internal`, and no more of it.
"""

from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One row of the catalogue.

    `grpc` is the name of a `grpc.StatusCode`; `close` the WebSocket close code (RFC 6455 §7.4) with which a
    socket ends when the error ends it.
    """

    code: str
    number: int
    http: int
    grpc: str
    close: int
    title: str


INTERNAL = ErrorKind("internal", 1, 500, "INTERNAL", 1011, "Something went wrong on our side")
MALFORMED = ErrorKind("malformed", 2, 400, "INVALID_ARGUMENT", 1007, "The request cannot be understood")
INVALID = ErrorKind("invalid", 3, 422, "INVALID_ARGUMENT", 1008, "A field has a value that is not allowed")
UNAUTHENTICATED = ErrorKind("unauthenticated", 4, 401, "UNAUTHENTICATED", 4001, "A valid token is needed")
FORBIDDEN = ErrorKind("forbidden", 5, 403, "PERMISSION_DENIED", 1008, "You may not do this")
NOT_FOUND = ErrorKind("not_found", 6, 404, "NOT_FOUND", 1008, "There is nothing here for you")
CONFLICT = ErrorKind("conflict", 7, 409, "ALREADY_EXISTS", 1008, "It is there already")
TOO_LARGE = ErrorKind("too_large", 8, 413, "OUT_OF_RANGE", 1009, "The request is too large")
RATE_LIMITED = ErrorKind("rate_limited", 9, 429, "RESOURCE_EXHAUSTED", 1013, "Too many requests")
OVERLOADED = ErrorKind("overloaded", 10, 503, "RESOURCE_EXHAUSTED", 1013, "Too busy: try again later")
UNAVAILABLE = ErrorKind("unavailable", 11, 503, "UNAVAILABLE", 1013, "A part of the service is away")
SESSION_REVOKED = ErrorKind("session_revoked", 12, 401, "UNAUTHENTICATED", 4001, "The session has ended")
SLOW_READER = ErrorKind("slow_reader", 13, 503, "ABORTED", 4008, "Read too slowly: come back and resume")
PEER_SILENT = ErrorKind("peer_silent", 14, 408, "DEADLINE_EXCEEDED", 4009, "No answer to pings")
RESTARTING = ErrorKind("restarting", 15, 503, "UNAVAILABLE", 1012, "Restarting: come back and resume")
METHOD_NOT_ALLOWED = ErrorKind("method_not_allowed", 16, 405, "UNIMPLEMENTED", 1008, "Not a method here")
UNSUPPORTED_DATA = ErrorKind("unsupported_data", 17, 415, "INVALID_ARGUMENT", 1003, "Only JSON is understood")
HEAD_TOO_LARGE = ErrorKind("head_too_large", 18, 431, "OUT_OF_RANGE", 1009, "The headers are too large")
UPGRADE_REQUIRED = ErrorKind(
    "upgrade_required", 19, 426, "FAILED_PRECONDITION", 1008, "Another version of WebSocket is needed"
)
REQUEST_TIMEOUT = ErrorKind(
    "request_timeout", 20, 408, "DEADLINE_EXCEEDED", 1008, "The request came too slowly"
)

CATALOGUE: dict[str, ErrorKind] = {
    kind.code: kind
    for kind in (
        INTERNAL,
        MALFORMED,
        INVALID,
        UNAUTHENTICATED,
        FORBIDDEN,
        NOT_FOUND,
        CONFLICT,
        TOO_LARGE,
        RATE_LIMITED,
        OVERLOADED,
        UNAVAILABLE,
        SESSION_REVOKED,
        SLOW_READER,
        PEER_SILENT,
        RESTARTING,
        METHOD_NOT_ALLOWED,
        UNSUPPORTED_DATA,
        HEAD_TOO_LARGE,
        UPGRADE_REQUIRED,
        REQUEST_TIMEOUT,
    )
}


class PalaverError(Exception):
    """A refusal that reaches the client.

    `message` is safe to show; `field` names the part of the request that is wrong; `retry_after` is in
    seconds; `debug` goes to logs alone.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str = "",
        *,
        field: str = "",
        retry_after: float = 0.0,
        **debug: Any,
    ) -> None:
        super().__init__(message or kind.title)
        self.kind = kind
        self.message = message or kind.title
        self.field = field
        self.retry_after = retry_after
        self.debug = debug


class WireError(msgspec.Struct, omit_defaults=True):
    """A `PalaverError` as private REST answers and gRPC metadata carry it. Debug context stays behind."""

    code: str
    message: str
    field: str = ""
    retry_after: float = 0.0


def error_to_wire(error: BaseException) -> WireError:
    """What the other service may know of `error`; anything unknown is `internal`."""
    if not isinstance(error, PalaverError):
        return WireError(INTERNAL.code, INTERNAL.title)
    return WireError(error.kind.code, error.message, error.field, error.retry_after)


def error_from_wire(wire: WireError) -> PalaverError:
    """The error that the other service raised; an unknown code is `internal`."""
    kind = CATALOGUE.get(wire.code, INTERNAL)
    return PalaverError(kind, wire.message, field=wire.field, retry_after=wire.retry_after)
