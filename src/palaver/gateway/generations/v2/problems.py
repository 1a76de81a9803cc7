"""v2's refusals, and the header of all its answers, as OpenAPI knows them."""

from typing import Any

from palaver.contracts.errors import (
    CONFLICT,
    FORBIDDEN,
    INVALID,
    MALFORMED,
    NOT_FOUND,
    OVERLOADED,
    RATE_LIMITED,
    TOO_LARGE,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNSUPPORTED_DATA,
    ErrorKind,
)
from palaver.gateway.http.problem_details import PROBLEM_TYPE

Responses = dict[int | str, dict[str, Any]]

TRACERESPONSE = {
    "description": "The request's place in the traces of whoever runs Palaver (W3C Trace Context level 2): "
    "version, trace id, span id, flags. Not there where traces are off.",
    "schema": {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$"},
    "example": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}

_KINDS: dict[int, ErrorKind] = {
    kind.http: kind
    for kind in (
        MALFORMED,
        UNAUTHENTICATED,
        FORBIDDEN,
        NOT_FOUND,
        CONFLICT,
        TOO_LARGE,
        UNSUPPORTED_DATA,
        INVALID,
        RATE_LIMITED,
        UNAVAILABLE,
    )
}
_MEANINGS = {
    400: "The body is not JSON",
    401: "There is no access token, or it is not valid any more",
    403: "The caller may not do this",
    404: "There is nothing here for the caller",
    409: "It is there already",
    413: "The body is too large",
    415: "The body is not said to be JSON",
    422: "A field has a value that is not allowed; `errors` says which",
    429: "Too many requests; `retry-after` says when to come back",
    503: "A part of the service is away or too busy; `retry-after` says when to come back",
}
_RETRY_AFTER = {
    "retry-after": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
}
WITH_BODY = (400, 413, 415, 422)


def problems(*statuses: int) -> Responses:
    """The refusals of an operation. Every one may meet 429 and 503; those that need a token or a body say
    so."""
    return {status: problem(status) for status in sorted({*statuses, 429, 503})}


def problem(status: int) -> dict[str, Any]:
    """One refusal, with an example."""
    kind = _KINDS[status]
    example: dict[str, Any] = {
        "type": f"urn:palaver:error:{kind.code}",
        "title": kind.title,
        "status": status,
        "detail": kind.title,
        "code": kind.code,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }
    if kind is INVALID:
        example["detail"] = "companion_id: must be a UUID"
        example["errors"] = [{"field": "companion_id", "message": "must be a UUID"}]
    described: dict[str, Any] = {
        "description": _MEANINGS[status],
        "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
    }
    if status in (RATE_LIMITED.http, OVERLOADED.http):
        described["headers"] = _RETRY_AFTER
    return described
